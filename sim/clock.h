// Time that stands still until the world moves it.
#pragma once

#include "base/clock.h"

namespace weir::sim {

class Clock final : public weir::Clock {
 public:
  TimePoint now() const override { return now_; }
  int64_t unix_ms() const override {
    return kEpochMs + std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch()).count();
  }
  void advance_to(TimePoint t) {
    if (t > now_) now_ = t;
  }
  void advance(Duration d) { now_ += d; }

 private:
  static constexpr int64_t kEpochMs = 1'763'850'000'000;
  TimePoint now_{std::chrono::hours(1)};
};

}  // namespace weir::sim
