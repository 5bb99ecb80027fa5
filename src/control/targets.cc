#include "control/targets.h"

#include <nlohmann/json.hpp>

#include "control/documents.h"
#include "control/snapshot_builder.h"

namespace weir::control {

namespace {
// The balancer ends the streams itself when the delay is over; this is time for its report to come first.
constexpr int64_t kReportGraceMs = 250;
}  // namespace

StepResult Targets::step(const std::string& id) {
  auto target = load(context_.store, kind::kTarget, id);
  if (!target || !has(weir_of(*target), "deregistering_since")) return StepResult::done();
  std::string group_arn = text(*target, "TargetGroupArn");
  auto group = load(context_.store, kind::kTargetGroup, group_arn);
  std::string balancer_arn = context_.topology.balancer_of(group_arn);
  auto balancer = load(context_.store, kind::kLoadBalancer, balancer_arn);
  bool strict = balancer && is_strict(*balancer);
  int64_t elapsed = context_.clock.unix_ms() - time_ms(weir_of(*target), "deregistering_since");
  int64_t remaining = (group ? deregistration_delay_ms(*group) : 0) + kReportGraceMs - elapsed;
  bool drained = flag(weir_of(*target), "drained") && !strict;
  if (remaining > 0 && !drained && !balancers_.dead(group_arn)) {
    return StepResult::requeue_after(std::chrono::milliseconds(remaining));
  }
  if (auto erased = context_.store.erase(kind::kTarget, id); !erased) return StepResult::failed(erased.error().message);
  context_.health.forget(group_arn, text(*target, "Id"), static_cast<uint16_t>(integer(*target, "Port")));
  if (std::string task = text(weir_of(*target), "task"); !task.empty()) context_.wake(Queue::Task, task);
  return StepResult::done();
}

bool Targets::deregistration_applied(const std::string& id) {
  auto target = load(context_.store, kind::kTarget, id);
  if (!target) return true;
  if (!has(weir_of(*target), "deregistering_since")) return false;
  return balancers_.target_inactive(text(*target, "TargetGroupArn"), text(*target, "Id"),
                                    static_cast<uint16_t>(integer(*target, "Port")));
}

}  // namespace weir::control
