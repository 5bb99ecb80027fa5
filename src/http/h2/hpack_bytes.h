// Small byte helpers of HPACK: integers (RFC 7541 §5.1) and copies and comparisons of short strings that
// stay inline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weir::http::h2 {

// Integers above this are an error, whatever they count.
inline constexpr uint64_t kIntegerMax = uint64_t{1} << 31;
// What append_integer() writes at most for a 32-bit number.
inline constexpr size_t kIntegerBytesMax = 6;

// Continues an integer whose prefix was all ones (`prefix_max`); `at` stands behind the prefix byte. False
// when it does not end before `end`, has more than five further bytes, or is above kIntegerMax.
inline bool read_integer_tail(const uint8_t*& at, const uint8_t* end, uint32_t prefix_max, uint32_t* out) {
  uint64_t value = prefix_max;
  for (int shift = 0; shift <= 28; shift += 7) {
    if (at == end) return false;
    uint8_t byte = *at++;
    value += static_cast<uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) {
      *out = static_cast<uint32_t>(value);
      return value <= kIntegerMax;
    }
  }
  return false;
}

// Reads an integer with a prefix of `prefix_bits` at `at`, which is before `end`.
inline bool read_integer(const uint8_t*& at, const uint8_t* end, int prefix_bits, uint32_t* out) {
  uint32_t prefix_max = (1u << prefix_bits) - 1;
  *out = *at++ & prefix_max;
  return *out < prefix_max || read_integer_tail(at, end, prefix_max, out);
}

// Writes `value` with the bits above the prefix set to `first`; returns the end.
inline uint8_t* append_integer(uint8_t* to, uint8_t first, int prefix_bits, uint32_t value) {
  uint32_t prefix_max = (1u << prefix_bits) - 1;
  if (value < prefix_max) [[likely]] {
    *to = static_cast<uint8_t>(first | value);
    return to + 1;
  }
  *to++ = static_cast<uint8_t>(first | prefix_max);
  for (value -= prefix_max; value >= 0x80; value >>= 7) *to++ = static_cast<uint8_t>(value | 0x80);
  *to = static_cast<uint8_t>(value);
  return to + 1;
}

// Both sides must be readable and writable up to kCopySlack - 1 bytes past `size`.
inline constexpr size_t kCopySlack = 16;
inline void copy_with_slack(char* to, const char* from, size_t size) {
  size_t done = 0;
  do {
    std::memcpy(to + done, from + done, kCopySlack);
    done += kCopySlack;
  } while (done < size);
}

[[gnu::always_inline]] inline bool bytes_equal(const char* a, const char* b, size_t size) {
  auto differ = [a, b]<class Word>(Word, size_t at) {
    Word x, y;
    std::memcpy(&x, a + at, sizeof x);
    std::memcpy(&y, b + at, sizeof y);
    return x ^ y;
  };
  if (size >= 8) {
    size_t at = 0;
    for (; at + 8 < size; at += 8) {
      if (differ(uint64_t{}, at) != 0) return false;
    }
    return differ(uint64_t{}, size - 8) == 0;
  }
  if (size >= 4) return (differ(uint32_t{}, 0) | differ(uint32_t{}, size - 4)) == 0;
  for (size_t at = 0; at < size; ++at) {
    if (a[at] != b[at]) return false;
  }
  return true;
}

}  // namespace weir::http::h2
