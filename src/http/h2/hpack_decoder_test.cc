#include <gtest/gtest.h>

#include "http/h2/hpack_bytes.h"
#include "http/h2/hpack_static.h"
#include "http/h2/hpack_testing_test.h"

namespace weir::http::h2 {
namespace {

using Fields = std::vector<Plain>;

uint32_t integer(std::string_view text, int prefix_bits, bool* ok) {
  auto bytes = block(text);
  const uint8_t* at = bytes.data();
  const uint8_t* end = at + bytes.size();
  uint32_t value = 0;
  *ok = read_integer(at, end, prefix_bits, &value) && at == end;
  return value;
}

TEST(HpackInteger, ReadsTheExamplesOfTheRfc) {
  bool ok;
  EXPECT_EQ(integer("0a", 5, &ok), 10u);
  EXPECT_TRUE(ok);
  EXPECT_EQ(integer("1f9a0a", 5, &ok), 1337u);
  EXPECT_TRUE(ok);
  EXPECT_EQ(integer("2a", 8, &ok), 42u);
  EXPECT_TRUE(ok);
}

TEST(HpackInteger, WritesWhatItReads) {
  for (uint64_t value = 0; value <= kIntegerMax; value = value < 5000 ? value + 1 : value * 2 - 3) {
    for (int prefix = 1; prefix <= 8; ++prefix) {
      uint8_t bytes[kIntegerBytesMax];
      uint8_t* end = append_integer(bytes, 0, prefix, static_cast<uint32_t>(value));
      ASSERT_LE(end, bytes + sizeof bytes);
      const uint8_t* at = bytes;
      uint32_t got = 0;
      ASSERT_TRUE(read_integer(at, end, prefix, &got));
      ASSERT_EQ(got, value);
      ASSERT_EQ(at, end);
    }
  }
}

TEST(HpackInteger, RefusesMoreThanTwoToThe31) {
  bool ok;
  EXPECT_EQ(integer("1f e1ffffff07", 5, &ok), 1u << 31);
  EXPECT_TRUE(ok);
  integer("1f e2ffffff07", 5, &ok);
  EXPECT_FALSE(ok);
  integer("1f ffffffff7f", 5, &ok);
  EXPECT_FALSE(ok);
}

TEST(HpackInteger, AllowsZerosButNoSixthByte) {
  bool ok;
  EXPECT_EQ(integer("1f 8080808000", 5, &ok), 31u);
  EXPECT_TRUE(ok);
  integer("1f 808080808000", 5, &ok);
  EXPECT_FALSE(ok);
}

TEST(HpackInteger, RefusesAnIntegerThatDoesNotEnd) {
  bool ok;
  for (std::string_view text : {"1f", "1f80", "1f808080"}) {
    integer(text, 5, &ok);
    EXPECT_FALSE(ok) << text;
  }
}

// RFC 7541 C.2
TEST(HpackDecoder, DecodesTheFieldExamples) {
  {
    Decoding d;
    ASSERT_TRUE(d("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"));
    EXPECT_EQ(d.fields(), (Fields{{"custom-key", "custom-header"}}));
    EXPECT_EQ(d.decoder.table_bytes_used(), 55u);
  }
  {
    Decoding d;
    ASSERT_TRUE(d("040c 2f73 616d 706c 652f 7061 7468"));
    EXPECT_EQ(d.fields(), (Fields{{":path", "/sample/path"}}));
    EXPECT_EQ(d.decoder.table_bytes_used(), 0u);
  }
  {
    Decoding d;
    ASSERT_TRUE(d("1008 7061 7373 776f 7264 0673 6563 7265 74"));
    EXPECT_EQ(d.fields(), (Fields{{"password", "secret", true}}));
    EXPECT_EQ(d.decoder.table_bytes_used(), 0u);
  }
  Decoding d;
  ASSERT_TRUE(d("82"));
  EXPECT_EQ(d.fields(), (Fields{{":method", "GET"}}));
}

const Fields kRequest1{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "www.example.com"}};
const Fields kRequest2{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "www.example.com"},
                       {"cache-control", "no-cache"}};
const Fields kRequest3{{":method", "GET"}, {":scheme", "https"}, {":path", "/index.html"},
                       {":authority", "www.example.com"}, {"custom-key", "custom-value"}};

// RFC 7541 C.3
TEST(HpackDecoder, DecodesTheRequestExamples) {
  Decoding d;
  ASSERT_TRUE(d("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d"));
  EXPECT_EQ(d.fields(), kRequest1);
  EXPECT_EQ(d.decoder.table_bytes_used(), 57u);
  ASSERT_TRUE(d("8286 84be 5808 6e6f 2d63 6163 6865"));
  EXPECT_EQ(d.fields(), kRequest2);
  EXPECT_EQ(d.decoder.table_bytes_used(), 110u);
  ASSERT_TRUE(d("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65"));
  EXPECT_EQ(d.fields(), kRequest3);
  EXPECT_EQ(d.decoder.table_bytes_used(), 164u);
}

// RFC 7541 C.4
TEST(HpackDecoder, DecodesTheRequestExamplesWithHuffman) {
  Decoding d;
  ASSERT_TRUE(d("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"));
  EXPECT_EQ(d.fields(), kRequest1);
  ASSERT_TRUE(d("8286 84be 5886 a8eb 1064 9cbf"));
  EXPECT_EQ(d.fields(), kRequest2);
  ASSERT_TRUE(d("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"));
  EXPECT_EQ(d.fields(), kRequest3);
  EXPECT_EQ(d.decoder.table_bytes_used(), 164u);
}

const char kSetCookie[] = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const Fields kResponse1{{":status", "302"}, {"cache-control", "private"}, {"date", "Mon, 21 Oct 2013 20:13:21 GMT"},
                        {"location", "https://www.example.com"}};
const Fields kResponse2{{":status", "307"}, {"cache-control", "private"}, {"date", "Mon, 21 Oct 2013 20:13:21 GMT"},
                        {"location", "https://www.example.com"}};
const Fields kResponse3{{":status", "200"}, {"cache-control", "private"}, {"date", "Mon, 21 Oct 2013 20:13:22 GMT"},
                        {"location", "https://www.example.com"}, {"content-encoding", "gzip"},
                        {"set-cookie", kSetCookie}};

// RFC 7541 C.5: a table of 256 bytes, so that entries are evicted.
TEST(HpackDecoder, DecodesTheResponseExamples) {
  Decoding d;
  ASSERT_TRUE(d("3fe101 4803'302' 5807'private' 611d'Mon, 21 Oct 2013 20:13:21 GMT' 6e17'https://www.example.com'"));
  EXPECT_EQ(d.fields(), kResponse1);
  EXPECT_EQ(d.decoder.table_bytes_used(), 222u);
  ASSERT_TRUE(d("4803'307' c1 c0 bf"));
  EXPECT_EQ(d.fields(), kResponse2);
  EXPECT_EQ(d.decoder.table_bytes_used(), 222u);
  ASSERT_TRUE(d("88 c1 611d'Mon, 21 Oct 2013 20:13:22 GMT' c0 5a04'gzip'"
                "7738'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'"));
  EXPECT_EQ(d.fields(), kResponse3);
  EXPECT_EQ(d.decoder.table_bytes_used(), 215u);
}

// RFC 7541 C.6
TEST(HpackDecoder, DecodesTheResponseExamplesWithHuffman) {
  Decoding d;
  ASSERT_TRUE(d("3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e"
                "919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3"));
  EXPECT_EQ(d.fields(), kResponse1);
  ASSERT_TRUE(d("4883 640e ffc1 c0bf"));
  EXPECT_EQ(d.fields(), kResponse2);
  ASSERT_TRUE(d("88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d"
                "d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106"
                "3d50 07"));
  EXPECT_EQ(d.fields(), kResponse3);
  EXPECT_EQ(d.decoder.table_bytes_used(), 215u);
}

TEST(HpackDecoder, GivesEveryStaticEntryWithTokenAndHash) {
  Decoding d;
  for (uint32_t i = 1; i <= kStaticCount; ++i) {
    ASSERT_TRUE(d(std::vector<uint8_t>{static_cast<uint8_t>(0x80 | i)}));
    ASSERT_EQ(d.list.fields.size(), 1u);
    const Field& f = d.list.fields[0];
    EXPECT_EQ(f.hash, field_hash(f.name, f.value));
    EXPECT_EQ(f.token, token_of(f.name));
    EXPECT_FALSE(f.name.empty());
    EXPECT_FALSE(d.list.malformed);
  }
}

TEST(HpackDecoder, GivesTokenAndHashOfLiteralsAndDynamicEntries) {
  Decoding d;
  // content-type by static name, grpc-timeout by new name, an unknown one; then all three by index, and the
  // unknown name once more with another value.
  ASSERT_TRUE(d("5f 10'application/grpc' 40 0c'grpc-timeout' 02'1S' 40 05'x-own' 01'v' c0 bf be 7e 01'w'"));
  ASSERT_EQ(d.list.fields.size(), 7u);
  for (const Field& f : d.list.fields) {
    EXPECT_EQ(f.hash, field_hash(f.name, f.value)) << f.name;
    EXPECT_EQ(f.token, token_of(f.name)) << f.name;
  }
  EXPECT_EQ(d.fields()[3], (Plain{"content-type", "application/grpc"}));
  EXPECT_EQ(d.list.fields[4].token, Token::GrpcTimeout);
  EXPECT_EQ(d.fields()[5], (Plain{"x-own", "v"}));
  EXPECT_EQ(d.fields()[6], (Plain{"x-own", "w"}));
}

TEST(HpackDecoder, KeepsViewsValidWhileTheTableTurnsOver) {
  HpackDecoder decoder;
  Arena arena;
  HeaderList list;
  std::string text = "40 05'x-own' 08'original' be";
  for (int i = 0; i < 200; ++i) text += "40 05'x-two' 08'replaced'";
  std::vector<uint8_t> bytes = block(text);
  HeaderList unlimited;
  HpackDecoder wide({.fields_max = 1000});
  ASSERT_TRUE(wide.decode(bytes, arena, list));
  bytes.assign(bytes.size(), 0);
  EXPECT_EQ(list.fields[0].name, "x-own");
  EXPECT_EQ(list.fields[1].name, "x-own");
  EXPECT_EQ(list.fields[1].value, "original");
  EXPECT_EQ(list.fields[201].value, "replaced");
}

TEST(HpackDecoder, InsertsAnEntryWhoseNameIsEvictedByIt) {
  Decoding d;
  // A table of 64 bytes: one entry; the second takes its name from the first, which must go (RFC 7541 §4.4).
  ASSERT_TRUE(d("3f21 40 05'x-own' 03'abc' 7e 05'abcde'"));
  EXPECT_EQ(d.fields(), (Fields{{"x-own", "abc"}, {"x-own", "abcde"}}));
  ASSERT_TRUE(d("be"));
  EXPECT_EQ(d.fields(), (Fields{{"x-own", "abcde"}}));
  EXPECT_FALSE(d("bf"));
}

TEST(HpackDecoder, EmptiesTheTableForAnEntryThatIsTooLarge) {
  Decoding d;
  ASSERT_TRUE(d("3f21 40 05'x-own' 03'abc' 40 05'x-own' 21'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"));
  EXPECT_EQ(d.list.fields.size(), 2u);
  EXPECT_EQ(d.decoder.table_bytes_used(), 0u);
  EXPECT_FALSE(d("be"));
}

TEST(HpackDecoder, RefusesIndexZeroAndIndexesPastTheTable) {
  EXPECT_FALSE(Decoding()("80"));
  EXPECT_FALSE(Decoding()("be"));
  EXPECT_FALSE(Decoding()("ff00"));
  EXPECT_FALSE(Decoding()("7e 01'v'"));
  EXPECT_FALSE(Decoding()("0f2f 01'v'"));
  EXPECT_FALSE(Decoding()("1f2f 01'v'"));
  EXPECT_TRUE(Decoding()("bd"));
  EXPECT_TRUE(Decoding()("40 01'a' 01'b' be"));
  EXPECT_FALSE(Decoding()("40 01'a' 01'b' bf"));
}

TEST(HpackDecoder, RefusesABlockThatEndsInsideAField) {
  const auto whole = block("40 05'x-own' 03'abc' 1f0c 03'abc' ff00");
  size_t fields_whole = 0;
  for (size_t size = 0; size <= whole.size(); ++size) {
    Decoding d;
    // Give index 127 something to stand for.
    std::string fill;
    for (int i = 0; i < 70; ++i) fill += "40 01'a' 01'b'";
    ASSERT_TRUE(d(fill));
    bool ok = d(std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<long>(size)));
    bool at_border = size == 0 || size == 11 || size == 17 || size == whole.size();
    EXPECT_EQ(ok, at_border) << size;
    fields_whole += ok;
  }
  EXPECT_EQ(fields_whole, 4u);
}

TEST(HpackDecoder, RefusesAWrongHuffmanStringInNameAndValue) {
  EXPECT_FALSE(Decoding()("00 81ff 01'v'"));
  EXPECT_FALSE(Decoding()("00 01'n' 84ffffffff"));
  EXPECT_FALSE(Decoding()("41 8118"));
  EXPECT_TRUE(Decoding()("41 811f"));
}

TEST(HpackDecoder, RefusesALengthPastTheBlockHoweverLarge) {
  EXPECT_FALSE(Decoding()("41 02'a'"));
  EXPECT_FALSE(Decoding()("41 7fffffffff07 'a'"));
  EXPECT_FALSE(Decoding()("41 ffffffffff07 'a'"));
  EXPECT_FALSE(Decoding()("41 7fffffffff7f 'a'"));
}

TEST(HpackDecoder, TakesSizeUpdatesOnlyAtTheStartAndUpToItsLimit) {
  EXPECT_TRUE(Decoding()("20"));
  EXPECT_TRUE(Decoding()("20 3fe11f 82"));
  EXPECT_FALSE(Decoding()("3fe21f")) << "4097";
  EXPECT_FALSE(Decoding()("82 20"));
  EXPECT_FALSE(Decoding()("3f"));
  EXPECT_FALSE(Decoding({.table_bytes = 0})("21"));
  EXPECT_TRUE(Decoding({.table_bytes = 8192})("3fe13f"));
  EXPECT_FALSE(Decoding({.table_bytes = 8192})("3fe23f"));
}

TEST(HpackDecoder, EvictsWhatASizeUpdateLeavesNoRoomFor) {
  Decoding d;
  ASSERT_TRUE(d("40 01'a' 01'b' 40 01'c' 01'd'"));
  EXPECT_EQ(d.decoder.table_bytes_used(), 68u);
  ASSERT_TRUE(d("3f20 be"));  // 63 bytes
  EXPECT_EQ(d.fields(), (Fields{{"c", "d"}}));
  EXPECT_EQ(d.decoder.table_bytes_used(), 34u);
  ASSERT_TRUE(d("20 3fe11f"));
  EXPECT_EQ(d.decoder.table_bytes_used(), 0u);
  EXPECT_FALSE(d("be"));
}

TEST(HpackDecoder, UsesATableOfSixtyFourKibibytes) {
  Decoding d({.table_bytes = 64 << 10, .fields_max = 10000, .list_bytes_max = 1 << 20});
  std::string text = "3fe1ff03";  // 65536
  for (int i = 0; i < 3000; ++i) text += "40 01'a' 01'b'";
  ASSERT_TRUE(d(text));
  EXPECT_EQ(d.decoder.table_bytes_used(), 65536 / 34 * 34u);
  ASSERT_TRUE(d("ffc50e"));  // the oldest: 61 + 1927
  EXPECT_EQ(d.fields(), (Fields{{"a", "b"}}));
  EXPECT_FALSE(d("ffc60e"));
}

TEST(HpackDecoder, CountsThirtyTwoBytesForEachField) {
  Decoding d;
  ASSERT_TRUE(d("82 00 05'x-own' 03'abc'"));
  EXPECT_EQ(d.list.list_size, 10u + 32 + 8 + 32);
}

TEST(HpackDecoder, DropsFieldsOverTheListLimitAndKeepsTheTableRight) {
  Decoding d({.list_bytes_max = 42 + 40});
  ASSERT_TRUE(d("82 00 05'x-own' 03'abc'"));
  EXPECT_FALSE(d.list.too_large) << "exactly the limit";
  ASSERT_TRUE(d("82 40 05'x-own' 04'abcd' 82 be 40 01'a' 01'b'"));
  EXPECT_TRUE(d.list.too_large);
  EXPECT_EQ(d.fields(), (Fields{{":method", "GET"}}));
  ASSERT_TRUE(d("be"));
  EXPECT_FALSE(d.list.too_large);
  EXPECT_EQ(d.fields(), (Fields{{"a", "b"}}));
  ASSERT_TRUE(d("bf"));
  EXPECT_EQ(d.fields(), (Fields{{"x-own", "abcd"}}));
}

TEST(HpackDecoder, DropsFieldsOverTheFieldLimit) {
  Decoding d({.fields_max = 3});
  ASSERT_TRUE(d("82 84 86"));
  EXPECT_FALSE(d.list.too_large);
  ASSERT_TRUE(d("82 84 86 40 01'a' 01'b'"));
  EXPECT_TRUE(d.list.too_large);
  EXPECT_EQ(d.list.fields.size(), 3u);
  ASSERT_TRUE(d("be"));
  EXPECT_EQ(d.fields(), (Fields{{"a", "b"}}));
}

TEST(HpackDecoder, StillRefusesACompressionErrorBehindTheLimit) {
  EXPECT_FALSE(Decoding({.fields_max = 1})("82 82 80"));
  EXPECT_FALSE(Decoding({.fields_max = 1})("82 82 00 01'n' 84ffffffff"));
}

// The bomb of CVE-2016-6581: one large entry, named thousands of times.
TEST(HpackDecoder, BoundsWhatARepeatedLargeEntryCosts) {
  Decoding d({.fields_max = 100000});
  std::vector<uint8_t> bytes = block("40 01'a' 7fa11e");
  bytes.insert(bytes.end(), 4000, 'x');
  for (int i = 0; i < 20000; ++i) bytes.push_back(0xBE);
  ASSERT_TRUE(d(bytes));
  EXPECT_TRUE(d.list.too_large);
  EXPECT_EQ(d.list.fields.size(), size_t{64 << 10} / 4033);
  // A large name used again by literals: dropped ones leave nothing behind in the arena.
  bytes = block("40 7fa11e");
  bytes.insert(bytes.end(), 4000, 'n');
  for (uint8_t c : block("00")) bytes.push_back(c);
  for (int i = 0; i < 20000; ++i) {
    for (uint8_t c : block("0f2f 00")) bytes.push_back(c);
  }
  ASSERT_TRUE(d(bytes));
  EXPECT_TRUE(d.list.too_large);
  char* mark = d.arena.allocate(1);
  ASSERT_TRUE(d(bytes));
  EXPECT_EQ(d.arena.allocate(1), mark);
}

bool malformed(std::string_view name, std::string_view value) {
  std::vector<uint8_t> bytes{0x40, static_cast<uint8_t>(name.size())};
  bytes.insert(bytes.end(), name.begin(), name.end());
  bytes.push_back(static_cast<uint8_t>(value.size()));
  bytes.insert(bytes.end(), value.begin(), value.end());
  Decoding d;
  EXPECT_TRUE(d(bytes));
  bool literal = d.list.malformed;
  EXPECT_TRUE(d("be"));
  EXPECT_EQ(d.list.malformed, literal) << "the entry must remember";
  return literal;
}

TEST(HpackDecoder, ChecksTheCharactersOfNames) {
  EXPECT_FALSE(malformed("x-own", "v"));
  EXPECT_FALSE(malformed(":x-own", "v"));
  EXPECT_FALSE(malformed("!#$%&'*+-.^_`|~09az", "v"));
  EXPECT_TRUE(malformed("", "v"));
  EXPECT_TRUE(malformed(":", "v"));
  EXPECT_TRUE(malformed("::a", "v"));
  EXPECT_TRUE(malformed("a:", "v"));
  for (int c = 0; c < 256; ++c) {
    bool allowed = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                   (c != 0 && std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos);
    EXPECT_EQ(malformed(std::string("x") + static_cast<char>(c) + "y", "v"), !allowed) << c;
  }
}

TEST(HpackDecoder, ChecksTheCharactersOfValues) {
  EXPECT_FALSE(malformed("x-own", ""));
  EXPECT_FALSE(malformed("x-own", "a b\tc"));
  for (size_t size = 1; size < 40; ++size) {
    for (size_t at = 0; at < size; ++at) {
      for (int c = 0; c < 256; ++c) {
        std::string value(size, 'v');
        value[at] = static_cast<char>(c);
        bool edge = at == 0 || at == size - 1;
        bool wrong = c == 0 || c == '\r' || c == '\n' || (edge && (c == ' ' || c == '\t'));
        ASSERT_EQ(malformed("x-own", value), wrong) << size << " " << at << " " << c;
      }
    }
  }
}

TEST(HpackDecoder, ANameTakenFromAMalformedEntryStaysMalformedButItsValueDoesNot) {
  Decoding d;
  ASSERT_TRUE(d("40 02'X-' 01'v'"));
  EXPECT_TRUE(d.list.malformed);
  ASSERT_TRUE(d("7e 01'w'"));
  EXPECT_TRUE(d.list.malformed);
  ASSERT_TRUE(d("40 02'x-' 01' '"));
  EXPECT_TRUE(d.list.malformed);
  ASSERT_TRUE(d("7e 01'w'"));
  EXPECT_FALSE(d.list.malformed);
}

TEST(HpackDecoder, DecodesAnEmptyValueIntoAFreshArena) {
  Decoding d;
  ASSERT_TRUE(d("14 00"));
  EXPECT_EQ(d.fields(), (Fields{{":path", "", true}}));
  Decoding indexed;
  ASSERT_TRUE(indexed("44 00 be"));
  EXPECT_EQ(indexed.fields(), (Fields{{":path", ""}, {":path", ""}}));
}

TEST(HpackDecoder, AListHoldsItsLatestBlock) {
  HpackDecoder decoder;
  Arena arena;
  HeaderList list;
  ASSERT_TRUE(decoder.decode(block("82 84"), arena, list));
  ASSERT_TRUE(decoder.decode(block("84"), arena, list));
  EXPECT_EQ(plain(list), (Fields{{":path", "/"}}));
  EXPECT_EQ(list.tokens(), token_bit(Token::Path));
}

}  // namespace
}  // namespace weir::http::h2
