// Level-triggered work: keys, never events. A key that is queued twice runs once; a key that fails runs
// again with exponential backoff (50 ms … 30 s); a key whose step waits for time says when to look again.
//
// Thread: the control thread. step() must not block and must not wait: what takes time goes to the
// blocking pool, and its completion calls wake(key).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/clock.h"

namespace weir::control {

struct StepResult {
  enum class Kind { Done, RequeueAfter, Started, Failed } kind = Kind::Done;
  Duration delay{};
  std::string error;
  static StepResult done() { return {}; }
  static StepResult requeue_after(Duration d) { return {Kind::RequeueAfter, d, {}}; }
  static StepResult started() { return {Kind::Started, {}, {}}; }  // a pool job runs and will wake the key
  static StepResult failed(std::string why) { return {Kind::Failed, {}, std::move(why)}; }
};

class WorkQueue {
 public:
  using Step = std::function<StepResult(const std::string& key)>;
  WorkQueue(std::string name, Step step) : name_(std::move(name)), step_(std::move(step)) {}

  void wake(const std::string& key);
  // Runs every key that is due at `now` (at most `steps_max`); answers when to call again, nullopt when idle.
  std::optional<TimePoint> run(TimePoint now, int steps_max = 64);
  bool idle() const { return ready_.empty() && delayed_.empty(); }
  // Whether a key waits to run now (not for a time).
  bool has_ready() const { return !ready_.empty(); }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  Step step_;
  std::set<std::string> ready_;
  std::map<std::string, TimePoint> delayed_;
  std::map<std::string, int> failures_;
};

}  // namespace weir::control
