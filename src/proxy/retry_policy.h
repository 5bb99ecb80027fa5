// The parts of a group's retry policy (model::RetryPolicy) that decide whether one more try is allowed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/clock.h"

namespace weir::proxy {

// Retries stay below `percent` of the requests of the last ten seconds, or below a floor per second when that is
// more, so that few requests can be retried at all. 0 percent: none. Per worker and group; O(1), no allocation.
class RetryBudget {
 public:
  static constexpr int kSeconds = 10;
  static constexpr uint32_t kFloorPerSecond = 10;  // of the whole balancer

  void configure(uint32_t percent, uint32_t floor_per_second) {
    percent_ = percent;
    floor_ = floor_per_second * kSeconds;
  }
  void note_request(TimePoint now) {
    advance(now);
    ++seconds_[at_].requests;
    ++requests_;
  }
  // Takes one retry from the budget; false when it is used up.
  bool take(TimePoint now);

 private:
  void advance(TimePoint now) {
    if (now >= next_) [[unlikely]] roll(now);
  }
  void roll(TimePoint now);

  struct Second {
    uint32_t requests = 0;
    uint32_t retries = 0;
  };
  Second seconds_[kSeconds];
  int at_ = 0;
  TimePoint next_{};  // when the second at_ is over
  uint64_t requests_ = 0;
  uint64_t retries_ = 0;
  uint32_t percent_ = 0;
  uint32_t floor_ = 0;
};

// grpc-retry-pushback-ms (gRFC A6): how long to wait; nullopt for a negative or unreadable value: do not try again.
std::optional<Duration> parse_pushback(std::string_view value);

}  // namespace weir::proxy
