#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace weir::bench {

// Latencies in microseconds with 3 % resolution.
class Histogram {
 public:
  Histogram() : counts_(32 * 64) {}

  void add(uint64_t micros) {
    counts_[bucket(micros)]++;
    total_++;
  }

  uint64_t quantile(double share) const {
    uint64_t rank = static_cast<uint64_t>(share * static_cast<double>(total_));
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); i++) {
      seen += counts_[i];
      if (seen > rank) return value(i);
    }
    return 0;
  }

 private:
  // Below 64 exact; above, 32 steps for each doubling.
  static size_t bucket(uint64_t v) {
    if (v < 64) return v;
    unsigned shift = static_cast<unsigned>(std::bit_width(v)) - 6;
    return static_cast<size_t>(32 * shift + (v >> shift));
  }
  static uint64_t value(size_t i) {
    if (i < 64) return i;
    size_t shift = i / 32 - 1;
    return static_cast<uint64_t>(i - 32 * shift) << shift;
  }

  std::vector<uint64_t> counts_;
  uint64_t total_ = 0;
};

}  // namespace weir::bench
