// Token buckets against floods. They refill with time, so that a healthy connection that lives for days
// never runs out (facts: RFC 9113 §10.5; CVE-2023-44487, CVE-2019-9512 … 9518).
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace weir::http::h2 {

class Budget {
 public:
  constexpr Budget(uint32_t burst, uint32_t per_second) : burst_(burst), per_second_(per_second), left_(burst) {}

  // Takes `cost`; false when the budget is spent.
  bool spend(uint32_t cost, TimePoint now) {
    if (left_ < cost) refill(now);
    if (left_ < cost) return false;
    left_ -= cost;
    return true;
  }


  // Useful work gives some back, so that busy honest peers are never short.
  void earn() { left_ += left_ < burst_ ? 1 : 0; }

 private:
  void refill(TimePoint now) {
    if (last_ == TimePoint{}) {  // the first shortage: time counts from here
      last_ = now;
      return;
    }
    auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - last_).count();
    auto gained = static_cast<uint64_t>(ms) * per_second_ / 1000;
    if (gained == 0) return;
    left_ = static_cast<uint32_t>(std::min<uint64_t>(burst_, left_ + gained));
    last_ = now;
  }

  uint32_t burst_;
  uint32_t per_second_;
  uint32_t left_;
  TimePoint last_{};
};

}  // namespace weir::http::h2
