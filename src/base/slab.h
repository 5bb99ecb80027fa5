// Slab<T>: fixed-address records addressed by Handle (index + generation).
//
// A Handle stays safe to keep across turns of the loop: after its record is released, resolve()
// answers nullptr. Records never move; release() makes the slot reusable, not its memory.
// Not thread-safe: one slab belongs to one thread. Limit: kBytesMax, above it emplace() throws std::bad_alloc.
//
// An index says where a record stands in units of eight bytes, so that finding it takes no arithmetic; number() makes
// it one of 0, 1, 2, …
#pragma once

#include <cstdint>
#include <new>
#include <utility>

#include "base/assert.h"
#include "base/reserved_memory.h"

namespace weir {

template <class T>
struct Handle {
  uint32_t index = 0;
  uint32_t generation = 0;  // odd; 0: of no record
  bool valid() const { return generation != 0; }
  friend bool operator==(const Handle&, const Handle&) = default;
};

template <class T>
class Slab {
 public:
  static constexpr size_t kBytesMax = size_t{4} << 30;

  Slab() : memory_(kBytesMax), base_(static_cast<char*>(memory_.data())) {
    memory_.grow(sizeof(Slot));
    slot(0).generation = kFreeFirst;  // fresh handles point here, and are of no record
  }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    for_each([this](Handle<T> handle, T&) { slot(handle.index).value()->~T(); });
  }

  // A new record and its handle.
  template <class... Args>
  std::pair<Handle<T>, T&> make(Args&&... args) {
    uint32_t index = free_;
    if (index != kNone) {
      free_ = slot(index).next_free;
    } else {
      size_t bytes = (size_t{top_} + 1) * sizeof(Slot);
      if (bytes > memory_.usable()) memory_.grow(bytes);
      index = top_++ * kUnits;
    }
    Slot& s = slot(index);
    T* value = ::new (static_cast<void*>(s.storage)) T(std::forward<Args>(args)...);
    ++s.generation;  // odd: in use
    ++size_;
    return {{index, s.generation}, *value};
  }
  template <class... Args>
  Handle<T> emplace(Args&&... args) {
    return make(std::forward<Args>(args)...).first;
  }

  // nullptr when the record was released since the handle was made, or the handle is a fresh one.
  [[gnu::always_inline]] inline T* resolve(Handle<T> handle) {
    Slot& s = slot(handle.index);
    return s.generation == handle.generation ? s.value() : nullptr;  // handles are of used slots: odd
  }

  // Whether the record is still in use.
  bool holds(Handle<T> handle) { return slot(handle.index).generation == handle.generation; }

  void release(Handle<T> handle) {
    T* value = resolve(handle);
    WEIR_ASSERT(value != nullptr);
    value->~T();
    Slot& s = slot(handle.index);
    if (++s.generation == 0) s.generation = kFreeFirst;  // even: free
    s.next_free = free_;
    free_ = handle.index;
    --size_;
  }

  // The record at an index that its owner knows to be in use.
  std::pair<Handle<T>, T*> in_use(uint32_t index) {
    Slot& s = slot(index);
    return {{index, s.generation}, s.value()};
  }
  Handle<T> at(uint32_t index) { return {index, slot(index).generation}; }

  // Calls f(handle, record) for every record in use; f may release the record it is given.
  template <class F>
  void for_each(F&& f) {
    for (uint32_t i = 0; i < top_; ++i) {
      if (Handle<T> handle = numbered(i); handle.valid()) f(handle, *slot(handle.index).value());
    }
  }

  size_t size() const { return size_; }
  bool full() const { return size_ >= kBytesMax / sizeof(Slot); }
  static uint32_t number(uint32_t index) { return index / kUnits; }
  // Every record in use has a number below it.
  uint32_t numbers() const { return top_; }
  // The handle of the record with this number; a fresh one when there is none.
  Handle<T> numbered(uint32_t number) {
    if (number >= top_) return {};
    Handle<T> handle = at(number * kUnits);
    return handle.generation & 1 ? handle : Handle<T>{};
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kFreeFirst = 2;
  struct Slot {  // zero at first
    alignas(8) uint32_t generation;
    uint32_t next_free;
    alignas(T) unsigned char storage[sizeof(T)];
    T* value() { return std::launder(reinterpret_cast<T*>(storage)); }
  };
  static constexpr uint32_t kUnits = sizeof(Slot) / 8;
  Slot& slot(uint32_t index) { return *reinterpret_cast<Slot*>(base_ + size_t{index} * 8); }

  ReservedMemory memory_;
  char* const base_;
  uint32_t free_ = kNone;
  uint32_t top_ = 0;
  size_t size_ = 0;
};

}  // namespace weir
