#include "net/openssl_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace weir::net {
namespace {

TEST(OpensslMemory, BlocksOfAllSizesAreAlignedAndKeepTheirBytes) {
  std::vector<std::pair<uint8_t*, size_t>> blocks;
  for (size_t size = 1; size < (2u << 20); size += size / 3 + 1) {
    auto* block = static_cast<uint8_t*>(pooled_allocate(size));
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 16, 0u) << size;
    std::memset(block, static_cast<int>(size & 255), size);
    blocks.emplace_back(block, size);
  }
  for (auto [block, size] : blocks) {
    for (size_t i = 0; i < size; ++i) ASSERT_EQ(block[i], size & 255) << size << " at " << i;
    pooled_free(block);
  }
  pooled_free(nullptr);
}

TEST(OpensslMemory, GrowingAndShrinkingKeepsTheBytes) {
  auto* block = static_cast<uint8_t*>(pooled_reallocate(nullptr, 10));
  std::memcpy(block, "0123456789", 10);
  for (size_t size : {16u, 17u, 5000u, 100000u, 1000000u, 100u, 10u}) {
    block = static_cast<uint8_t*>(pooled_reallocate(block, size));
    ASSERT_NE(block, nullptr);
    ASSERT_EQ(std::memcmp(block, "0123456789", 10), 0) << size;
  }
  pooled_free(block);
}

TEST(OpensslMemory, WhatManyHandshakesNeededGoesBackToTheKernel) {
  std::vector<void*> kept;
  std::vector<void*> passing;
  size_t before = pooled_bytes_mapped();
  for (int i = 0; i < 2000; ++i) {
    kept.push_back(pooled_allocate(900));
    for (size_t size : {4096u, 4096u, 21848u}) passing.push_back(pooled_allocate(size));
  }
  size_t peak = pooled_bytes_mapped() - before;
  EXPECT_GT(peak, 2000u * 30000);
  for (void* block : passing) pooled_free(block);
  EXPECT_LT(pooled_bytes_mapped() - before, 2000u * 1024 + (2u << 20)) << "long-lived blocks hold nothing else back";
  for (void* block : kept) pooled_free(block);
  EXPECT_LT(pooled_bytes_mapped() - before, 2u << 20);
}

TEST(OpensslMemory, BlocksPassBetweenThreadsAndThoseOfAThreadThatEndedComeBack) {
  size_t before = pooled_bytes_mapped();
  for (int round = 0; round < 20; ++round) {
    std::vector<void*> blocks;
    std::thread([&] {
      for (int i = 0; i < 5000; ++i) blocks.push_back(pooled_allocate(static_cast<size_t>(i % 700 + 1)));
    }).join();
    std::thread([&] {
      for (void* block : blocks) pooled_free(block);
    }).join();
  }
  EXPECT_LT(pooled_bytes_mapped() - before, 44u * (256u << 10)) << "about one region per size class that was used";
}

}  // namespace
}  // namespace weir::net
