// Times and amounts that bound what one peer can hold or cost here. Those of the HTTP/2 protocol itself are in
// http/h2/limits.h; docs/defences.md says which attack meets which limit, and where a test reaches it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "http/h2/limits.h"

namespace weir::proxy {

// --- clients: how long they may take ----------------------------------------------------------------------
// From accept until TLS, preface and SETTINGS are here.
inline constexpr Duration kHandshakeMax = std::chrono::seconds(10);
// The rest of a header block; on a connection without streams the rest of any frame.
inline constexpr Duration kHeaderBlockMax = std::chrono::seconds(10);
// A stream behind its client's closed window must take kDrainBytesMin in RoutingSnapshot::slow_reader_ms, a
// connection with bytes to write in this time, or in slow_reader_ms when that is shorter.
inline constexpr Duration kWriteStallMax = std::chrono::seconds(60);
inline constexpr size_t kDrainBytesMin = 1024;
// From GOAWAY to the close after an error: for a peer that does not read it, and for one that reads but does not close.
inline constexpr Duration kLingerMax = std::chrono::seconds(2);
// The same after draining. The last answers may still be on their way to a client that reads slowly, and closing while
// it sends would make the kernel reset the connection and discard them; who has read all closes at once.
inline constexpr Duration kDrainedLingerMax = kWriteStallMax;
// When the load balancer ends, a client whose kernel has everything and that is silent may not have read it yet.
inline constexpr Duration kUnreadLingerMax = std::chrono::seconds(10);
inline constexpr uint64_t kDrainedBytesMax = 1u << 20;  // who sends more meanwhile does not want to read an answer
// TCP of clients: a peer that vanished is noticed after idle + count × interval, whether bytes wait for its
// acknowledgement (else the kernel tries for a quarter of an hour) or not.
inline constexpr int kKeepaliveIdleSeconds = 60;
inline constexpr int kKeepaliveIntervalSeconds = 15;
inline constexpr int kKeepaliveCount = 4;
inline constexpr int kUnacknowledgedMsMax =
    1000 * (kKeepaliveIdleSeconds + kKeepaliveCount * kKeepaliveIntervalSeconds);

// --- targets ----------------------------------------------------------------------------------------------
inline constexpr Duration kConnectMax = std::chrono::seconds(10);  // alb.md 4.2
inline constexpr Duration kTargetHandshakeMax = std::chrono::seconds(10);  // TLS, with the connect
inline constexpr Duration kTargetSettingsMax = std::chrono::seconds(10);
// A connection with bytes to write must take kDrainBytesMin in this time. The kernel's limit is 40 s (net/sockets.cc).
inline constexpr Duration kTargetStallMax = std::chrono::seconds(30);

// --- both: how much ---------------------------------------------------------------------------------------
// A peer that does not read is not read either, and gets no new streams, once this much waits for it.
inline constexpr size_t kOutputPauseBytes = 1u << 20;
// KeyUpdate of TLS 1.3, renegotiation of TLS 1.2 (refused): 1 each. Honest peers send one after gigabytes or hours.
inline constexpr http::h2::Rate kLateMessageRate{32, 1};
// The same for new streams to a target whose socket has not refused bytes yet.
inline constexpr size_t kTurnOutputBytesMax = 4u << 20;
// Decoded heads of a client connection's requests that are kept for a second try. HPACK makes 64 KB of a few bytes:
// what exceeds this is sent, but not kept.
inline constexpr size_t kHeldHeadBytesMax = 1u << 20;
// Connections whose handshake moves on in one turn of a worker: the others' streams wait no longer than these take.
inline constexpr int kHandshakesPerTurn = 16;
// Connections taken from a listener's backlog in one turn of the main loop; pause when descriptors are short.
inline constexpr int kAcceptsPerTurn = 32;
inline constexpr Duration kAcceptPause = std::chrono::milliseconds(100);
// "There are as many clients as allowed", "accept failed": said once in this time.
inline constexpr Duration kFullTold = std::chrono::seconds(10);

}  // namespace weir::proxy
