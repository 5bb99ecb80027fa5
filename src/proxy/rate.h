// Placement::Rate: a new stream goes where the least load is to be expected. Load is counted in units: one per DATA
// frame of either direction and one per 4 KiB, as a moving average (five seconds) that is brought up to date once per
// tick. What the average cannot know yet is added: what flowed since the tick, and what streams placed lately will
// bring, by the mean of the group.
//
// Owner: one worker, on its thread. Counting a frame costs two additions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace weir::proxy {

inline constexpr double kRateMemory_s = 5.0;

// Of one target and worker.
struct RateMeter {
  uint32_t units = 0;      // since the last tick
  float per_s = 0;         // the average
  float expected = 0;      // of streams placed lately, not in the average yet
  int64_t published_milli = 0;

  void note(size_t bytes) { units += 1 + static_cast<uint32_t>(bytes >> 12); }
  void place(float expected_per_s) { expected += expected_per_s; }
  double load() const { return per_s + units / kRateMemory_s + expected; }
  // Once per tick; `elapsed_s` since the one before.
  void tick(double elapsed_s) {
    double weight = std::min(1.0, elapsed_s / kRateMemory_s);
    per_s += static_cast<float>(weight * (units / std::max(elapsed_s, 0.001) - per_s));
    expected *= static_cast<float>(1 - weight);
    units = 0;
  }
};

// Of one group and worker: what a stream brings.
struct RatePlacement {
  // Of a stream of which nothing is known: the message it begins with. Less would send a whole burst of new streams to
  // whichever target's first message has not come yet.
  static constexpr float kLeastExpected = static_cast<float>(1 / kRateMemory_s);
  float expected_per_s = kLeastExpected;
  double placed_per_s = 0;
  uint32_t placed = 0;  // since the last tick

  // rate: of all targets of the group on this worker; open: their streams. Short streams bring their units once, so
  // that those which come within the average's memory share the rate.
  void tick(double elapsed_s, double rate, size_t open) {
    double weight = std::min(1.0, elapsed_s / kRateMemory_s);
    placed_per_s += weight * (placed / std::max(elapsed_s, 0.001) - placed_per_s);
    placed = 0;
    double sharing = std::max({1.0, static_cast<double>(open), placed_per_s * kRateMemory_s});
    expected_per_s = std::max(kLeastExpected, static_cast<float>(rate / sharing));
  }
};

}  // namespace weir::proxy
