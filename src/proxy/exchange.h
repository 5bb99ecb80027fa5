// One request and its response: the pair of streams, and the state machine between them.
//
//   start ──▶ Waiting ──response head──▶ Responding ──response end──▶ over
//               │ ▲                          │
//    unprocessed│ │retry (another target)    ├─ reset / lost / deadline / cancel ──▶ over
//               └─┘                          │
//               └── reset / lost / deadline / cancel ──▶ over
//
// A response that ended while bytes of it wait for the client's window stays (response_over): the idle timeout
// must find a client that never reads them.
//
// Every way out goes through Worker::end_exchange(), exactly once.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/slab.h"
#include "http/h2/stream.h"
#include "http/header_run.h"
#include "proxy/observed.h"
#include "proxy/rebalancer.h"
#include "proxy/target.h"

namespace weir::proxy {

class Downstream;
class Upstream;

// A request that may have to be sent again: its head (packed fields) and the body bytes so far. Held until
// the response begins, at most kReplayBytesMax.
inline constexpr size_t kReplayInlineBytes = 256;  // a small request takes no storage besides
struct Replay {
  explicit Replay(BufferPool& pool) : bytes(pool) {}
  http::HeaderRunRef prefix, suffix;  // of the head, around the packed fields
  InlineBuffer<kReplayInlineBytes> bytes;
  uint32_t head_bytes = 0;
  bool end_stream = false;
  // Retries that the group's policy asked for.
  uint8_t policy_retries = 0;
  TimePoint retry_at{};  // the target asked to wait until then (grpc-retry-pushback-ms); zero: nothing waits
  TargetHandle avoid;    // while something waits: the target that failed last
};
inline constexpr size_t kReplayBytesMax = 64u << 10;
inline constexpr int kAttemptsMax = 5;

struct Exchange {
  Handle<Downstream> down;
  http::h2::StreamHandle down_stream;
  Handle<Upstream> up;
  http::h2::StreamHandle up_stream;
  TargetHandle target;
  Handle<Group> group;
  Handle<Replay> replay;
  TimePoint deadline{};       // grpc-timeout; zero: none
  TimePoint last_activity{};  // last body bytes either way
  TimePoint wheel_due{};
  uint32_t wheel_previous = UINT32_MAX;
  uint32_t wheel_next = UINT32_MAX;
  uint16_t wheel_slot = UINT16_MAX;
  uint8_t attempts : 4 = 0;            // at most kAttemptsMax
  bool is_grpc : 1 = false;
  bool is_head : 1 = false;            // the method HEAD: a response without a body
  bool response_over : 1 = false;      // the response is complete here; bytes of it wait for the client's window
  bool retried_by_policy : 1 = false;  // a target has seen it, and failed
  bool request_ended = false;          // the client's END_STREAM came
  bool responded = false;              // a response head went to the client
  bool leaving = false;                // moves to another target: ends at the next message boundary
  uint8_t concerns = 0;                // what its group wants to know about it (Concern)
  TrackHandle track;           // of a stream that may be moved to another target
  uint64_t request_bytes = 0;
  uint64_t request_sent = 0;      // in this attempt
  uint64_t request_credited = 0;  // given back to the client's window
  uint64_t response_bytes = 0;
  Observed seen;
};
using ExchangeHandle = Handle<Exchange>;

inline uint64_t pack(ExchangeHandle h) { return uint64_t{h.generation} << 32 | h.index; }
inline ExchangeHandle unpack(uint64_t user) {
  return {static_cast<uint32_t>(user), static_cast<uint32_t>(user >> 32)};
}

}  // namespace weir::proxy
