#include "pause.h"

#include <grpc/support/time.h>

#include <utility>

namespace weir::chat {

void Pause::start(uint32_t ms, std::function<void()> then) {
  if (ms > 0) {
    std::lock_guard lock(mutex_);
    if (!cancelled_) {
      // A new alarm each time: the previous one's callback may be the caller of this function.
      alarm_ = std::make_unique<grpc::Alarm>();
      gpr_timespec when = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
      alarm_->Set(when, [then = std::move(then)](bool) { then(); });
      return;
    }
  }
  then();
}

void Pause::cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (alarm_) alarm_->Cancel();
}

}  // namespace weir::chat
