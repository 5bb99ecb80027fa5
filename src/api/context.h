// What every operation handler works with. Owned by whoever builds the Dispatcher (weir serve, a test);
// it outlives the dispatcher. Thread: the control thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "store/store.h"

namespace weir::api {

class LocalCa;

// What DescribeTargetHealth shows of one target; empty reason and description when healthy.
struct TargetHealth {
  std::string state;  // "initial", "healthy", "unhealthy", "unused", "draining"
  std::string reason;
  std::string description;
  std::string anomaly = {};   // "normal", "anomalous"; empty: its group is not looked at
  bool mitigated = false;
};

struct Context {
  store::Store& store;
  const Clock& clock;
  Random& random;
  std::string region = "us-east-1";
  std::string account = "000000000000";
  std::string state_dir;
  // Signs certificates; null: RequestCertificate answers an error.
  LocalCa* ca = nullptr;
  // Health of a group's targets as the data plane sees it, by address and port; unset, or a target that is
  // not in it: `initial`.
  using HealthOfGroup = std::map<std::pair<std::string, int>, TargetHealth>;
  std::function<HealthOfGroup(const std::string& target_group_arn)> health = {};
  // Log file of a container ("<task id>-<container name>"), CRI format; unset: no log events.
  std::function<std::string(const std::string& container_id)> log_path = {};
};

// Registers the operations of each service.
class Dispatcher;
void add_ec2_operations(Dispatcher& dispatcher, Context& context);
void add_elbv2_operations(Dispatcher& dispatcher, Context& context);
void add_ecs_operations(Dispatcher& dispatcher, Context& context);
void add_acm_operations(Dispatcher& dispatcher, Context& context);
void add_logs_operations(Dispatcher& dispatcher, Context& context);
void add_iam_operations(Dispatcher& dispatcher, Context& context);
void add_sts_operations(Dispatcher& dispatcher, Context& context);
// What AWS has no operation for: settings of this machine, one answer with the whole state, logs of any container.
void add_weir_operations(Dispatcher& dispatcher, Context& context);
// All of the above.
void add_all_operations(Dispatcher& dispatcher, Context& context);

}  // namespace weir::api
