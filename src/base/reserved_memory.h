// Address space for an array that grows without ever moving: reserved once, made usable from its start as needed.
//
// Reserved space costs no memory, and a usable page costs some once it is written. Zero at first. Not thread-safe.
#pragma once

#include <cstddef>

namespace weir {

class ReservedMemory {
 public:
  // Reserves `bytes` (rounded up). Ends the process when there is no such space.
  explicit ReservedMemory(size_t bytes);
  ~ReservedMemory();
  ReservedMemory(const ReservedMemory&) = delete;
  ReservedMemory& operator=(const ReservedMemory&) = delete;

  void* data() const { return data_; }
  size_t usable() const { return usable_; }
  // At least `bytes` from the start may be used from now on; some more are made usable, so that steps are few.
  // Throws std::bad_alloc when that is more than was reserved, or the kernel refuses.
  void grow(size_t bytes);

 private:
  void* data_;
  size_t reserved_;
  size_t usable_ = 0;
};

}  // namespace weir
