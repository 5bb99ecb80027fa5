// What a load balancer counts about peers that misbehave: why connections ended, which odd frames came, what was
// refused or cut. One per worker, on its thread, and one of the main thread; summed once a second for whoever asks.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "http/h2/end_reason.h"
#include "model/link.h"

namespace weir::proxy {

struct SideDefences {
  std::array<uint64_t, http::h2::kEndReasons> ends{};  // connections, by EndReason
  http::h2::Tally frames;
  void note_end(http::h2::EndReason reason) { ++ends[static_cast<size_t>(reason)]; }
};

struct Defences {
  SideDefences client, target;
  uint64_t streams_stalled = 0;         // ended because the client kept bytes behind a closed window
  uint64_t requests_not_held = 0;       // over kHeldHeadBytesMax, or buffers are half full: sent once only
  uint64_t requests_refused = 0;        // buffers are full: RESOURCE_EXHAUSTED
  uint64_t handshakes_postponed = 0;    // to a later turn
  uint64_t connections_over_limit = 0;  // closed at accept: as many clients as allowed
  uint64_t connections_not_allowed = 0; // closed at accept: no security group rule lets them in
  uint64_t accept_failures = 0;         // accept(2) failed: no descriptors, no memory

  void add(const Defences& other);
  // Every counter, those that are 0 too; always in the same order.
  void append_to(std::vector<model::DefenceCount>& out) const;
};

}  // namespace weir::proxy
