// Counts gRPC messages in the DATA payload of one direction of a stream, and finds where one ends: walks the five-byte
// prefixes (gRPC over HTTP/2: Length-Prefixed-Message), touching nothing else. Frames may cut messages and prefixes
// anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weir::proxy {

class MessageCounter {
 public:
  static constexpr size_t kNone = SIZE_MAX;

  // Takes the next bytes. Returns how many of them lead to the last place where no message is open: 0 when only
  // their begin is one, kNone when there is none.
  [[gnu::always_inline]] size_t add(std::span<const uint8_t> bytes) {
    const size_t n = bytes.size();
    if (at_boundary() && n >= kPrefixBytes && payload_bytes(bytes.data()) == n - kPrefixBytes) [[likely]] {
      ++messages_;  // one whole message
      return n;
    }
    return walk(bytes);
  }
  // Whole ones so far.
  uint64_t messages() const { return messages_; }
  bool at_boundary() const { return (value_ | prefix_bytes_) == 0; }

 private:
  static constexpr uint32_t kPrefixBytes = 5;
  static uint32_t payload_bytes(const uint8_t* prefix) {
    return uint32_t{prefix[1]} << 24 | uint32_t{prefix[2]} << 16 | uint32_t{prefix[3]} << 8 | prefix[4];
  }
  [[gnu::noinline]] size_t walk(std::span<const uint8_t> bytes) {
    size_t boundary = at_boundary() ? 0 : kNone;
    const uint8_t* p = bytes.data();
    size_t n = bytes.size();
    while (n > 0) {
      if (prefix_bytes_ > 0 || (value_ == 0 && n < kPrefixBytes)) {
        value_ = value_ << 8 | *p;  // the flag byte is shifted out by the four that follow it
        ++p;
        --n;
        if (++prefix_bytes_ < kPrefixBytes) continue;
        prefix_bytes_ = 0;
        messages_ += value_ == 0;
      } else if (value_ == 0) {
        value_ = payload_bytes(p);
        p += kPrefixBytes;
        n -= kPrefixBytes;
        messages_ += value_ == 0;
      } else {
        uint32_t take = n < value_ ? static_cast<uint32_t>(n) : value_;
        p += take;
        n -= take;
        value_ -= take;
        messages_ += value_ == 0;
      }
      if (at_boundary()) boundary = bytes.size() - n;
    }
    return boundary;
  }

  uint64_t messages_ = 0;
  uint32_t value_ = 0;         // payload bytes of the message that are still to come, or of its prefix what has come
  uint32_t prefix_bytes_ = 0;  // of a prefix that has come in part
};

}  // namespace weir::proxy
