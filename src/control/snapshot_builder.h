// RoutingSnapshot from the documents of one load balancer. Control thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "control/firewall.h"
#include "control/health_view.h"
#include "control/log_folders.h"
#include "model/snapshot.h"
#include "store/store.h"

namespace weir::control {

struct SnapshotInputs {
  store::Store& store;
  const HealthView& health;  // last known health becomes Target::last_state
  Firewalls& firewalls;
  int64_t now_ms = 0;
  LogPlaces logs = {};       // empty root: no logs
};

// Generation is left 0: the link numbers what it sends. Key files are read; a key that cannot be read is an
// error, since a listener without its certificate would refuse every client.
Result<model::RoutingSnapshot> build_snapshot(const SnapshotInputs& in, const nlohmann::json& load_balancer);
// One group as it is now.
model::TargetGroup build_group(const SnapshotInputs& in, const std::string& group_arn, bool strict);
// deregistration_delay.timeout_seconds of the group, in milliseconds.
int64_t deregistration_delay_ms(const nlohmann::json& group);
// weir.strict_mode of the load balancer: ALB's behaviour to the letter.
bool is_strict(const nlohmann::json& load_balancer);

}  // namespace weir::control
