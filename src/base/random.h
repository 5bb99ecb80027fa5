// Random numbers by constructor: seeded in tests and simulation, from the kernel in production.
// Not for keys.
#pragma once

#include <cstdint>
#include <string>

namespace weir {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // Seeded from getrandom(2).
  static Random from_system();

  // splitmix64
  uint64_t next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  // Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  // `digits` lower-case hexadecimal digits.
  std::string hex(size_t digits);
  // A random UUID, version 4 (RFC 9562).
  std::string uuid();

 private:
  uint64_t state_;
};

}  // namespace weir
