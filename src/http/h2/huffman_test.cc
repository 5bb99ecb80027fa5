#include "http/h2/huffman.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "http/h2/huffman_reference_test.h"

namespace weir::http::h2 {
namespace {

// Decodes into a heap block of exactly the promised room, so that a sanitizer sees a write past it.
bool decode(const std::vector<uint8_t>& code, std::string* text) {
  std::vector<uint8_t> exact(code);
  auto room = std::make_unique<char[]>(huffman_room(code.size()));
  char* end = huffman_decode(exact.data(), exact.size(), room.get());
  if (end == nullptr) return false;
  text->assign(room.get(), static_cast<size_t>(end - room.get()));
  return true;
}

TEST(Huffman, DecodesEverySymbolAlone) {
  for (int symbol = 0; symbol < 256; ++symbol) {
    std::string text(1, static_cast<char>(symbol)), out;
    ASSERT_TRUE(decode(reference_huffman_encode(text), &out)) << symbol;
    EXPECT_EQ(out, text);
  }
}

TEST(Huffman, DecodesEveryPairOfSymbols) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      std::string text{static_cast<char>(a), static_cast<char>(b)}, out;
      ASSERT_TRUE(decode(reference_huffman_encode(text), &out)) << a << " " << b;
      ASSERT_EQ(out, text);
    }
  }
}

TEST(Huffman, DecodesRandomTextsOfEveryLength) {
  Random random(7541);
  for (int round = 0; round < 20000; ++round) {
    std::string text, out;
    bool plain = random.below(4) != 0;
    for (size_t n = random.below(200); n > 0; --n) {
      text.push_back(static_cast<char>(plain ? 32 + random.below(95) : random.below(256)));
    }
    ASSERT_TRUE(decode(reference_huffman_encode(text), &out));
    ASSERT_EQ(out, text);
  }
}

TEST(Huffman, FillsTheRoomItPromisesAtMost) {
  for (size_t n = 0; n < 300; ++n) {
    std::string text(n, 'a'), out;  // 5 bits each
    auto code = reference_huffman_encode(text);
    EXPECT_LT(n, huffman_room(code.size()));
    ASSERT_TRUE(decode(code, &out));
    EXPECT_EQ(out, text);
  }
}

TEST(Huffman, RefusesPaddingThatIsNotAllOnes) {
  std::string out;
  EXPECT_TRUE(decode({0b00011'111}, &out));
  EXPECT_EQ(out, "a");
  for (uint8_t padding : {0b000, 0b001, 0b010, 0b011, 0b100, 0b101, 0b110}) {
    EXPECT_FALSE(decode({static_cast<uint8_t>(0b00011'000 | padding)}, &out)) << int(padding);
  }
}

TEST(Huffman, RefusesAWholeByteOfPadding) {
  std::string out;
  EXPECT_FALSE(decode({0xFF}, &out));
  EXPECT_FALSE(decode({0b00011'111, 0xFF}, &out));
  EXPECT_FALSE(decode({0xFF, 0xFF}, &out));
  EXPECT_FALSE(decode({0xFF, 0xFF, 0xFF}, &out));
}

TEST(Huffman, RefusesTheEndOfStringSymbolAnywhere) {
  std::string out;
  for (size_t before = 0; before < 40; ++before) {
    for (size_t after : {size_t{0}, size_t{1}, size_t{30}}) {
      std::string text(before, 'a');
      auto code = reference_huffman_encode(text, true, std::string(after, 'e'));
      EXPECT_FALSE(decode(code, &out)) << before << " " << after;
    }
  }
}

TEST(Huffman, RefusesAStringThatEndsInsideACode) {
  std::string out;
  for (size_t before = 0; before < 20; ++before) {
    auto code = reference_huffman_encode(std::string(before, 'a') + "\x01");  // 23 bits
    for (size_t drop = 1; drop <= 2; ++drop) {
      std::vector<uint8_t> cut(code.begin(), code.end() - static_cast<long>(drop));
      std::string got;
      EXPECT_FALSE(decode(cut, &got) && got != std::string(before, 'a'));
    }
  }
}

// Any bytes: accepted only when encoding the text again gives the same bytes.
TEST(Huffman, AcceptsExactlyWhatAnEncoderWrites) {
  Random random(1);
  int accepted = 0;
  for (int round = 0; round < 200000; ++round) {
    std::vector<uint8_t> code(random.below(12));
    for (auto& byte : code) byte = static_cast<uint8_t>(random.below(8) == 0 ? 0xFF : random.below(256));
    std::string text;
    if (!decode(code, &text)) continue;
    ++accepted;
    ASSERT_EQ(reference_huffman_encode(text), code);
  }
  EXPECT_GT(accepted, 1000);
}

TEST(Huffman, DecodesTheEmptyString) {
  std::string out = "x";
  EXPECT_TRUE(decode({}, &out));
  EXPECT_EQ(out, "");
}

}  // namespace
}  // namespace weir::http::h2
