// Slab<T>: fixed-address records addressed by Handle (index + generation).
//
// A Handle stays safe to keep across turns of the loop: after its record is released, resolve()
// answers nullptr. Records live in chunks that never move; release() makes the slot reusable.
// Not thread-safe: one slab belongs to one thread. Limit: 2^32 - 2 records.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace weir {

template <class T>
struct Handle {
  uint32_t index = UINT32_MAX;
  uint32_t generation = 0;
  bool valid() const { return index != UINT32_MAX; }
  friend bool operator==(const Handle&, const Handle&) = default;
};

template <class T>
class Slab {
 public:
  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    for (uint32_t i = 0; i < top_; ++i) {
      if (slot(i).generation & 1) slot(i).value()->~T();
    }
  }

  template <class... Args>
  Handle<T> emplace(Args&&... args) {
    uint32_t index = free_;
    if (index != UINT32_MAX) {
      free_ = slot(index).next_free;
    } else {
      index = top_++;
      if ((index >> kChunkBits) == chunks_.size()) chunks_.emplace_back(new Slot[kChunkSize]);
    }
    Slot& s = slot(index);
    ::new (static_cast<void*>(s.storage)) T(std::forward<Args>(args)...);
    ++s.generation;  // odd: in use
    ++size_;
    return {index, s.generation};
  }

  // nullptr when the record was released since the handle was made.
  [[gnu::always_inline]] inline T* resolve(Handle<T> handle) {
    if (handle.index >= top_) return nullptr;
    Slot& s = slot(handle.index);
    return s.generation == handle.generation ? s.value() : nullptr;  // handles are of used slots: odd
  }

  // Whether the record is still in use; only for handles that were made by this slab.
  bool holds(Handle<T> handle) { return slot(handle.index).generation == handle.generation; }

  void release(Handle<T> handle) {
    T* value = resolve(handle);
    WEIR_ASSERT(value != nullptr);
    value->~T();
    Slot& s = slot(handle.index);
    ++s.generation;  // even: free
    s.next_free = free_;
    free_ = handle.index;
    --size_;
  }

  // The handle of a record that is in use at `index`; invalid otherwise.
  Handle<T> at(uint32_t index) {
    if (index >= top_ || !(slot(index).generation & 1)) return {};
    return {index, slot(index).generation};
  }

  // The record at an index that its owner knows to be in use.
  std::pair<Handle<T>, T*> in_use(uint32_t index) {
    Slot& s = slot(index);
    return {{index, s.generation}, s.value()};
  }

  // Calls f(handle, record) for every record in use; f may release the record it is given.
  template <class F>
  void for_each(F&& f) {
    for (uint32_t i = 0; i < top_; ++i) {
      Slot& s = slot(i);
      if (s.generation & 1) f(Handle<T>{i, s.generation}, *s.value());
    }
  }

  size_t size() const { return size_; }
  // Every record in use has an index below it.
  uint32_t slots() const { return top_; }

 private:
  static constexpr uint32_t kChunkBits = 8;
  static constexpr uint32_t kChunkSize = 1u << kChunkBits;
  struct Slot {
    alignas(T) unsigned char storage[sizeof(T)];
    uint32_t generation = 0;
    uint32_t next_free = UINT32_MAX;
    T* value() { return std::launder(reinterpret_cast<T*>(storage)); }
  };
  Slot& slot(uint32_t index) { return chunks_[index >> kChunkBits][index & (kChunkSize - 1)]; }

  std::vector<std::unique_ptr<Slot[]>> chunks_;
  uint32_t free_ = UINT32_MAX;
  uint32_t top_ = 0;
  size_t size_ = 0;
};

}  // namespace weir
