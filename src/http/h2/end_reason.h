// Why a connection ended, and what is counted of a peer's frames. Names are those of the metrics
// (docs/defences.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/h2/frame.h"

namespace weir::http::h2 {

enum class EndReason : uint8_t {
  None,
  // The connection's verdict on what the peer sent; it said GOAWAY.
  BadPreface, ProtocolError, FlowControlError, FrameSizeError, StreamClosedError, CompressionError, OtherError,
  ResetFlood, StreamErrorFlood, RefusedStreamFlood, ClosedStreamFlood, PingFlood, SettingsFlood, PriorityFlood,
  GoawayFlood, InformationalFlood, EmptyDataFlood, ContinuationFlood, UnknownFrameFlood, TinyWindowFlood,
  // The owner's, who has clock and socket.
  TlsMessageFlood, SlowHandshake, SlowPreface, SlowHeaderBlock, SlowReader, TlsError, ConnectFailed, ClosedByPeer,
  Broken, Idle, Drained,
  Last = Drained,
};
inline constexpr size_t kEndReasons = static_cast<size_t>(EndReason::Last) + 1;
std::string_view to_string(EndReason reason);  // "ping_flood"; "none"

// The reason that an error code alone tells.
EndReason reason_of(ErrorCode code);

// Frames and streams worth counting: each is rare, or a sign of an attack when it is not.
enum class Event : uint8_t {
  ResetReceived, PingReceived, SettingsReceived, PriorityReceived, GoawayReceived, InformationalReceived, EmptyData,
  Continuation, UnknownFrame, LateFrame, TinyFrameForced, StreamRefused, StreamError, MalformedHead,
  HeaderListTooLarge,
  Last = HeaderListTooLarge,
};
inline constexpr size_t kEvents = static_cast<size_t>(Event::Last) + 1;
std::string_view to_string(Event event);  // "reset_received"

// Of all connections of one side of a worker, on its thread.
struct Tally {
  std::array<uint64_t, kEvents> counts{};
  void add(Event event) { ++counts[static_cast<size_t>(event)]; }
  uint64_t of(Event event) const { return counts[static_cast<size_t>(event)]; }
};

}  // namespace weir::http::h2
