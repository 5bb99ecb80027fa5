#include "proxy/message_counter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/random.h"

namespace weir::proxy {
namespace {

std::vector<uint8_t> messages(const std::vector<size_t>& sizes) {
  std::vector<uint8_t> out;
  for (size_t size : sizes) {
    out.push_back(size % 2);  // compressed or not
    for (int shift : {24, 16, 8, 0}) out.push_back(static_cast<uint8_t>(size >> shift));
    out.insert(out.end(), size, 0xff);
  }
  return out;
}

TEST(MessageCounter, CountsTheSameHoweverFramesCutTheMessages) {
  const std::vector<size_t> sizes{0, 1, 100, 0, 0, 70000, 5, 4, 0};
  std::vector<uint8_t> bytes = messages(sizes);
  for (size_t piece : {1, 2, 3, 4, 5, 6, 7, 11, 64, 4096, 1 << 20}) {
    MessageCounter counter;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      counter.add(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    }
    EXPECT_EQ(counter.messages(), sizes.size()) << piece;
    EXPECT_TRUE(counter.at_boundary());
  }
}

TEST(MessageCounter, KnowsWhetherItIsInsideAMessage) {
  std::vector<uint8_t> bytes = messages({3});
  MessageCounter counter;
  EXPECT_TRUE(counter.at_boundary());
  for (uint8_t byte : bytes) {
    EXPECT_EQ(counter.messages(), 0u);
    counter.add({&byte, 1});
  }
  EXPECT_EQ(counter.messages(), 1u);
  EXPECT_TRUE(counter.at_boundary());
  counter.add({bytes.data(), 6});
  EXPECT_FALSE(counter.at_boundary());
}

TEST(MessageCounter, FindsTheEndOfTheLastWholeMessage) {
  MessageCounter counter;
  EXPECT_TRUE(counter.at_boundary());
  EXPECT_EQ(counter.add(messages({10})), 15u);
  std::vector<uint8_t> two = messages({3}), half = messages({300});
  two.insert(two.end(), half.begin(), half.begin() + 100);
  EXPECT_EQ(counter.add(two), 8u);
  EXPECT_FALSE(counter.at_boundary());
  EXPECT_EQ(counter.add(std::span(half).subspan(100, 50)), MessageCounter::kNone);
  EXPECT_EQ(counter.add(std::span(half).subspan(150)), 155u);
  EXPECT_TRUE(counter.at_boundary());
  EXPECT_EQ(counter.add(std::span(half).first(3)), 0u);
}

TEST(MessageCounter, DoesNotCareHowTheBytesAreCut) {
  std::vector<uint8_t> bytes;
  std::vector<bool> boundary_at{true};
  Random random(5);
  for (int i = 0; i < 200; ++i) {
    std::vector<uint8_t> next = messages({random.below(4) == 0 ? 0 : random.below(700)});
    bytes.insert(bytes.end(), next.begin(), next.end());
    boundary_at.resize(bytes.size() + 1);
    boundary_at[bytes.size()] = true;
  }
  for (int round = 0; round < 50; ++round) {
    MessageCounter counter;
    for (size_t at = 0; at < bytes.size();) {
      size_t size = std::min<size_t>(bytes.size() - at, 1 + random.below(300));
      size_t expected = MessageCounter::kNone;
      for (size_t i = 0; i <= size; ++i) {
        if (boundary_at[at + i]) expected = i;
      }
      ASSERT_EQ(counter.add(std::span(bytes).subspan(at, size)), expected);
      at += size;
      ASSERT_EQ(counter.at_boundary(), boundary_at[at]);
    }
  }
}

}  // namespace
}  // namespace weir::proxy
