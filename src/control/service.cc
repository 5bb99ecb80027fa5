#include "control/service.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/log.h"
#include "control/documents.h"
#include "control/ecs_documents.h"

namespace weir::control {

namespace {

constexpr Duration kUnsteadyTick = std::chrono::seconds(1);
constexpr Duration kInactiveKept = std::chrono::hours(1);

bool is_one_of(const std::string& value, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return value == name; });
}

bool is_starting(const std::string& status) { return is_one_of(status, {"PROVISIONING", "PENDING", "ACTIVATING"}); }

// Counts against maximumPercent: everything that has or is about to give back a place.
bool occupies(const std::string& status) {
  return is_starting(status) || is_one_of(status, {"RUNNING", "DEACTIVATING", "STOPPING"});
}

Json* primary_of(Json& service) {
  Json& deployments = service["deployments"];
  for (Json& deployment : deployments) {
    if (text(deployment, "status") == "PRIMARY") return &deployment;
  }
  return nullptr;
}

bool is_deleting(const Json& service) {
  return flag(weir_of(service), "deleting") || text(service, "status") == "DRAINING";
}

std::string task_list(const std::vector<std::string>& arns) {
  std::string out;
  for (const std::string& arn : arns) out += (out.empty() ? "(task " : " (task ") + last_part(arn) + ")";
  return out;
}

}  // namespace

void Services::event(Json& service, const std::string& message) {
  log_info("service " + text(service, "serviceName") + " " + message);
  add_service_event(service, message, now_ms(), context_.random);
}

Services::TaskList Services::tasks_of(const std::string& arn, const Json& service) {
  TaskList out;
  std::string group = "service:" + text(service, "serviceName");
  for (auto& task : load_where(context_.store, kind::kTask, "group", group)) {
    if (text(weir_of(task.second), "service") == arn) out.push_back(std::move(task));
  }
  return out;
}

void Services::judge_health(const Json& service, const Json& task, TaskView& view) {
  int64_t age = now_ms() - time_ms(task, "startedAt", now_ms());
  const Json& groups = list(service, "loadBalancers");
  if (groups.empty()) {
    view.healthy = std::chrono::milliseconds(age) >= context_.options.no_health_check_settle;
    return;
  }
  bool healthy = true;
  bool unhealthy = false;
  std::string address = text(weir_of(task), "address");
  for (const Json& entry : groups) {
    auto row = context_.health.row(text(entry, "targetGroupArn"), address,
                                   static_cast<uint16_t>(integer(entry, "containerPort")));
    // A group that no listener uses is not checked: nothing can be said against the target.
    if (row.state != model::TargetState::Healthy && row.state != model::TargetState::Unused) healthy = false;
    if (row.state == model::TargetState::Unhealthy) unhealthy = true;
  }
  view.healthy = healthy;
  view.unhealthy = unhealthy && age >= integer(service, "healthCheckGracePeriodSeconds") * 1000;
}

TaskView Services::view_of(const Json& service, const std::string& primary_id, const Json& task) {
  TaskView view;
  std::string status = text(task, "lastStatus");
  view.arn = text(task, "taskArn");
  view.zone = text(task, "availabilityZone");
  view.primary = text(task, "startedBy") == primary_id;
  view.wanted = text(task, "desiredStatus") == "RUNNING";
  view.starting = is_starting(status);
  view.running = status == "RUNNING";
  view.created_ms = time_ms(task, "createdAt");
  if (view.running && view.wanted) judge_health(service, task, view);
  return view;
}

StepResult Services::step(const std::string& arn) {
  auto service = load(context_.store, kind::kService, arn);
  if (!service) return StepResult::done();
  TaskList tasks = tasks_of(arn, *service);
  if (text(*service, "status") == "INACTIVE") return finish_deleted(arn, *service, tasks);
  refresh_deployments(*service, now_ms(), context_.random);
  std::string primary_id = text(*primary_of(*service), "id");
  ServiceView view;
  view.desired = is_deleting(*service) ? 0 : integer(*service, "desiredCount");
  const Json& configuration = member(*service, "deploymentConfiguration");
  view.minimum_percent = integer(configuration, "minimumHealthyPercent", 100);
  view.maximum_percent = integer(configuration, "maximumPercent", 200);
  for (const auto& [task_arn, task] : tasks) {
    if (occupies(text(task, "lastStatus"))) view.tasks.push_back(view_of(*service, primary_id, task));
  }
  bool proven = std::any_of(view.tasks.begin(), view.tasks.end(),
                            [](const TaskView& t) { return t.primary && t.healthy && t.wanted; });
  Json& primary = *primary_of(*service);
  if (proven && !flag(weir_of(*service), "breaker_passed")) (*service)["weir"]["breaker_passed"] = true;
  if (proven) {
    primary["failedTasks"] = 0;
    (*service)["weir"].erase("start_failures");
  }
  count_failures(*service, tasks, primary_id);
  if (text(*primary_of(*service), "id") != primary_id) {  // rolled back: look again with the new primary
    auto saved = context_.store.transaction([&] { return apply(arn, *service, {}, tasks); });
    context_.wake(Queue::Service, arn);
    return saved ? StepResult::done() : StepResult::failed(saved.error().message);
  }
  Duration throttled = throttle(*service);
  view.may_start = throttled <= Duration::zero() && text(*primary_of(*service), "rolloutState") != "FAILED";
  Plan plan = plan_service(view);
  auto applied = context_.store.transaction([&] { return apply(arn, *service, plan, tasks); });
  if (!applied) return StepResult::failed(applied.error().message);
  if (is_deleting(*service)) return finish_deleted(arn, *service, tasks);
  if (plan.steady) return StepResult::requeue_after(context_.options.service_tick);
  Duration next = std::min(kUnsteadyTick, context_.options.service_tick);
  return StepResult::requeue_after(throttled > Duration::zero() ? std::min(throttled, next) : next);
}

Result<void> Services::apply(const std::string& arn, Json& service, const Plan& plan, TaskList& tasks) {
  for (auto& [task_arn, task] : tasks) {  // what count_failures marked
    if (flag(weir_of(task), "counted")) WEIR_TRY(save(context_.store, kind::kTask, task_arn, task));
  }
  WEIR_TRY(stop_tasks(service, plan, tasks));
  WEIR_TRY(start_tasks(arn, service, plan));
  update_deployments(service, tasks_of(arn, service), plan);
  return save(context_.store, kind::kService, arn, service);
}

Result<void> Services::start_tasks(const std::string& arn, Json& service, const Plan& plan) {
  if (plan.start == 0) return {};
  const Json primary = *primary_of(service);
  auto definition = load(context_.store, kind::kTaskDefinition, text(primary, "taskDefinition"));
  if (!definition) {
    Json& weir = service["weir"];
    if (flag(weir, "definition_missing")) return {};
    weir["definition_missing"] = true;
    event(service, "was unable to place a task. Reason: the task definition " + text(primary, "taskDefinition") +
                       " does not exist.");
    return {};
  }
  const Json& network = member(member(primary, "networkConfiguration"), "awsvpcConfiguration");
  NewTask request;
  request.task_definition = &*definition;
  request.cluster_arn = text(service, "clusterArn");
  request.group = "service:" + text(service, "serviceName");
  request.started_by = text(primary, "id");
  request.launch_type = text(service, "launchType", "FARGATE");
  request.service_arn = arn;
  request.subnets = texts(network, "subnets");
  request.security_groups = texts(network, "securityGroups");
  request.now_ms = now_ms();
  std::vector<std::string> started;
  for (int64_t i = 0; i < plan.start; ++i) {
    Json task = new_task(request, context_.random);
    started.push_back(text(task, "taskArn"));
    WEIR_TRY(save(context_.store, kind::kTask, started.back(), task));
  }
  std::string message = "has started " + std::to_string(started.size()) + " tasks: " + task_list(started) + ".";
  if (plan.replaced > 0) {
    message += " Amazon ECS replaced " + std::to_string(plan.replaced) + " tasks due to an unhealthy status.";
  }
  event(service, message);
  return {};
}

std::string Services::health_reason(const Json& service, const Json& task, std::string* group) {
  std::string address = text(weir_of(task), "address");
  for (const Json& entry : list(service, "loadBalancers")) {
    std::string arn = text(entry, "targetGroupArn");
    int64_t port = integer(entry, "containerPort");
    auto row = context_.health.row(arn, address, static_cast<uint16_t>(port));
    if (row.state != model::TargetState::Unhealthy) continue;
    *group = arn;
    return "(task " + last_part(text(task, "taskArn")) + ") (port " + std::to_string(port) +
           ") is unhealthy in (target-group " + arn + ") due to (reason " + row.description + ").";
  }
  return "";
}

Result<void> Services::stop_tasks(Json& service, const Plan& plan, TaskList& tasks) {
  std::vector<std::string> running;
  size_t pending = 0;
  std::string deployment = text(*primary_of(service), "id");
  for (const Plan::Stop& stop : plan.stop) {
    auto found = std::find_if(tasks.begin(), tasks.end(), [&](const auto& t) { return t.first == stop.arn; });
    if (found == tasks.end()) continue;
    Json& task = found->second;
    std::string group;
    std::string unhealthy = stop.was_unhealthy ? health_reason(service, task, &group) : "";
    if (!unhealthy.empty()) event(service, unhealthy);
    task["desiredStatus"] = "STOPPED";
    task["weir"]["stop_code"] = "ServiceSchedulerInitiated";
    task["weir"]["stop_reason"] = stop.was_unhealthy
                                      ? "Task failed ELB health checks in (target-group " + group + ")"
                                      : "Scaling activity initiated by (deployment " + deployment + ")";
    if (stop.was_unhealthy) task["weir"]["failed_health"] = true;
    if (text(task, "lastStatus") == "RUNNING") {
      running.push_back(stop.arn);
    } else {
      ++pending;
    }
    WEIR_TRY(save(context_.store, kind::kTask, stop.arn, task));
  }
  if (!running.empty()) {
    event(service, "has stopped " + std::to_string(running.size()) + " running tasks: " + task_list(running) + ".");
  }
  if (pending > 0) event(service, "stopped " + std::to_string(pending) + " pending tasks.");
  return {};
}

void Services::update_deployments(Json& service, const TaskList& tasks, const Plan& plan) {
  std::map<std::string, std::pair<int64_t, int64_t>> counts;  // deployment -> running, pending
  int64_t running = 0;
  int64_t pending = 0;
  for (const auto& [arn, task] : tasks) {
    if (text(task, "desiredStatus") != "RUNNING") continue;
    auto& [its_running, its_pending] = counts[text(task, "startedBy")];
    std::string status = text(task, "lastStatus");
    if (status == "RUNNING") ++running, ++its_running;
    if (is_starting(status)) ++pending, ++its_pending;
  }
  service["runningCount"] = running;
  service["pendingCount"] = pending;
  Json kept = Json::array();
  for (Json& deployment : service["deployments"]) {
    auto [its_running, its_pending] = counts[text(deployment, "id")];
    bool primary = text(deployment, "status") == "PRIMARY";
    if (!primary && its_running + its_pending == 0) continue;
    if (deployment["runningCount"] != its_running || deployment["pendingCount"] != its_pending) {
      deployment["updatedAt"] = to_seconds(now_ms());
    }
    deployment["runningCount"] = its_running;
    deployment["pendingCount"] = its_pending;
    kept.push_back(std::move(deployment));
  }
  service["deployments"] = std::move(kept);
  Json& weir = service["weir"];
  if (!plan.steady) {
    weir.erase("steady");
    return;
  }
  if (flag(weir, "steady") || is_deleting(service)) return;
  weir["steady"] = true;
  Json& primary = *primary_of(service);
  if (text(primary, "rolloutState") == "IN_PROGRESS") {
    std::string id = text(primary, "id");
    primary["rolloutState"] = "COMPLETED";
    primary["rolloutStateReason"] = "ECS deployment " + id + " completed.";
    primary["updatedAt"] = to_seconds(now_ms());
    weir["last_completed"] = {{"id", id}, {"taskDefinition", text(service, "taskDefinition")},
                              {"networkConfiguration", member(service, "networkConfiguration")}};
    event(service, "(deployment " + id + ") deployment completed.");
  }
  event(service, "has reached a steady state.");
}

StepResult Services::finish_deleted(const std::string& arn, Json& service, const TaskList& tasks) {
  bool left = std::any_of(tasks.begin(), tasks.end(),
                          [](const auto& task) { return text(task.second, "lastStatus") != "STOPPED"; });
  if (text(service, "status") != "INACTIVE") {
    if (left) return StepResult::requeue_after(kUnsteadyTick);
    service["status"] = "INACTIVE";
    service["runningCount"] = 0;
    service["pendingCount"] = 0;
    service["weir"]["inactive_at"] = to_seconds(now_ms());
    auto saved = save(context_.store, kind::kService, arn, service);
    if (!saved) return StepResult::failed(saved.error().message);
  }
  Duration kept = std::chrono::milliseconds(now_ms() - time_ms(weir_of(service), "inactive_at", now_ms()));
  if (kept < kInactiveKept) return StepResult::requeue_after(kInactiveKept - kept);
  auto erased = context_.store.erase(kind::kService, arn);
  return erased ? StepResult::done() : StepResult::failed(erased.error().message);
}

void Services::health_changed(const std::string& group_arn) {
  for (const auto& [arn, service] : load_all(context_.store, kind::kService)) {
    for (const Json& entry : list(service, "loadBalancers")) {
      if (text(entry, "targetGroupArn") == group_arn) context_.wake(Queue::Service, arn);
    }
  }
}

}  // namespace weir::control
