#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/channel.h"

namespace weir::chat {

struct LoadOptions {
  uint32_t connections = 1;
  // Unary: `rpcs` in all, `concurrency` at a time over all connections; or, with rpcs 0 and
  // unary_seconds > 0, as many as fit.
  uint64_t rpcs = 0;
  uint32_t concurrency = 32;
  double unary_seconds = 0;
  uint32_t rpc_interval_ms = 0;  // pause of each of the `concurrency` slots between two RPCs
  uint32_t bytes = 100;          // payload of every message, both ways
  uint32_t deadline_ms = 30'000;  // of a unary RPC; streams get their length and this
  bool wait_for_ready = false;
  // Streams: `streams` at a time, each for `stream_seconds` (0: all of `seconds`), reopened until
  // `seconds` have passed. A stream that has begun is never cut: it ends by half-close or by its count.
  uint32_t streams = 0;
  double seconds = 0;
  double stream_seconds = 0;
  uint32_t message_interval_ms = 100;
  std::vector<std::string> kinds = {"chat"};  // of "chat", "watch", "collect"; dealt out in turn
};

// Runs both loads at once and prints the report; 0 when every RPC and stream ended OK and was complete
// and in order, else 1.
int run_load(const Endpoint& endpoint, const LoadOptions& options);

}  // namespace weir::chat
