#pragma once

#include <grpcpp/alarm.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

namespace weir::chat {

// A pause between two steps of a callback reactor. One at a time; owned by the reactor.
// `then` runs exactly once per start(), on a gRPC thread, or on the caller's when ms is 0 or
// after cancel(). It may start() the next pause. cancel() is for OnCancel and may come from any thread.
class Pause {
 public:
  void start(uint32_t ms, std::function<void()> then);
  void cancel();

 private:
  std::mutex mutex_;
  bool cancelled_ = false;
  std::unique_ptr<grpc::Alarm> alarm_;
};

}  // namespace weir::chat
