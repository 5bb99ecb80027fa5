#include "net/openssl_memory.h"

#include <openssl/crypto.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>

namespace weir::net {

namespace {

// Size classes: every 16 bytes up to 1 KiB, every 512 up to 9 KiB, then those of records and handshake messages.
// Larger blocks have a region each.
constexpr size_t kFineStep = 16;
constexpr size_t kFineMax = 1024;
constexpr size_t kCoarseStep = 512;
constexpr size_t kCoarseMax = 9216;
constexpr size_t kLarge[] = {17408, 22528, 34816, 69632};
constexpr int kFine = kFineMax / kFineStep;
constexpr int kCoarse = (kCoarseMax - kFineMax) / kCoarseStep;
constexpr int kClasses = kFine + kCoarse + static_cast<int>(std::size(kLarge));
constexpr int kOwnRegion = kClasses;

constexpr size_t kRegionBytes = 256u << 10;  // and their alignment: a block's region is found by its address
constexpr size_t kHeadBytes = 64;
constexpr size_t kCachedBytes = 32u << 10;   // per thread and class, but…
constexpr uint32_t kCachedMin = 4;           // …so many blocks at least
constexpr uint32_t kCachedMax = 128;         // …and at most

constexpr int class_of(size_t bytes) {
  if (bytes <= kFineMax) return bytes == 0 ? 0 : static_cast<int>((bytes - 1) / kFineStep);
  if (bytes <= kCoarseMax) return kFine + static_cast<int>((bytes - kFineMax - 1) / kCoarseStep);
  int c = kFine + kCoarse;
  for (size_t large : kLarge) {
    if (bytes <= large) return c;
    ++c;
  }
  return kOwnRegion;
}

constexpr size_t bytes_of(int c) {
  if (c < kFine) return static_cast<size_t>(c + 1) * kFineStep;
  if (c < kFine + kCoarse) return kFineMax + static_cast<size_t>(c - kFine + 1) * kCoarseStep;
  return kLarge[c - kFine - kCoarse];
}

struct Block {
  Block* next;
};

// Stands at the start of its memory.
struct Region {
  Region* previous;  // in the class's list of regions with free blocks
  Region* next;
  Block* free;
  size_t block_bytes;
  size_t mapped_bytes;
  uint32_t carved;  // blocks that have been handed out once
  uint32_t capacity;
  uint32_t live;    // handed out to threads
  int size_class;

  uint8_t* block(size_t index) { return reinterpret_cast<uint8_t*>(this) + kHeadBytes + index * block_bytes; }
};
static_assert(sizeof(Region) <= kHeadBytes);

Region* region_of(void* block) {
  return reinterpret_cast<Region*>(reinterpret_cast<uintptr_t>(block) & ~(kRegionBytes - 1));
}

std::mutex g_mutex;
Region* g_first[kClasses];  // regions with free blocks
std::atomic<size_t> g_mapped{0};

Region* map_region(size_t bytes) {
  size_t asked = bytes + kRegionBytes;
  void* got = mmap(nullptr, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return nullptr;
  auto start = reinterpret_cast<uintptr_t>(got);
  uintptr_t aligned = (start + kRegionBytes - 1) & ~(kRegionBytes - 1);
  if (aligned > start) munmap(got, aligned - start);
  munmap(reinterpret_cast<void*>(aligned + bytes), start + asked - aligned - bytes);
  auto* region = reinterpret_cast<Region*>(aligned);
  region->mapped_bytes = bytes;
  g_mapped.fetch_add(bytes, std::memory_order_relaxed);
  return region;
}

void unmap_region(Region* region) {
  g_mapped.fetch_sub(region->mapped_bytes, std::memory_order_relaxed);
  munmap(region, region->mapped_bytes);
}

void link_region(Region* region) {
  Region*& first = g_first[region->size_class];
  region->previous = nullptr;
  region->next = first;
  if (first != nullptr) first->previous = region;
  first = region;
}

void unlink_region(Region* region) {
  (region->previous != nullptr ? region->previous->next : g_first[region->size_class]) = region->next;
  if (region->next != nullptr) region->next->previous = region->previous;
}

// Called with the lock.
void* take_block(int c) {
  Region* region = g_first[c];
  if (region == nullptr) {
    region = map_region(kRegionBytes);
    if (region == nullptr) return nullptr;
    region->block_bytes = bytes_of(c);
    region->capacity = static_cast<uint32_t>((kRegionBytes - kHeadBytes) / region->block_bytes);
    region->size_class = c;
    link_region(region);
  }
  void* block = region->free;
  if (block != nullptr) {
    region->free = region->free->next;
  } else {
    block = region->block(region->carved++);
  }
  if (++region->live == region->capacity) unlink_region(region);
  return block;
}

// Called with the lock. An empty region goes back to the kernel, unless it is the class's only one with room.
void give_block(void* pointer) {
  Region* region = region_of(pointer);
  auto* block = static_cast<Block*>(pointer);
  block->next = region->free;
  region->free = block;
  if (region->live-- == region->capacity) link_region(region);
  if (region->live > 0 || (region->previous == nullptr && region->next == nullptr)) return;
  unlink_region(region);
  unmap_region(region);
}

struct Cache {
  Block* first[kClasses] = {};
  uint32_t count[kClasses] = {};
  bool ended = false;
};
thread_local Cache t_cache;

// Gives a thread's blocks back when it ends. Apart from the cache, so that that needs no guard on the hot path;
// touched when a cache list begins.
struct CacheEnd {
  bool touched = false;
  ~CacheEnd() {
    std::lock_guard lock(g_mutex);
    t_cache.ended = true;
    for (int c = 0; c < kClasses; ++c) {
      while (Block* block = t_cache.first[c]) {
        t_cache.first[c] = block->next;
        give_block(block);
      }
      t_cache.count[c] = 0;
    }
  }
};
thread_local CacheEnd t_cache_end;

uint32_t cached_max(int c) {
  return std::clamp(static_cast<uint32_t>(kCachedBytes / bytes_of(c)), kCachedMin, kCachedMax);
}

// Half a cache full from the regions; one of them is the answer.
void* refill(int c) {
  if (!t_cache.ended) t_cache_end.touched = true;
  std::lock_guard lock(g_mutex);
  void* answer = take_block(c);
  if (t_cache.ended) return answer;
  for (uint32_t i = 1; i < cached_max(c) / 2; ++i) {
    auto* block = static_cast<Block*>(take_block(c));
    if (block == nullptr) break;
    block->next = t_cache.first[c];
    t_cache.first[c] = block;
    ++t_cache.count[c];
  }
  return answer;
}

void spill(int c) {
  std::lock_guard lock(g_mutex);
  for (uint32_t keep = cached_max(c) / 2; t_cache.count[c] > keep; --t_cache.count[c]) {
    Block* block = t_cache.first[c];
    t_cache.first[c] = block->next;
    give_block(block);
  }
}

void* allocate_alone(size_t bytes) {
  size_t whole = (bytes + kHeadBytes + kRegionBytes - 1) & ~(kRegionBytes - 1);
  Region* region = whole < bytes ? nullptr : map_region(whole);
  if (region == nullptr) return nullptr;
  region->size_class = kOwnRegion;
  region->block_bytes = whole - kHeadBytes;
  return region->block(0);
}

}  // namespace

void* pooled_allocate(size_t bytes) {
  int c = class_of(bytes);
  if (c == kOwnRegion) return allocate_alone(bytes);
  Block* block = t_cache.first[c];
  if (block == nullptr) return refill(c);
  t_cache.first[c] = block->next;
  --t_cache.count[c];
  return block;
}

void pooled_free(void* pointer) {
  if (pointer == nullptr) return;
  Region* region = region_of(pointer);
  int c = region->size_class;
  if (c == kOwnRegion) return unmap_region(region);
  if (t_cache.ended) {
    std::lock_guard lock(g_mutex);
    return give_block(pointer);
  }
  auto* block = static_cast<Block*>(pointer);
  block->next = t_cache.first[c];
  if (block->next == nullptr) t_cache_end.touched = true;  // the thread may only ever free
  t_cache.first[c] = block;
  if (++t_cache.count[c] > cached_max(c)) spill(c);
}

void* pooled_reallocate(void* pointer, size_t bytes) {
  if (pointer == nullptr) return pooled_allocate(bytes);
  size_t old = region_of(pointer)->block_bytes;
  if (bytes <= old && bytes > old / 2) return pointer;
  void* fresh = pooled_allocate(bytes);
  if (fresh == nullptr) return nullptr;
  std::memcpy(fresh, pointer, std::min(old, bytes));
  pooled_free(pointer);
  return fresh;
}

size_t pooled_bytes_mapped() { return g_mapped.load(std::memory_order_relaxed); }

void use_pooled_openssl_memory() {
  CRYPTO_set_mem_functions([](size_t bytes, const char*, int) { return pooled_allocate(bytes); },
                           [](void* block, size_t bytes, const char*, int) { return pooled_reallocate(block, bytes); },
                           [](void* block, const char*, int) { pooled_free(block); });
}

}  // namespace weir::net
