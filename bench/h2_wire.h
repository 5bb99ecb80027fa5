#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// HTTP/2 framing (RFC 9113 §4, §6) as the load tools need it; no state.
namespace weir::bench {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kFrameHeader = 9;
constexpr size_t kMaxFrame = 16384;  // neither side announces more
constexpr size_t kMessagePrefix = 5;  // of a gRPC message: compressed flag, length

enum Frame : uint8_t {
  kData = 0, kHeaders = 1, kPriority = 2, kReset = 3, kSettings = 4, kPushPromise = 5, kPing = 6, kGoaway = 7,
  kWindowUpdate = 8, kContinuation = 9
};
constexpr uint8_t kEndStream = 1, kAck = 1, kEndHeaders = 4, kPadded = 8, kPriorityFlag = 32;
enum Setting : uint16_t { kHeaderTableSize = 1, kInitialWindowSize = 4 };

struct FrameHeader {
  uint32_t length;
  uint8_t type, flags;
  uint32_t stream;
};

inline uint32_t get32(const char* p) {
  auto b = [p](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(p[i])); };
  return b(0) << 24 | b(1) << 16 | b(2) << 8 | b(3);
}

inline void set32(char* p, uint32_t v) {
  for (int i = 0; i < 4; i++) p[i] = static_cast<char>(v >> (24 - 8 * i));
}

inline FrameHeader read_frame_header(const char* p) {
  return {get32(p) >> 8, static_cast<uint8_t>(p[3]), static_cast<uint8_t>(p[4]), get32(p + 5) & 0x7fffffff};
}

inline void add_frame_header(std::string& out, size_t length, uint8_t type, uint8_t flags, uint32_t stream) {
  char header[kFrameHeader];
  set32(header, static_cast<uint32_t>(length) << 8 | type);
  header[4] = static_cast<char>(flags);
  set32(header + 5, stream);
  out.append(header, sizeof header);
}

inline void add_frame(std::string& out, uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  add_frame_header(out, payload.size(), type, flags, stream);
  out.append(payload);
}

inline void add_window_update(std::string& out, uint32_t stream, uint32_t credit) {
  add_frame_header(out, 4, kWindowUpdate, 0, stream);
  char bytes[4];
  set32(bytes, credit);
  out.append(bytes, 4);
}

inline void add_setting(std::string& payload, uint16_t id, uint32_t value) {
  char bytes[6] = {static_cast<char>(id >> 8), static_cast<char>(id)};
  set32(bytes + 2, value);
  payload.append(bytes, 6);
}

// What is left of a HEADERS or DATA payload without padding and priority; empty data() on nonsense.
inline std::string_view content_of(const FrameHeader& header, const char* p) {
  size_t length = header.length, front = 0, padding = 0;
  if ((header.flags & kPadded) && length > 0) padding = static_cast<unsigned char>(p[0]), front = 1;
  if (header.type == kHeaders && (header.flags & kPriorityFlag)) front += 5;
  if (front + padding > length) return {};
  return {p + front, length - front - padding};
}

}  // namespace weir::bench
