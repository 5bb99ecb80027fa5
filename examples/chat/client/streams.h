#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "chat.grpc.pb.h"
#include "client/load.h"
#include "client/report.h"

namespace weir::chat {

// Starts one stream of the kind ("chat", "watch", "collect") that lives for `length` and checks every
// message of it: order, completeness, size, and that one task serves it all. It destroys itself when
// the call has ended, right after `done` has run (on a gRPC thread) with what came of it. `messages`
// counts those of all streams, both ways, as they pass.
void start_stream(v1::ChatService::Stub* stub, const std::string& kind, const LoadOptions& options,
                  std::chrono::milliseconds length, std::atomic<uint64_t>* messages,
                  std::function<void(Outcome)> done);

}  // namespace weir::chat
