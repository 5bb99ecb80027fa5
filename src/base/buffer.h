// Byte buffers whose storage comes from a per-thread pool and goes back when they are empty, so that an
// idle connection owns none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace weir {

// Blocks in power-of-two sizes from 256 B to 16 MiB. One pool belongs to one thread and must outlive its
// buffers. Keeps at most kept_bytes_max of free blocks; more goes back to the heap.
class BufferPool {
 public:
  explicit BufferPool(size_t kept_bytes_max = 16u << 20) : kept_bytes_max_(kept_bytes_max) {}
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // A block of at least `bytes`; its true size goes to *capacity.
  uint8_t* take(size_t bytes, size_t* capacity);
  void give(uint8_t* block, size_t capacity);
  // Gives the heap what was not needed since the last call; returns how many bytes. Now and then, by the owner:
  // what one burst needed does not stay for ever.
  size_t trim();
  // Bytes handed out and not given back.
  size_t bytes_in_use() const { return in_use_bytes_; }

 private:
  static constexpr int kClasses = 17;  // 256 B << 0 … 256 B << 16
  struct FreeList {
    std::vector<uint8_t*> blocks;
    size_t unused = 0;  // so many at least lay here since the last trim()
  };
  FreeList free_[kClasses];
  size_t kept_bytes_ = 0;
  size_t kept_bytes_max_;
  size_t in_use_bytes_ = 0;
};

// A contiguous queue of bytes: append at the tail, consume at the head.
class Buffer {
 public:
  explicit Buffer(BufferPool& pool) : pool_(&pool) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() { release(); }

  BufferPool& pool() const { return *pool_; }
  bool empty() const { return head_ == tail_; }
  size_t size() const { return tail_ - head_; }
  const uint8_t* data() const { return block_ + head_; }
  uint8_t* data() { return block_ + head_; }
  std::span<const uint8_t> bytes() const { return {data(), size()}; }

  // Room for `bytes` at the tail; write there, then commit what was written. Invalidates data().
  [[gnu::always_inline]] uint8_t* reserve(size_t bytes) {
    if (capacity_ - tail_ < bytes) grow(bytes);
    return block_ + tail_;
  }
  void commit(size_t bytes) { tail_ += bytes; }
  void append(const void* bytes, size_t size) {
    if (size == 0) return;
    std::memcpy(reserve(size), bytes, size);
    tail_ += size;
  }
  void append(std::span<const uint8_t> bytes) { append(bytes.data(), bytes.size()); }
  // Drops bytes from the head; an emptied buffer gives its storage back.
  void consume(size_t bytes) {
    head_ += bytes;
    if (head_ == tail_) release();
  }
  // Drops everything but keeps the storage for reuse in the same turn.
  void rewind() { head_ = tail_ = 0; }
  void truncate(size_t size_kept) { tail_ = head_ + size_kept; }
  void release();

 private:
  void grow(size_t bytes);
  void swap(Buffer& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(block_, other.block_);
    std::swap(capacity_, other.capacity_);
    std::swap(head_, other.head_);
    std::swap(tail_, other.tail_);
  }

  BufferPool* pool_ = nullptr;
  uint8_t* block_ = nullptr;
  size_t capacity_ = 0;
  size_t head_ = 0;
  size_t tail_ = 0;
};

// Bytes that mostly are few: up to kInline of them stand in the object itself, more in the pool's storage.
template <size_t kInline>
class InlineBuffer {
 public:
  explicit InlineBuffer(BufferPool& pool) : more_(pool) {}

  size_t size() const { return spilled_ ? more_.size() : size_; }
  std::span<const uint8_t> bytes() const { return spilled_ ? more_.bytes() : std::span(inline_, size_); }
  // As Buffer's.
  uint8_t* reserve(size_t bytes) {
    if (spilled_ || kInline - size_ < bytes) [[unlikely]] return reserve_more(bytes);
    return inline_ + size_;
  }
  void commit(size_t bytes) {
    if (spilled_) {
      more_.commit(bytes);
    } else {
      size_ += static_cast<uint32_t>(bytes);
    }
  }
  void append(std::span<const uint8_t> bytes) {
    if (bytes.empty()) return;
    std::memcpy(reserve(bytes.size()), bytes.data(), bytes.size());
    commit(bytes.size());
  }

 private:
  [[gnu::noinline]] uint8_t* reserve_more(size_t bytes) {
    if (!spilled_) {
      more_.reserve(size_ + bytes);
      more_.append(inline_, size_);
      spilled_ = true;
    }
    return more_.reserve(bytes);
  }

  Buffer more_;
  uint32_t size_ = 0;  // of what stands in `inline_`
  bool spilled_ = false;
  uint8_t inline_[kInline];
};

// Memory of one turn: bump allocation, everything freed at once by reset(). Blocks are kept.
class Arena {
 public:
  explicit Arena(size_t block_bytes = 64u << 10) : block_bytes_(block_bytes) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Not aligned: for bytes.
  char* allocate(size_t bytes) {
    if (static_cast<size_t>(end_ - next_) < bytes) refill(bytes);
    char* out = next_;
    next_ += bytes;
    return out;
  }
  // Gives the tail of the latest allocation back.
  void shrink_last(char* end) { next_ = end; }
  // Gives back everything allocated since the mark.
  struct Mark {
    size_t block;
    char* next;
  };
  Mark mark() const { return {block_index_, next_}; }
  void rewind(Mark mark) {
    if (mark.block == block_index_ && mark.next != nullptr) {
      next_ = mark.next;
    } else {
      rewind_block(mark);
    }
  }
  void reset();

 private:
  struct Block {
    char* data;
    size_t size;
  };
  void refill(size_t bytes);
  void rewind_block(Mark mark);

  size_t block_bytes_;
  std::vector<Block> blocks_;
  size_t block_index_ = 0;
  char* next_ = nullptr;
  char* end_ = nullptr;
};

}  // namespace weir
