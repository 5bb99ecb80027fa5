#include "proxy/turn_pacer.h"

#include <algorithm>

namespace weir::proxy {

namespace {
constexpr uint32_t kBusyStreamsOn = 24;
constexpr uint32_t kBusyStreamsOff = 16;    // lower, so that the gap does not flutter
constexpr uint32_t kFramesPerTurnMax = 64;  // turns that carry more are deep enough
constexpr uint32_t kShare = 4;              // of the time from frame to frame of a stream
constexpr Duration kGapMin = std::chrono::microseconds(10);  // less is not worth a sleep
}  // namespace

void TurnPacer::evaluate(TimePoint now) {
  Duration window = now - window_start_;
  Duration wanted{};
  uint32_t busy = std::min(busy_, open_peak_);
  if (busy >= (gap_ > Duration::zero() ? kBusyStreamsOff : kBusyStreamsOn) &&
      frames_ < turns_ * kFramesPerTurnMax) {
    wanted = std::min<Duration>(kGapMax, window * busy / (int64_t{frames_} * kShare));
  }
  if (wanted < kGapMin) wanted = {};
  // Half way at a time: one odd window does not matter.
  gap_ = wanted == Duration::zero() ? wanted : (gap_ + wanted) / 2;
  window_start_ = now;
  frames_ = busy_ = open_peak_ = turns_ = 0;
}

}  // namespace weir::proxy
