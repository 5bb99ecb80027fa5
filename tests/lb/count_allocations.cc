// Preloaded into a process: counts malloc, calloc, realloc and the aligned forms of all its threads; SIGUSR2
// writes "allocations N" to standard error. With WEIR_TRACE_ALLOCATIONS set the counts go by caller, so that the
// place of an unwanted one is found.
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<unsigned long> count{0};
std::atomic<bool> tracing{false};
thread_local bool inside = false;

void note() {
  unsigned long number = count.fetch_add(1, std::memory_order_relaxed);
  if (!tracing.load(std::memory_order_relaxed) || inside || number % 16 != 0) return;
  inside = true;
  void* frames[16];
  int depth = backtrace(frames, 16);
  backtrace_symbols_fd(frames, depth, 2);
  [[maybe_unused]] ssize_t written = write(2, "--\n", 3);
  inside = false;
}

void tell(int) {
  char text[64];
  int size = std::snprintf(text, sizeof text, "allocations %lu\n", count.load());
  [[maybe_unused]] ssize_t written = write(2, text, static_cast<size_t>(size));
  if (std::getenv("WEIR_TRACE_ALLOCATIONS") != nullptr) tracing.store(!tracing.load());
}

struct Install {
  Install() { signal(SIGUSR2, tell); }
} install;

}  // namespace

extern "C" {

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* pointer, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) {
  note();
  return __libc_malloc(size);
}
void* calloc(size_t number, size_t size) {
  note();
  return __libc_calloc(number, size);
}
void* realloc(void* pointer, size_t size) {
  note();
  return __libc_realloc(pointer, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  note();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  note();
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? 12 : 0;
}
}
