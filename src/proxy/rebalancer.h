// Moving long-lived streams after scale-out: what is remembered about streams that may be moved, and which of them go.
//
// Only for groups with model::Rebalancing on. A stream is moved by ending its response at a message boundary with
// UNAVAILABLE and grpc-retry-pushback-ms; the client opens it again, and it goes to the target with the fewest.
#pragma once

#include <cstdint>
#include <span>

#include "base/clock.h"
#include "base/slab.h"
#include "model/snapshot.h"

namespace weir::proxy {

struct Exchange;

// One stream that may be moved.
struct StreamTrack {
  Handle<Exchange> exchange;
  TimePoint began{};
  uint32_t previous = UINT32_MAX;
  uint32_t next = UINT32_MAX;
};
using TrackHandle = Handle<StreamTrack>;

// The tracks of one target and worker, the oldest first.
struct TrackList {
  uint32_t first = UINT32_MAX;
  uint32_t last = UINT32_MAX;
};

class StreamTracks {
 public:
  TrackHandle add(TrackList& list, Handle<Exchange> exchange, TimePoint now);
  void remove(TrackList& list, TrackHandle handle);
  StreamTrack* resolve(TrackHandle handle) { return tracks_.resolve(handle); }
  size_t size() const { return tracks_.size(); }
  // Of the oldest streams (kChoices at most) that have reached `age_min`, the one that `last_activity(exchange)` says
  // has been quiet for longest; TimePoint::max() from it: not this one. Invalid: none.
  template <class F>
  TrackHandle choose(const TrackList& list, TimePoint now, Duration age_min, F&& last_activity);

 private:
  static constexpr int kChoices = 16;
  StreamTrack& at(uint32_t index) { return *tracks_.resolve(tracks_.at(index)); }
  Slab<StreamTrack> tracks_;
};

// Load of one target in streams.
struct StreamLoad {
  uint32_t own = 0;    // of this worker
  uint32_t total = 0;  // of all
};

// How many of its streams this worker should move so that all workers together even the group out.
uint32_t streams_to_move(std::span<const StreamLoad> loads);
// The target to take the next stream from: the most loaded one with streams of this worker; -1 when the group is even
// (the difference of the extremes is below two, or nothing is above the mean).
int target_to_relieve(std::span<const StreamLoad> loads);

// One group's move, on one worker.
struct Rebalance {
  static constexpr uint32_t kNotCounted = UINT32_MAX;
  model::Rebalancing config;
  bool moving = false;
  uint32_t left = kNotCounted;  // streams to move
  TimePoint next{};             // when the next one goes
  TimePoint last_move{};
  TimePoint give_up{};          // nothing to move until then: over
};

template <class F>
TrackHandle StreamTracks::choose(const TrackList& list, TimePoint now, Duration age_min, F&& last_activity) {
  TrackHandle chosen;
  TimePoint quiet_since{};
  int seen = 0;
  for (uint32_t i = list.first; i != UINT32_MAX && seen < kChoices; i = at(i).next) {
    const StreamTrack& t = at(i);
    if (now - t.began < age_min) break;
    TimePoint active = last_activity(t.exchange);
    if (active == TimePoint::max()) continue;
    ++seen;
    if (chosen.valid() && active >= quiet_since) continue;
    chosen = tracks_.at(i);
    quiet_since = active;
  }
  return chosen;
}

}  // namespace weir::proxy
