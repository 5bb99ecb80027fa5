// How large a stream's receive window should be: what the path carries in a round trip, and no more.
//
// A stream that uses its window up gives rise to a sample: a PING leaves together with the WINDOW_UPDATE, and the
// bytes that the stream brings until the answer are counted. Credit is given by half windows, and the answer comes
// before what that credit allows: a sender that the window holds back brings the other half, no more. Two fifths of a
// window or more double it. So a path of any length fills after a few round trips, while streams of small messages,
// and those whose reader is slow, never ask for more. (The idea is that of gRPC's BDP probing.)
//
// A larger window makes the path fuller only while round trips take as long as they did. Where it is this side that
// cannot keep up, or a queue on the way, it makes the queue longer, and its bytes fall out of the caches before they
// are read: a round trip of more than twice the shortest one doubles nothing. The first one to compare with is that of
// the connection's SETTINGS, before there was any load.
//
// Sans-IO; owner: a Connection. A sample costs one PING per half window at most.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace weir::http::h2 {

class AdaptiveWindow {
 public:
  // max below initial: the window stays as it is.
  AdaptiveWindow(uint32_t initial, uint32_t max) : initial_(initial), max_(max), window_(initial) {}

  uint32_t window() const { return window_; }
  bool grown() const { return window_ > initial_; }
  void note_data(uint32_t stream_id, uint32_t bytes) {
    if (stream_id == sampled_id_) sampled_bytes_ += bytes;
  }
  // Half a window of this stream was given back. True: send a PING with kPing now.
  bool begin_sample(uint32_t stream_id, TimePoint now) {
    if (sampled_id_ != 0 || window_ >= max_) return false;
    sampled_id_ = stream_id;
    sampled_bytes_ = 0;
    sampled_since_ = now;
    return true;
  }
  // A round trip of the path, however it was measured.
  void note_round_trip(Duration round_trip) { round_trip_min_ = std::min(round_trip_min_, round_trip); }
  // The PING was answered. True: window() has grown, tell the peer. may_grow: there is memory for it.
  bool end_sample(bool may_grow, TimePoint now) {
    if (sampled_id_ == 0) return false;
    sampled_id_ = 0;
    Duration round_trip = now - sampled_since_;
    note_round_trip(round_trip);
    bool full = sampled_bytes_ >= window_ / 5 * 2;
    bool queued = round_trip > 2 * round_trip_min_;
    if (!full || queued || !may_grow) return false;
    window_ = std::min(max_, window_ * 2);
    return true;
  }
  // Memory is short: back to the initial size. True: window() has changed, tell the peer.
  bool shrink() {
    bool changed = grown();
    window_ = initial_;
    return changed;
  }

  static constexpr uint64_t kPing = 0x776569722e626470;  // what the PING carries

 private:
  uint32_t initial_;
  uint32_t max_;
  uint32_t window_;
  uint32_t sampled_id_ = 0;  // 0: no PING under way
  uint32_t sampled_bytes_ = 0;
  TimePoint sampled_since_{};
  Duration round_trip_min_ = std::chrono::hours(1);  // of this connection
};

}  // namespace weir::http::h2
