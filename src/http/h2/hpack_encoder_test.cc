#include <gtest/gtest.h>

#include "http/h2/hpack_static.h"
#include "http/h2/hpack_testing_test.h"

namespace weir::http::h2 {
namespace {

using Bytes = std::vector<uint8_t>;

TEST(HpackEncoder, WritesEveryStaticEntryAsOneByte) {
  Encoding e;
  for (uint32_t i = 1; i <= kStaticCount; ++i) {
    const Field& f = kStaticTable[i].field;
    EXPECT_EQ(e({{std::string(f.name), std::string(f.value)}}), Bytes{static_cast<uint8_t>(0x80 | i)});
  }
  EXPECT_EQ(e.encoder.table_bytes_used(), 0u);
}

TEST(HpackEncoder, IndexesAPairTheSecondTimeItIsSeen) {
  Encoding e;
  EXPECT_EQ(e({{"x-own", "abc"}}), block("00 05'x-own' 03'abc'"));
  EXPECT_EQ(e.encoder.table_bytes_used(), 0u);
  EXPECT_EQ(e({{"x-own", "abc"}}), block("40 05'x-own' 03'abc'"));
  EXPECT_EQ(e.encoder.table_bytes_used(), 40u);
  EXPECT_EQ(e({{"x-own", "abc"}}), block("be"));
  EXPECT_EQ(e({{"x-own", "abc"}, {"x-own", "abd"}}), block("be 00 05'x-own' 03'abd'"));
}

TEST(HpackEncoder, TakesTheNameFromTheStaticTable) {
  Encoding e;
  EXPECT_EQ(e({{":path", "/a"}}), block("04 02'/a'"));
  EXPECT_EQ(e({{":path", "/a"}}), block("44 02'/a'"));
  EXPECT_EQ(e({{"authorization", "b"}}), block("0f08 01'b'"));
  EXPECT_EQ(e({{":status", "201"}}), block("08 03'201'"));
  EXPECT_EQ(e({{"content-type", "application/grpc"}}), block("0f10 10'application/grpc'"));
}

TEST(HpackEncoder, TakesTheNameOfATokenFromTheDynamicTable) {
  Encoding e;
  e({{"grpc-timeout", "1S"}});
  e({{"grpc-timeout", "1S"}});
  EXPECT_EQ(e({{"grpc-timeout", "2S"}}), block("0f2f 02'2S'"));
  e({{"x-own", "abc"}});
  e({{"x-own", "abc"}});
  EXPECT_EQ(e({{"grpc-timeout", "3S"}}), block("0f30 02'3S'"));
}

TEST(HpackEncoder, KeepsNeverIndexedFieldsAsTheyCame) {
  Encoding e;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(e({{"x-own", "abc", true}}), block("10 05'x-own' 03'abc'"));
    EXPECT_EQ(e({{":method", "GET", true}}), block("12 03'GET'"));
    EXPECT_EQ(e({{"authorization", "", true}}), block("1f08 00"));
  }
  EXPECT_EQ(e.encoder.table_bytes_used(), 0u);
  e({{"x-own", "abc"}});
  e({{"x-own", "abc"}});
  EXPECT_EQ(e({{"x-own", "abc", true}}), block("10 05'x-own' 03'abc'")) << "also when it stands in the table";
}

TEST(HpackEncoder, NeverIndexesLongValues) {
  Encoding e;
  std::string at_limit(1024, 'v'), over(1025, 'v');
  e({{"x-a", at_limit}});
  e({{"x-a", at_limit}});
  EXPECT_EQ(e({{"x-a", at_limit}}), block("be"));
  for (int i = 0; i < 3; ++i) EXPECT_GT(e({{"x-b", over}}).size(), 1024u);
  EXPECT_EQ(e.encoder.table_bytes_used(), 1024 + 3 + 32u);
  std::string long_name(5000, 'n');
  for (int i = 0; i < 3; ++i) EXPECT_GT(e({{long_name, "v"}}).size(), 5000u);
  EXPECT_EQ(e({{"x-a", at_limit}}), block("be"));
}

TEST(HpackEncoder, DoesNotLetPerRequestValuesPushCommonOnesOut) {
  Encoding e;
  e({{"x-common", "value"}});
  e({{"x-common", "value"}});
  for (int i = 0; i < 1000; ++i) {
    Bytes bytes = e({{"x-request-id", std::to_string(i) + "-unique"}, {"x-common", "value"}});
    ASSERT_EQ(bytes.back(), 0xBE) << i;
  }
}

TEST(HpackEncoder, ObeysAPeerTableOfZero) {
  Encoding e;
  e.encoder.set_peer_table_bytes(0);
  EXPECT_EQ(e({{"x-own", "abc"}}), block("20 00 05'x-own' 03'abc'"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(e({{"x-own", "abc"}}), block("00 05'x-own' 03'abc'"));
}

TEST(HpackEncoder, WritesTheSmallestAndTheLastSizeOfAGap) {
  Encoding e;
  e({{"x-own", "abc"}});
  e({{"x-own", "abc"}});
  e.encoder.set_peer_table_bytes(0);
  e.encoder.set_peer_table_bytes(4096);
  EXPECT_EQ(e({{"x-own", "abc"}}), block("20 3fe11f 40 05'x-own' 03'abc'"));
  e.encoder.set_peer_table_bytes(1000);
  e.encoder.set_peer_table_bytes(100);
  e.encoder.set_peer_table_bytes(2000);
  EXPECT_EQ(e({}), block("3f45 3fb10f"));
  e.encoder.set_peer_table_bytes(1500);
  EXPECT_EQ(e({}), block("3fbd0b"));
  EXPECT_EQ(e({{"x-own", "abc"}}), block("be"));
}

TEST(HpackEncoder, UsesAtMost4096BytesOfALargerTable) {
  Encoding e;
  e.encoder.set_peer_table_bytes(UINT32_MAX);
  EXPECT_EQ(e({{":method", "GET"}}), block("82")) << "nothing changes, so nothing is announced";
  for (int i = 0; i < 400; ++i) {
    for (int twice = 0; twice < 2; ++twice) e({{"x-own", std::to_string(i)}});
  }
  EXPECT_LE(e.encoder.table_bytes_used(), 4096u);
  EXPECT_GT(e.encoder.table_bytes_used(), 4000u);
}

TEST(HpackEncoder, EvictsInTheStepOfTheDecoder) {
  Encoding e;
  Decoding d({.fields_max = 1000});
  for (int i = 0; i < 3000; ++i) {
    std::vector<Plain> fields{{"x-" + std::to_string(i % 97), std::string(static_cast<size_t>(i % 61), 'v')},
                              {"x-same", "same"}};
    ASSERT_TRUE(d(e(fields)));
    ASSERT_EQ(d.fields(), fields);
    ASSERT_EQ(d.decoder.table_bytes_used(), e.encoder.table_bytes_used());
  }
}

TEST(HpackEncoder, ComparesBytesAndNotOnlyHashes) {
  Encoding e;
  BufferPool pool;
  Buffer out(pool);
  HpackEncoder encoder;
  auto encode = [&](std::string_view name, std::string_view value) {
    out.rewind();
    encoder.begin_block(out);
    Field field{name, value};
    field.hash = 42;  // all collide
    encoder.encode(field, out);
    return Bytes(out.bytes().begin(), out.bytes().end());
  };
  encode("x-own", "abc");
  EXPECT_EQ(encode("x-own", "abc"), block("40 05'x-own' 03'abc'"));
  EXPECT_EQ(encode("x-own", "abc"), block("be"));
  EXPECT_EQ(encode("x-own", "abd"), block("40 05'x-own' 03'abd'"));
  EXPECT_EQ(encode("x-owm", "abd"), block("40 05'x-owm' 03'abd'"));
  EXPECT_EQ(encode("x-own", "abc"), block("c0"));
  EXPECT_EQ(encode("x-own", "abd"), block("bf"));
  // More of them than there are probes: the newest are found, the others are written out, all decode.
  for (int i = 0; i < 20; ++i) encode("x-own", "value" + std::to_string(i));
  EXPECT_EQ(encode("x-own", "value19"), block("be"));
}

TEST(HpackEncoder, HashesAndNamesAFieldThatHasNone) {
  Encoding e;
  BufferPool pool;
  Buffer out(pool);
  e({{"grpc-status", "0"}});
  e({{"grpc-status", "0"}});
  e.encoder.begin_block(out);
  Field ready{"grpc-status", "0", field_hash("grpc-status", "0"), Token::GrpcStatus};
  e.encoder.encode(ready, out);
  EXPECT_EQ(Bytes(out.bytes().begin(), out.bytes().end()), block("be"));
}

}  // namespace
}  // namespace weir::http::h2
