// How long a worker should let bytes collect before its next turn.
//
// With shallow batches a turn costs more than what it carries: one wake-up, one read and one write per frame.
// When many streams are busy and the turns carry few frames each, a small gap between turns makes fewer of
// them and costs CPU only where it is idle anyway. The gap stays a small share of the time that a busy stream
// needs from frame to frame (Little's law: busy streams / frames per second), so nobody notices it, and it is
// never set for a few streams.
//
// Owner: one worker, on its thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace weir::proxy {

class TurnPacer {
 public:
  static constexpr Duration kGapMax = std::chrono::microseconds(200);

  // A frame of a stream that was active last at `last_activity`.
  void note_frame(TimePoint last_activity) {
    ++frames_;
    busy_ += last_activity < window_start_;
  }
  // At the end of each turn, with the number of streams that are open. Returns the gap to keep; zero: none.
  Duration turn_end(TimePoint now, size_t open_streams) {
    ++turns_;
    if (open_streams > open_peak_) open_peak_ = static_cast<uint32_t>(open_streams);
    if (now - window_start_ >= kWindow) [[unlikely]] evaluate(now);
    return gap_;
  }
  Duration gap() const { return gap_; }

 private:
  static constexpr Duration kWindow = std::chrono::milliseconds(2);
  void evaluate(TimePoint now);

  TimePoint window_start_{};
  uint32_t frames_ = 0;
  uint32_t busy_ = 0;   // streams with a frame in this window, those that came and went included
  uint32_t open_peak_ = 0;
  uint32_t turns_ = 0;
  Duration gap_{};
};

}  // namespace weir::proxy
