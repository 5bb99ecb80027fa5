#include "control/work_queue.h"

#include <algorithm>
#include <vector>

#include "base/log.h"

namespace weir::control {

namespace {
constexpr Duration kBackoffMin = std::chrono::milliseconds(50);
constexpr Duration kBackoffMax = std::chrono::seconds(30);

Duration backoff(int failures) {
  Duration d = kBackoffMin;
  for (int i = 1; i < failures && d < kBackoffMax; ++i) d *= 2;
  return std::min(d, kBackoffMax);
}
}  // namespace

void WorkQueue::wake(const std::string& key) {
  ready_.insert(key);
  delayed_.erase(key);
}

std::optional<TimePoint> WorkQueue::run(TimePoint now, int steps_max) {
  std::vector<std::string> due;
  for (const auto& [key, when] : delayed_) {
    if (when <= now) due.push_back(key);
  }
  for (const std::string& key : due) wake(key);
  for (int i = 0; i < steps_max && !ready_.empty(); ++i) {
    std::string key = *ready_.begin();
    ready_.erase(ready_.begin());
    StepResult result = step_(key);
    // A job that was started has not succeeded yet: its error arrives as the next step's failure.
    if (result.kind == StepResult::Kind::Done || result.kind == StepResult::Kind::RequeueAfter) failures_.erase(key);
    if (result.kind == StepResult::Kind::Failed) {
      int n = ++failures_[key];
      log_warning("queue=" + name_ + " key=" + key + " failures=" + std::to_string(n) + " error=" + result.error);
      if (!ready_.contains(key)) delayed_[key] = now + backoff(n);
    } else if (result.kind == StepResult::Kind::RequeueAfter && !ready_.contains(key)) {
      delayed_[key] = now + result.delay;
    }
  }
  if (!ready_.empty()) return now;
  std::optional<TimePoint> next;
  for (const auto& [key, when] : delayed_) {
    if (!next || when < *next) next = when;
  }
  return next;
}

}  // namespace weir::control
