// Services: what happens after failures: circuit breaker, rollback, throttled launches.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/documents.h"
#include "control/ecs_documents.h"
#include "control/service.h"

namespace weir::control {

namespace {

constexpr int64_t kEarlyExitMs = 10'000;  // a task that ran shorter than this counts as crashing at start
constexpr int64_t kBreakerMin = 3;
constexpr int64_t kBreakerMax = 200;
constexpr int64_t kTellAfterFailures = 3;

Json* deployment_of(Json& service, const std::string& id) {
  for (Json& deployment : service["deployments"]) {
    if (text(deployment, "id") == id) return &deployment;
  }
  return nullptr;
}

bool is_over(const Json& task) { return has(task, "stopCode"); }

int64_t lived_ms(const Json& task) {
  int64_t started = time_ms(task, "startedAt");
  return time_ms(task, "stoppingAt", started) - started;
}

}  // namespace

// Circuit breaker (ECS developer guide): before any task of the deployment ran, every task that stops
// without having run; afterwards every task that failed its health check, to which a crash with a load
// balancer amounts.
bool Services::counts_as_failure(const Json& service, const Json& task) const {
  if (!has(task, "startedAt")) return text(task, "stopCode") == "TaskFailedToStart" ||
                                      text(task, "stopCode") == "EssentialContainerExited";
  if (flag(weir_of(task), "failed_health")) return true;
  return text(task, "stopCode") == "EssentialContainerExited" && !list(service, "loadBalancers").empty();
}

void Services::count_failures(Json& service, TaskList& tasks, const std::string& primary_id) {
  for (auto& [arn, task] : tasks) {
    if (!is_over(task) || flag(weir_of(task), "counted")) continue;
    task["weir"]["counted"] = true;
    if (text(task, "startedBy") != primary_id) continue;
    bool started = has(task, "startedAt");
    bool crashed = text(task, "stopCode") == "EssentialContainerExited" && started && lived_ms(task) < kEarlyExitMs;
    bool failed = !started && counts_as_failure(service, task);
    Json& weir = service["weir"];
    if (crashed || failed) {
      Json before = member(weir, "start_failures");
      int64_t in_a_row = integer(before, "count") + 1;
      weir["start_failures"] = {{"count", in_a_row}, {"last", to_seconds(now_ms())}, {"ran", started}};
      if (in_a_row == kTellAfterFailures) {
        event(service, "is unable to consistently start tasks successfully. For more information, see the "
                       "Troubleshooting section of the Amazon ECS Developer Guide.");
      }
    }
    if (failed && !flag(weir, "told_reason")) {
      event(service, "was unable to place a task. Reason: " + text(task, "stoppedReason"));
      weir["told_reason"] = true;
    }
    if (!counts_as_failure(service, task) || flag(weir, "breaker_passed")) continue;
    Json* primary = deployment_of(service, primary_id);
    if (primary == nullptr || text(*primary, "rolloutState") != "IN_PROGRESS") continue;
    (*primary)["failedTasks"] = integer(*primary, "failedTasks") + 1;
    break_circuit(service);
  }
}

void Services::break_circuit(Json& service) {
  const Json breaker = member(member(service, "deploymentConfiguration"), "deploymentCircuitBreaker");
  if (!flag(breaker, "enable")) return;
  Json* primary = nullptr;
  for (Json& deployment : service["deployments"]) {
    if (text(deployment, "status") == "PRIMARY") primary = &deployment;
  }
  int64_t threshold = std::clamp((integer(service, "desiredCount") + 1) / 2, kBreakerMin, kBreakerMax);
  if (primary == nullptr || integer(*primary, "failedTasks") < threshold) return;
  std::string failed_id = text(*primary, "id");
  (*primary)["rolloutState"] = "FAILED";
  (*primary)["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start.";
  (*primary)["updatedAt"] = to_seconds(now_ms());
  event(service, "(deployment " + failed_id + ") deployment failed: tasks failed to start.");
  const Json last = member(weir_of(service), "last_completed");
  if (!flag(breaker, "rollback") || !last.is_object()) return;
  if (text(weir_of(service), "rollback_deployment") == failed_id) return;  // the way back failed as well
  service["taskDefinition"] = text(last, "taskDefinition");
  if (has(last, "networkConfiguration")) service["networkConfiguration"] = last["networkConfiguration"];
  service["weir"]["force_deployment_id"] = "rollback-of-" + failed_id;
  refresh_deployments(service, now_ms(), context_.random);
  Json& next = service["deployments"][0];
  next["rolloutStateReason"] =
      "ECS deployment circuit breaker: rolling back to deploymentId " + text(next, "id") + ".";
  if (Json* failed = deployment_of(service, failed_id)) {
    (*failed)["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start.";
  }
  service["weir"]["rollback_deployment"] = text(next, "id");
  event(service, "rolling back to deployment " + text(next, "id") + ".");
}

// How long until the next launch is allowed. The first failure is followed at once.
Duration Services::throttle(const Json& service) const {
  const Json& failures = member(weir_of(service), "start_failures");
  int64_t in_a_row = integer(failures, "count");
  if (in_a_row < 2) return Duration::zero();
  Duration most = flag(failures, "ran") ? context_.options.early_exit_backoff_max : context_.options.start_backoff_max;
  Duration wait = context_.options.start_backoff_min;
  for (int64_t i = 2; i < in_a_row && wait < most; ++i) wait *= 2;
  wait = std::min(wait, most);
  return wait - std::chrono::milliseconds(now_ms() - time_ms(failures, "last", now_ms()));
}

}  // namespace weir::control
