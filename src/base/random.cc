#include "base/random.h"

#include <sys/random.h>

#include "base/assert.h"

namespace weir {

Random Random::from_system() {
  uint64_t seed = 0;
  WEIR_ASSERT(getrandom(&seed, sizeof seed, 0) == static_cast<ssize_t>(sizeof seed));
  return Random(seed);
}

std::string Random::hex(size_t digits) {
  std::string out;
  out.reserve(digits);
  uint64_t bits = 0;
  for (size_t i = 0; i < digits; ++i) {
    if (i % 16 == 0) bits = next();
    out.push_back("0123456789abcdef"[bits & 15]);
    bits >>= 4;
  }
  return out;
}

std::string Random::uuid() {
  std::string h = hex(32);
  h[12] = '4';
  h[16] = "89ab"[below(4)];
  return h.substr(0, 8) + "-" + h.substr(8, 4) + "-" + h.substr(12, 4) + "-" + h.substr(16, 4) + "-" + h.substr(20);
}

}  // namespace weir
