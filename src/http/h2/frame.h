// HTTP/2 frames on the wire (RFC 9113 §4, §6): constants, the 9-byte header, small writers.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/buffer.h"

namespace weir::http::h2 {

enum class FrameType : uint8_t {
  Data = 0, Headers = 1, Priority = 2, RstStream = 3, Settings = 4, PushPromise = 5, Ping = 6, GoAway = 7,
  WindowUpdate = 8, Continuation = 9,
};

inline constexpr uint8_t kFlagEndStream = 0x1;
inline constexpr uint8_t kFlagAck = 0x1;
inline constexpr uint8_t kFlagEndHeaders = 0x4;
inline constexpr uint8_t kFlagPadded = 0x8;
inline constexpr uint8_t kFlagPriority = 0x20;

// RFC 9113 §7
enum class ErrorCode : uint32_t {
  NoError = 0, ProtocolError = 1, InternalError = 2, FlowControlError = 3, SettingsTimeout = 4, StreamClosed = 5,
  FrameSizeError = 6, RefusedStream = 7, Cancel = 8, CompressionError = 9, ConnectError = 10,
  EnhanceYourCalm = 11, InadequateSecurity = 12, Http11Required = 13,
};
std::string_view to_string(ErrorCode code);  // "PROTOCOL_ERROR"; "unknown" past the registry

// RFC 9113 §6.5.2
enum class SettingId : uint16_t {
  HeaderTableSize = 1, EnablePush = 2, MaxConcurrentStreams = 3, InitialWindowSize = 4, MaxFrameSize = 5,
  MaxHeaderListSize = 6,
};

inline constexpr size_t kFrameHeaderBytes = 9;
inline constexpr uint32_t kFrameBytesMax = 16384;   // the SETTINGS_MAX_FRAME_SIZE we keep: the smallest allowed
inline constexpr uint32_t kStreamIdMax = 0x7fffffff;
inline constexpr int64_t kWindowMax = 0x7fffffff;   // RFC 9113 §6.9.1
inline constexpr uint32_t kDefaultWindow = 65535;
inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct FrameHeader {
  uint32_t length = 0;
  FrameType type = FrameType::Data;
  uint8_t flags = 0;
  uint32_t stream_id = 0;  // reserved bit masked off
};

inline uint32_t read_u32(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
}
inline void write_u32(uint8_t* p, uint32_t v) {
  p[0] = static_cast<uint8_t>(v >> 24);
  p[1] = static_cast<uint8_t>(v >> 16);
  p[2] = static_cast<uint8_t>(v >> 8);
  p[3] = static_cast<uint8_t>(v);
}
// The header as one number: the first eight bytes are read and written at once.
inline FrameHeader read_frame_header(const uint8_t* p) {
  uint64_t head;
  std::memcpy(&head, p, sizeof head);
  head = __builtin_bswap64(head);
  return {static_cast<uint32_t>(head >> 40), static_cast<FrameType>(head >> 32 & 0xff),
          static_cast<uint8_t>(head >> 24), (static_cast<uint32_t>(head) << 8 | p[8]) & kStreamIdMax};
}
inline void write_frame_header(uint8_t* p, const FrameHeader& h) {
  uint64_t head = uint64_t{h.length} << 40 | uint64_t{static_cast<uint8_t>(h.type)} << 32 | uint64_t{h.flags} << 24 |
                  h.stream_id >> 8;
  head = __builtin_bswap64(head);
  std::memcpy(p, &head, sizeof head);
  p[8] = static_cast<uint8_t>(h.stream_id);
}

static_assert(std::endian::native == std::endian::little);

}  // namespace weir::http::h2
