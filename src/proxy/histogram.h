// A histogram of durations with fixed, log-linear buckets: four to each power of two, from 1 µs to some 76 hours, so
// that a value is known to 25 % or better. No allocation, no locks; one thread writes it.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "base/clock.h"

namespace weir::proxy {

class Histogram {
 public:
  static constexpr uint32_t kBuckets = 144;

  // 0…3 µs have a bucket each; above, the two bits behind the leading one choose among four.
  static uint32_t bucket_of(uint64_t micros) {
    if (micros < 4) return static_cast<uint32_t>(micros);
    auto power = static_cast<uint32_t>(std::bit_width(micros)) - 3;  // micros >> power is 4…7
    return std::min(power * 4 + static_cast<uint32_t>(micros >> power), kBuckets - 1);
  }
  void add(Duration d) {
    uint64_t micros = d.count() <= 0 ? 0 : static_cast<uint64_t>(d.count()) / 1000;
    ++counts_[bucket_of(micros)];
    ++count_;
    sum_micros_ += micros;
  }
  uint64_t count() const { return count_; }
  uint64_t sum_micros() const { return sum_micros_; }
  const std::array<uint64_t, kBuckets>& counts() const { return counts_; }

 private:
  std::array<uint64_t, kBuckets> counts_{};
  uint64_t count_ = 0;
  uint64_t sum_micros_ = 0;
};

}  // namespace weir::proxy
