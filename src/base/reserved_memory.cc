#include "base/reserved_memory.h"

#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

#include <algorithm>
#include <new>

#include "base/assert.h"

namespace weir {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStepMin = 64u << 10;

constexpr size_t pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

}  // namespace

ReservedMemory::ReservedMemory(size_t bytes) : reserved_(pages(bytes)) {
  data_ = mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  WEIR_ASSERT(data_ != MAP_FAILED);
#if defined(__SANITIZE_ADDRESS__)
  __lsan_register_root_region(data_, reserved_);  // what is stored here may own memory of the heap
#endif
}

ReservedMemory::~ReservedMemory() {
#if defined(__SANITIZE_ADDRESS__)
  __lsan_unregister_root_region(data_, reserved_);
#endif
  munmap(data_, reserved_);
}

void ReservedMemory::grow(size_t bytes) {
  if (bytes <= usable_) return;
  if (bytes > reserved_) throw std::bad_alloc();
  size_t wanted = std::min(pages(std::max({bytes, kStepMin, usable_ + usable_ / 8})), reserved_);
  auto* from = static_cast<char*>(data_) + usable_;
  if (mprotect(from, wanted - usable_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  usable_ = wanted;
}

}  // namespace weir
