#include "control/health_view.h"

#include <nlohmann/json.hpp>
#include <set>

#include "control/documents.h"

namespace weir::control {

using model::HealthReason;
using model::TargetState;

TargetHealthRow HealthView::resolve(const std::string& group_arn, const Key& key, bool draining) const {
  TargetHealthRow row;
  row.address = key.first;
  row.port = key.second;
  if (draining) {
    row.state = TargetState::Draining;
    row.reason = HealthReason::DeregistrationInProgress;
    row.description = "Target deregistration is in progress";
    return row;
  }
  if (in_use && !in_use(group_arn)) {
    row.state = TargetState::Unused;
    row.reason = HealthReason::NotInUse;
    row.description = "Target group is not configured to receive traffic from the load balancer";
    return row;
  }
  row.reason = HealthReason::RegistrationInProgress;
  row.description = "Target registration is in progress";
  auto group = seen_.find(group_arn);
  if (group == seen_.end()) return row;
  auto target = group->second.find(key);
  // A balancer that still says `draining` of a target that is registered again has not heard of it yet.
  if (target == group->second.end() || target->second.state == TargetState::Draining) return row;
  row.state = target->second.state;
  row.reason = target->second.reason;
  row.description = target->second.description;
  row.anomaly_known = target->second.anomaly_known;
  row.anomalous = target->second.anomalous;
  row.mitigated = target->second.mitigated;
  return row;
}

std::vector<TargetHealthRow> HealthView::rows(const std::string& group_arn) const {
  std::map<Key, TargetHealthRow> ordered;
  for (const auto& [id, target] : load_where(store_, kind::kTarget, "TargetGroupArn", group_arn)) {
    Key key{text(target, "Id"), static_cast<uint16_t>(integer(target, "Port"))};
    TargetHealthRow row = resolve(group_arn, key, has(weir_of(target), "deregistering_since"));
    row.zone = text(target, "AvailabilityZone");
    ordered[key] = std::move(row);
  }
  std::vector<TargetHealthRow> out;
  for (auto& [key, row] : ordered) out.push_back(std::move(row));
  return out;
}

TargetHealthRow HealthView::row(const std::string& group_arn, const std::string& address, uint16_t port) const {
  auto target = load(store_, kind::kTarget, target_id(group_arn, address, port));
  return resolve(group_arn, {address, port}, target && has(weir_of(*target), "deregistering_since"));
}

void HealthView::update(const model::Health& health) {
  std::set<std::string> changed;
  for (const model::TargetHealth& target : health.targets) {
    auto& slot = seen_[target.group_arn][{target.address, target.port}];
    bool same = slot.group_arn == target.group_arn && slot.state == target.state && slot.reason == target.reason;
    if (!same) changed.insert(target.group_arn);
    slot = target;
  }
  if (!on_change) return;
  for (const std::string& group : changed) on_change(group);
}

void HealthView::forget(const std::string& group_arn, const std::string& address, uint16_t port) {
  auto group = seen_.find(group_arn);
  if (group == seen_.end()) return;
  group->second.erase({address, port});
  if (group->second.empty()) seen_.erase(group);
}

}  // namespace weir::control
