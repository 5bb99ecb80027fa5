// The id in X-Amzn-Trace-Id: "1-<8 hex digits of the time>-<24 hex digits>" (alb.md 4.7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/random.h"

namespace weir::proxy {

struct TraceId {
  static constexpr size_t kTextBytes = 35;

  uint32_t seconds = 0;  // since 1970; 0: no id
  uint32_t random[3] = {};

  static TraceId fresh(Random& source, uint32_t unix_seconds) {
    uint64_t first = source.next();
    return {unix_seconds, {static_cast<uint32_t>(first), static_cast<uint32_t>(first >> 32),
                           static_cast<uint32_t>(source.next())}};
  }
  bool made() const { return seconds != 0; }
  // Writes kTextBytes; returns their end.
  char* write(char* out) const;
};

inline constexpr std::string_view kTraceRoot = "Root=";  // in front of an id that begins here

}  // namespace weir::proxy
