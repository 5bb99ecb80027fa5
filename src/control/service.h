// Services: keeps the wanted number of healthy tasks of the primary deployment running, by plan_service(),
// and writes what DescribeServices shows: counts, deployments with their rollout, events. Control thread.
//
// rolloutState of the primary deployment:
//   IN_PROGRESS ── steady ──▶ COMPLETED
//        └── as many failures in a row as the circuit breaker allows ──▶ FAILED ── rollback ──▶ a new PRIMARY
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "control/context.h"
#include "control/scheduler.h"
#include "control/work_queue.h"

namespace weir::control {

class Services {
 public:
  explicit Services(Context& context) : context_(context) {}
  StepResult step(const std::string& arn);
  // Wakes the services with tasks in the target group.
  void health_changed(const std::string& group_arn);

 private:
  using TaskList = std::vector<std::pair<std::string, nlohmann::json>>;
  TaskList tasks_of(const std::string& arn, const nlohmann::json& service);
  TaskView view_of(const nlohmann::json& service, const std::string& primary_id, const nlohmann::json& task);
  void judge_health(const nlohmann::json& service, const nlohmann::json& task, TaskView& view);
  // Failures and deaths that were not counted yet: circuit breaker and throttle.
  void count_failures(nlohmann::json& service, TaskList& tasks, const std::string& primary_id);
  bool counts_as_failure(const nlohmann::json& service, const nlohmann::json& task) const;
  void break_circuit(nlohmann::json& service);
  Duration throttle(const nlohmann::json& service) const;
  Result<void> start_tasks(const std::string& arn, nlohmann::json& service, const Plan& plan);
  Result<void> stop_tasks(nlohmann::json& service, const Plan& plan, TaskList& tasks);
  void update_deployments(nlohmann::json& service, const TaskList& tasks, const Plan& plan);
  Result<void> apply(const std::string& arn, nlohmann::json& service, const Plan& plan, TaskList& tasks);
  StepResult finish_deleted(const std::string& arn, nlohmann::json& service, const TaskList& tasks);
  std::string health_reason(const nlohmann::json& service, const nlohmann::json& task, std::string* group);
  void event(nlohmann::json& service, const std::string& message);
  int64_t now_ms() const { return context_.clock.unix_ms(); }

  Context& context_;
};

}  // namespace weir::control
