// The id in X-Amzn-Trace-Id: "1-<8 hex digits of the time>-<24 hex digits>" (alb.md 4.7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/random.h"

namespace weir::proxy {

// Eight hexadecimal digits, all at once: one byte of a word for each.
inline char* put_hex(char* out, uint32_t value) {
  uint64_t v = value;
  v = (v | v << 16) & 0x0000ffff0000ffff;
  v = (v | v << 8) & 0x00ff00ff00ff00ff;
  v = (v | v << 4) & 0x0f0f0f0f0f0f0f0f;
  uint64_t letters = ((v + 0x0606060606060606) >> 4) & 0x0101010101010101;  // where a digit is above nine
  v = __builtin_bswap64(v + 0x3030303030303030 + letters * ('a' - '0' - 10));
  std::memcpy(out, &v, sizeof v);
  return out + sizeof v;
}

struct TraceId {
  static constexpr size_t kTextBytes = 35;

  uint32_t seconds = 0;  // since 1970; 0: no id
  uint32_t random[3] = {};

  bool made() const { return seconds != 0; }
  // Writes kTextBytes; returns their end.
  char* write(char* out) const;
};

inline constexpr std::string_view kTraceRoot = "Root=";  // in front of an id that begins here

// Makes ids, for one thread: 64 random bits each second, behind them 32 that differ from id to id.
class TraceIds {
 public:
  static constexpr size_t kRootBytes = kTraceRoot.size() + TraceId::kTextBytes;

  explicit TraceIds(Random random) : random_(random) {}
  // Writes "Root=" and the id: kRootBytes.
  TraceId write_root(uint32_t unix_seconds, char* out) {
    TraceId id = next(unix_seconds);
    std::memcpy(out, prefix_, kPrefixBytes);
    put_hex(out + kPrefixBytes, id.random[2]);
    return id;
  }
  TraceId next(uint32_t unix_seconds) {
    if (unix_seconds != latest_.seconds) [[unlikely]] begin_second(unix_seconds);
    latest_.random[2] += 0x9E3779B1u;  // odd: it comes again after 2^32 ids
    return latest_;
  }

 private:
  static constexpr size_t kPrefixBytes = kRootBytes - 8;
  void begin_second(uint32_t unix_seconds);
  Random random_;
  TraceId latest_;
  char prefix_[kPrefixBytes];  // of the text of this second's ids
};

}  // namespace weir::proxy
