// Counts what operator new is asked for: a connection that has warmed up asks for nothing.
#include <gtest/gtest.h>

#include <cstdlib>

#include "http/h2/allocation_counter_test.h"
#include "http/h2/hpack_testing_test.h"

namespace {
thread_local uint64_t allocations = 0;
}  // namespace

// The whole test binary uses these; they only count.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  void* out = std::malloc(size);
  if (out == nullptr) std::abort();
  return out;
}
[[gnu::noinline]] void* operator new[](size_t size) { return operator new(size); }
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block, size_t) noexcept { std::free(block); }

namespace weir::http::h2 {

uint64_t allocations_so_far() { return allocations; }

namespace {

TEST(HpackAllocation, AnIdleConnectionOwnsNoTable) {
  uint64_t before = allocations;
  HpackDecoder decoder;
  HpackEncoder encoder;
  encoder.set_peer_table_bytes(100);
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(decoder.table_bytes_used(), 0u);
  EXPECT_EQ(encoder.table_bytes_used(), 0u);
}

TEST(HpackAllocation, ABusyConnectionAllocatesNothing) {
  // One sender with turning tables, made before; then decode and forward, in which nothing may allocate.
  Encoding sender;
  std::vector<std::vector<uint8_t>> blocks;
  for (int i = 0; i < 2000; ++i) {
    std::vector<Plain> fields{{":method", "POST"}, {"x-unique", std::to_string(i * 7919)}};
    fields.push_back({"x-" + std::to_string(i / 3 % 50), std::string(static_cast<size_t>(i / 3 % 40), 'v')});
    blocks.push_back(sender(fields));
  }
  HpackDecoder decoder;
  HpackEncoder encoder;
  Arena arena;
  HeaderList list;
  BufferPool pool;
  Buffer out(pool);
  uint64_t mark = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i == 1000) mark = allocations;
    arena.reset();
    out.rewind();
    bool ok = decoder.decode(blocks[i], arena, list);
    if (!ok || list.fields.size() != 3) FAIL() << i;
    encoder.begin_block(out);
    for (const Field& f : list.fields) encoder.encode(f, out);
  }
  EXPECT_EQ(allocations - mark, 0u);
  EXPECT_GT(mark, 0u);
  EXPECT_GT(decoder.table_bytes_used(), 3500u) << "the tables must have been full";
  EXPECT_GT(encoder.table_bytes_used(), 3500u);
}

}  // namespace
}  // namespace weir::http::h2
