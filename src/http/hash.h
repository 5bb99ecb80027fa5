// Hashing of header fields: a name and a value are hashed apart and then combined, so that a field whose
// name is known already costs only the hash of its value. Usable at compile time.
//
// Not keyed: a peer can make collisions. Whoever looks something up by such a hash compares the bytes and
// bounds the number of probes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace weir::http {

namespace hash_detail {

inline constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15ull;

// `size` (at most 8) bytes as a little-endian number.
template <size_t size>
constexpr uint64_t load(const char* from) {
  if (__builtin_is_constant_evaluated()) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(from[i])) << (8 * i);
    return value;
  }
  uint64_t value = 0;
  std::memcpy(&value, from, size);
  return value;
}

constexpr uint64_t step(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * kMultiplier;
  return hash ^ (hash >> 32);
}

}  // namespace hash_detail

constexpr uint32_t bytes_hash(std::string_view bytes) {
  using hash_detail::load;
  using hash_detail::step;
  const char* at = bytes.data();
  size_t left = bytes.size();
  uint64_t hash = left * 0xD6E8FEB86659FD93ull + 1;
  if (left >= 8) {
    const char* last = at + left - 8;  // the last word overlaps the one before
    for (; at < last; at += 8) hash = step(hash, load<8>(at));
    hash = step(hash, load<8>(last));
  } else if (left >= 4) {
    hash = step(hash, load<4>(at) | load<4>(at + left - 4) << 32);
  } else if (left > 0) {
    hash = step(hash, load<1>(at) | load<1>(at + left / 2) << 8 | load<1>(at + left - 1) << 16);
  }
  return static_cast<uint32_t>(hash);
}

// field_hash(name, value) from the hashes of both; never 0.
constexpr uint32_t combined_hash(uint32_t name_hash, uint32_t value_hash) {
  uint64_t both = hash_detail::step(0, static_cast<uint64_t>(name_hash) << 32 | value_hash);
  auto hash = static_cast<uint32_t>((both * hash_detail::kMultiplier) >> 32);
  return hash + (hash == 0);
}

}  // namespace weir::http
