#include "base/buffer.h"

#include <gtest/gtest.h>

#include <vector>

namespace weir {
namespace {

TEST(BufferPool, HandsTheBlockThatCameBackLastOutAgain) {
  BufferPool pool;
  size_t capacity = 0;
  uint8_t* block = pool.take(100, &capacity);
  EXPECT_EQ(capacity, 256u);
  EXPECT_EQ(pool.bytes_in_use(), 256u);
  pool.give(block, capacity);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
  EXPECT_EQ(pool.take(256, &capacity), block);
  pool.give(block, capacity);
}

TEST(BufferPool, TrimFreesWhatWasNotNeededSinceTheLastOne) {
  BufferPool pool;
  size_t capacity = 0;
  std::vector<uint8_t*> burst;
  for (int i = 0; i < 10; ++i) burst.push_back(pool.take(256, &capacity));
  for (uint8_t* block : burst) pool.give(block, capacity);
  EXPECT_EQ(pool.trim(), 0u);  // all were in use a moment ago
  uint8_t* one = pool.take(256, &capacity);
  uint8_t* two = pool.take(256, &capacity);
  pool.give(two, capacity);
  pool.give(one, capacity);
  EXPECT_EQ(pool.trim(), 8u * 256);
  EXPECT_EQ(pool.take(256, &capacity), one);
  pool.give(one, capacity);
  EXPECT_EQ(pool.trim(), 1u * 256);
}

TEST(Buffer, GivesItsBlockBackWhenItIsEmptied) {
  BufferPool pool;
  Buffer buffer(pool);
  buffer.append("hello", 5);
  EXPECT_EQ(pool.bytes_in_use(), 256u);
  buffer.consume(5);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(InlineBuffer, HoldsFewBytesItselfAndManyInThePool) {
  BufferPool pool;
  {
    InlineBuffer<16> buffer(pool);
    std::vector<uint8_t> expected;
    for (uint8_t i = 0; i < 100; ++i) {
      std::vector<uint8_t> part(i % 7, i);
      buffer.append(part);
      expected.insert(expected.end(), part.begin(), part.end());
      ASSERT_EQ(std::vector<uint8_t>(buffer.bytes().begin(), buffer.bytes().end()), expected);
      ASSERT_EQ(buffer.size(), expected.size());
      ASSERT_EQ(pool.bytes_in_use() > 0, expected.size() > 16);
    }
  }
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

}  // namespace
}  // namespace weir
