// Time as values. Code below `net` never reads a clock: time arrives as an argument, or through a
// Clock given to a constructor.
#pragma once

#include <chrono>
#include <cstdint>

namespace weir {

using Duration = std::chrono::nanoseconds;
// Monotonic time since an arbitrary origin.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
  // Milliseconds since 1970-01-01T00:00:00Z, for what people and AWS clients read.
  virtual int64_t unix_ms() const = 0;
};

class SystemClock final : public Clock {
 public:
  TimePoint now() const override;
  int64_t unix_ms() const override;
};

}  // namespace weir
