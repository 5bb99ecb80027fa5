// Header runs: what comes again is recognised, and nothing else is taken for it.
#include <gtest/gtest.h>

#include <random>

#include "http/h2/hpack_testing_test.h"
#include "http/header_run.h"

namespace weir::http::h2 {
namespace {

using Fields = std::vector<Plain>;

Fields request(const std::string& path, const std::string& id) {
  return {{":method", "POST"}, {":scheme", "https"},
          {":path", path},     {":authority", "a.example"},
          {"te", "trailers"},  {"content-type", "application/grpc"},
          {"x-id", id}};
}

TEST(HeaderRuns, AreFoundWhenABlockBeginsLikeTheOneBefore) {
  HeaderRuns runs;
  Encoding encode;
  Decoding decode;
  decode.runs = &runs;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(decode(encode(request("/s/m", std::to_string(i)))));
  ASSERT_TRUE(decode(encode(request("/s/m", "again"))));
  ASSERT_NE(decode.list.run, nullptr);
  EXPECT_EQ(decode.list.run->size(), 6u);
  EXPECT_EQ(decode.fields(), request("/s/m", "again"));
  EXPECT_EQ(decode.list.fields.size(), 1u);
}

TEST(HeaderRuns, AreSharedByConnections) {
  HeaderRuns runs;
  HeaderRun* found[2];
  for (HeaderRun*& run : found) {
    Encoding encode;
    Decoding decode;
    decode.runs = &runs;
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(decode(encode(request("/s/m", std::to_string(i)))));
    run = decode.list.run;
  }
  EXPECT_NE(found[0], nullptr);
  EXPECT_EQ(found[0], found[1]);
}

TEST(HeaderRuns, AreFoundAlthoughNewEntriesMoveTheIndexes) {
  HeaderRuns runs;
  Encoding encode;
  Decoding decode;
  decode.runs = &runs;
  int found_whole = 0;
  for (int i = 0; i < 40; ++i) {  // each id comes twice: the second time it is entered into the table
    ASSERT_TRUE(decode(encode(request("/s/m", std::to_string(i / 2)))));
    EXPECT_EQ(decode.fields(), request("/s/m", std::to_string(i / 2)));
    found_whole += decode.list.run != nullptr && decode.list.run->size() == 6;
  }
  EXPECT_GE(found_whole, 24);  // each of the eight places is filled once, some with a shorter run before
}

TEST(HeaderRuns, EndWithTheEntryThatTheTableForgot) {
  HeaderRuns runs;
  Decoding decode;
  decode.runs = &runs;
  ASSERT_TRUE(decode("40 01'a' 01'1' 40 01'b' 01'2'"));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(decode("bf be"));
  ASSERT_NE(decode.list.run, nullptr);
  EXPECT_EQ(decode.list.run->size(), 2u);
  EXPECT_FALSE(decode("20 bf be"));  // the table shrinks to nothing, the indexes mean nothing any more
}

TEST(HeaderRuns, ObeyTheLimitsOfAList) {
  HeaderRuns runs;
  Decoding decode({.fields_max = 3});
  decode.runs = &runs;
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(decode("82 84 87"));
  ASSERT_NE(decode.list.run, nullptr);
  EXPECT_EQ(decode.list.run->size(), 3u);
  EXPECT_FALSE(decode.list.too_large);
  ASSERT_TRUE(decode("82 84 87 90"));
  EXPECT_TRUE(decode.list.too_large);
  EXPECT_EQ(decode.list.size(), 3u);
}

TEST(HeaderRuns, AreMadeOfTheOneFieldThatABlockIs) {
  HeaderRuns runs;
  Encoding encode;
  Decoding decode;
  decode.runs = &runs;
  const Fields trailers{{"grpc-status", "0"}};
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(decode(encode(trailers)));
  ASSERT_NE(decode.list.run, nullptr);
  EXPECT_EQ(decode.list.run->size(), 1u);
  EXPECT_EQ(decode.fields(), trailers);
}

TEST(HeaderRuns, AreNotLookedForInABlockThatOnlyUpdatesTheSize) {
  HeaderRuns runs;
  Decoding decode;
  decode.runs = &runs;
  EXPECT_TRUE(decode("20"));
  EXPECT_TRUE(decode("3fe11f"));
  EXPECT_TRUE(decode("20 82 82"));
  EXPECT_TRUE(decode("20 82 82"));
  EXPECT_NE(decode.list.run, nullptr);
  EXPECT_TRUE(decode("20"));
  EXPECT_EQ(decode.list.run, nullptr);
  EXPECT_EQ(decode.fields(), Fields{});
}

TEST(HeaderRuns, AreNotMadeOfMalformedFields) {
  HeaderRuns runs;
  Decoding decode;
  decode.runs = &runs;
  ASSERT_TRUE(decode("40 01'A' 01'1' 82 84"));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(decode("82 84 be"));
    EXPECT_TRUE(decode.list.malformed) << i;
  }
}

TEST(HeaderRuns, GiveTheSameVerdictAsTheirFields) {
  HeaderRuns runs;
  Decoding with, without;
  with.runs = &runs;
  for (const char* text :
       {"83 87 84 41 01'a'", "87 83 84", "84 83 87 88", "83 87 84 83", "83 84 87 04 00", "88 8d", "88 5a"}) {
    for (int i = 0; i < 3; ++i) {
      bool decoded = with(text);
      ASSERT_EQ(decoded, without(text)) << text;
      if (!decoded) continue;
      const MessageHead* request = check_request(with.list);
      std::string path(request != nullptr ? request->path : "");
      const MessageHead* expected = check_request(without.list);
      ASSERT_EQ(request != nullptr, expected != nullptr) << text;
      EXPECT_EQ(path, expected != nullptr ? expected->path : "");
      auto status = [](const MessageHead* head) { return head != nullptr ? head->status : -1; };
      EXPECT_EQ(status(check_response(with.list)), status(check_response(without.list))) << text;
      EXPECT_EQ(check_trailers(with.list), check_trailers(without.list)) << text;
      EXPECT_EQ(with.list.tokens(), without.list.tokens());
    }
  }
}

// Lists of a few common fields and a few that vary, by an encoder that forgets and is resized now and then.
TEST(HeaderRuns, ChangeNothingOfWhatIsDecodedOrEncodedInRandomTraffic) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    HeaderRuns runs;
    Encoding client, onward;
    Decoding with, without, target;
    with.runs = &runs;
    for (int i = 0; i < 300; ++i) {
      if (random() % 50 == 0)
        client.encoder.set_peer_table_bytes(random() % 3 == 0 ? 0 : 100 + random() % 4000);
      if (random() % 70 == 0) {
        uint32_t bytes = 100 + random() % 4000;
        onward.encoder.set_peer_table_bytes(bytes);
      }
      Fields fields = request(random() % 4 ? "/s/m" : "/s/n" + std::to_string(random() % 4),
                              std::to_string(random() % 90));
      if (random() % 3 == 0) fields.push_back({"grpc-timeout", std::to_string(random() % 5) + "S"});
      if (random() % 5 == 0) std::swap(fields[2], fields[3]);
      if (random() % 9 == 0) fields.insert(fields.begin() + 5, {"x-long", std::string(random() % 900, 'l')});
      std::vector<uint8_t> bytes = client(fields);
      ASSERT_TRUE(with(bytes));
      ASSERT_TRUE(without(bytes));
      ASSERT_EQ(with.fields(), fields) << seed << " " << i;
      ASSERT_EQ(without.fields(), fields);
      ASSERT_EQ(with.list.list_size, without.list.list_size);
      onward.encoder.encode(with.list.run, with.list.fields, nullptr, onward.out);
      std::vector<uint8_t> sent(onward.out.bytes().begin(), onward.out.bytes().end());
      onward.out.rewind();
      ASSERT_TRUE(target(sent)) << seed << " " << i;
      ASSERT_EQ(target.fields(), fields) << seed << " " << i;
    }
  }
}

// Blocks of random indexes and literals, right and wrong ones.
TEST(HeaderRuns, ChangeNothingOfWhatIsDecodedFromRandomBytes) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    HeaderRuns runs;
    Decoding with({.fields_max = 12, .list_bytes_max = 700}),
        without({.fields_max = 12, .list_bytes_max = 700});
    with.runs = &runs;
    for (int i = 0; i < 60; ++i) {
      std::vector<uint8_t> bytes;
      if (random() % 9 == 0) bytes = block(random() % 2 ? "20" : "3fe11f");
      for (uint32_t n = random() % 8; n > 0; --n)
        bytes.push_back(static_cast<uint8_t>(0x81 + random() % (random() % 20 ? 8 : 70)));
      for (uint32_t n = random() % 3; n > 0; --n) {
        std::string value(random() % (random() % 9 ? 5 : 120), 'v');
        bytes.push_back(random() % 2 ? 0x40 : 0x00);
        bytes.push_back(1);
        bytes.push_back(static_cast<uint8_t>(random() % 30 ? 'a' + random() % 3 : 'A'));
        bytes.push_back(static_cast<uint8_t>(value.size() % 127));
        bytes.insert(bytes.end(), value.begin(), value.begin() + static_cast<ptrdiff_t>(value.size() % 127));
        if (random() % 2) bytes.push_back(0xBE);
      }
      bool good = without(bytes);
      ASSERT_EQ(with(bytes), good) << seed << " " << i;
      if (!good) break;
      ASSERT_EQ(with.fields(), without.fields()) << seed << " " << i;
      ASSERT_EQ(with.list.too_large, without.list.too_large);
      ASSERT_EQ(with.list.malformed, without.list.malformed);
      ASSERT_EQ(with.list.tokens(), without.list.tokens());
    }
  }
}

}  // namespace
}  // namespace weir::http::h2
