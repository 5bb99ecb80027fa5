#include "base/reserved_memory.h"

#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "base/log.h"

namespace weir {

namespace {

constexpr size_t kStep = 64u << 10;  // whole pages everywhere

constexpr size_t steps(size_t bytes) { return (bytes + kStep - 1) / kStep * kStep; }

}  // namespace

ReservedMemory::ReservedMemory(size_t bytes) : reserved_(steps(bytes)) {
  data_ = mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data_ == MAP_FAILED) {
    log_error("cannot reserve " + std::to_string(reserved_ >> 20) + " MiB of address space (ulimit -v?): " +
              std::strerror(errno));
    std::abort();
  }
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
  size_t wanted = std::min(steps(std::max(bytes, usable_ + usable_ / 8)), reserved_);
  auto* from = static_cast<char*>(data_) + usable_;
  if (mprotect(from, wanted - usable_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  usable_ = wanted;
}

}  // namespace weir
