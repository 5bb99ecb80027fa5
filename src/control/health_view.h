// Health of targets as the load balancers report it; in memory only (it is observed, never stored).
// Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/link.h"
#include "store/store.h"

namespace weir::control {

// One row of DescribeTargetHealth.
struct TargetHealthRow {
  std::string address;
  uint16_t port = 0;
  std::string zone;
  model::TargetState state = model::TargetState::Initial;
  model::HealthReason reason = model::HealthReason::None;
  std::string description;  // AWS's words; empty when healthy
  bool anomaly_known = false;  // anomaly detection looks at it
  bool anomalous = false;
  bool mitigated = false;
};

class HealthView {
 public:
  explicit HealthView(store::Store& store) : store_(store) {}

  // Every registered target of the group (draining ones too), ordered by address and port. What no load
  // balancer has reported on is `initial`, or `unused` when no listener forwards to the group.
  std::vector<TargetHealthRow> rows(const std::string& group_arn) const;
  TargetHealthRow row(const std::string& group_arn, const std::string& address, uint16_t port) const;

  // From the link. Calls `on_change(group_arn)` once for each group in which a state changed.
  void update(const model::Health& health);
  // Forgets a target that is registered no more.
  void forget(const std::string& group_arn, const std::string& address, uint16_t port);
  std::function<void(const std::string& group_arn)> on_change;
  // Whether any listener or rule forwards to the group; set by the controller.
  std::function<bool(const std::string& group_arn)> in_use;

 private:
  using Key = std::pair<std::string, uint16_t>;
  TargetHealthRow resolve(const std::string& group_arn, const Key& key, bool draining) const;
  store::Store& store_;
  std::map<std::string, std::map<Key, model::TargetHealth>> seen_;
};

}  // namespace weir::control
