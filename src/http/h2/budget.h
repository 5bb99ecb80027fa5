// Token buckets against floods. They refill with time, so that a healthy connection that lives for days
// never runs out (facts: RFC 9113 §10.5; CVE-2023-44487, CVE-2019-9512 … 9518).
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"
#include "http/h2/limits.h"

namespace weir::http::h2 {

class Budget {
 public:
  // per_second > 0.
  constexpr Budget(uint32_t burst, uint32_t per_second) : burst_(burst), per_second_(per_second), left_(burst) {}
  constexpr explicit Budget(Rate rate) : Budget(rate.burst, rate.per_second) {}

  // Takes `cost`; false when the budget is spent.
  bool spend(uint32_t cost, TimePoint now) {
    refill(now);
    if (left_ < cost) return false;
    left_ -= cost;
    return true;
  }

  // Useful work gives some back, so that busy honest peers are never short.
  void earn(uint32_t count = 1) { left_ += std::min(count, burst_ - left_); }

 private:
  void refill(TimePoint now) {
    if (last_ == kNever || left_ == burst_) {
      last_ = now;
      return;
    }
    if (now <= last_) return;
    constexpr int64_t kSecond = 1'000'000'000, kHour = 3600 * kSecond;
    // At most an hour at once: no overflow.
    int64_t gained = std::min<int64_t>((now - last_).count(), kHour) * per_second_ / kSecond;
    if (left_ + gained >= burst_) {
      left_ = burst_;
      last_ = now;
    } else {  // the rest of the division counts the next time
      left_ += static_cast<uint32_t>(gained);
      last_ += Duration(gained * kSecond / per_second_);
    }
  }

  static constexpr TimePoint kNever = TimePoint::min();

  uint32_t burst_;
  uint32_t per_second_;
  uint32_t left_;
  TimePoint last_ = kNever;
};

}  // namespace weir::http::h2
