// WEIR_ASSERT: programmer errors only, never input. Stays on in release builds.
#pragma once

namespace weir {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
}

#define WEIR_ASSERT(expression) \
  (__builtin_expect(!!(expression), 1) ? (void)0 : ::weir::assertion_failed(#expression, __FILE__, __LINE__))
