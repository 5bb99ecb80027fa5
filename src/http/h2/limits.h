// What one HTTP/2 connection takes from its peer, and at what rate (RFC 9113 §10.5). docs/defences.md says which
// attack each of them answers. Rates refill, so that no honest connection runs out with age.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::http::h2 {

// CONTINUATION frames of a header block (RFC 9113 §6.10), which so has 256 KiB at most; more end the connection. A
// block within it that is too large for a request or response (HpackLimits) is refused with its stream alone.
inline constexpr uint32_t kContinuationsMax = 15;
// Entries of one SETTINGS frame.
inline constexpr size_t kSettingsPerFrameMax = 32;

// Token buckets: what they hold at most, and what they gain in a second.
struct Rate {
  uint32_t burst;
  uint32_t per_second;
};
// RST_STREAM of a client, refused streams, frames on closed streams: 1 each. Errors of the peer that make us reset
// a stream: kStreamErrorCost. A stream that ends well gives 1 back.
inline constexpr Rate kResetRate{1000, 100};
inline constexpr uint32_t kStreamErrorCost = 2;
// PING, PRIORITY, informational responses: 1 each. SETTINGS, GOAWAY: kSettingsCost. A DATA frame either way gives 1
// back.
inline constexpr Rate kControlRate{2000, 500};
inline constexpr uint32_t kSettingsCost = 10;
// DATA without payload and END_STREAM: 1 each. DATA with payload gives 1 back.
inline constexpr Rate kEmptyDataRate{1000, 200};
// Odd but allowed: frames of unknown type and tiny frames that the peer's windows force on us 1, HEADERS for a
// stream that we reset kLateHeadersCost, CONTINUATION without a byte kEmptyContinuationCost.
inline constexpr Rate kGlitchRate{10000, 330};
inline constexpr uint32_t kLateHeadersCost = 10;
inline constexpr uint32_t kEmptyContinuationCost = 100;
// A DATA frame shorter than this, while more waits, is one that the peer's window made tiny.
inline constexpr size_t kTinyFrameBytes = 64;

}  // namespace weir::http::h2
