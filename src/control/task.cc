#include "control/task.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/documents.h"
#include "control/ecs_documents.h"
#include "control/exit_watch.h"

namespace weir::control {

namespace {
constexpr int64_t kStopTimeoutSeconds = 30;

bool wants_stop(const Json& task) { return text(task, "desiredStatus") == "STOPPED"; }

// Containers by "who depends on whom": a container is stopped after everything that depends on it.
std::vector<std::string> stoppable(const Json& definition, const std::vector<std::string>& living) {
  std::vector<std::string> out;
  for (const std::string& name : living) {
    bool needed = false;
    for (const Json& other : list(definition, "containerDefinitions")) {
      bool lives = std::find(living.begin(), living.end(), text(other, "name")) != living.end();
      for (const Json& dependency : list(other, "dependsOn")) {
        if (lives && text(dependency, "containerName") == name && text(other, "name") != name) needed = true;
      }
    }
    if (!needed) out.push_back(name);
  }
  return out.empty() ? living : out;
}

int64_t stop_timeout_ms(const Json& definition, const std::string& name) {
  for (const Json& container : list(definition, "containerDefinitions")) {
    if (text(container, "name") == name) return integer(container, "stopTimeout", kStopTimeoutSeconds) * 1000;
  }
  return kStopTimeoutSeconds * 1000;
}

bool signals_before_drain(store::Store& store, const Json& task) {
  auto service = load(store, kind::kService, text(weir_of(task), "service"));
  if (!service) return false;
  for (const Json& tag : list(*service, "tags")) {
    if (text(tag, "key") == "weir:stop-signal") return text(tag, "value") == "before-drain";
  }
  return false;
}
}  // namespace

void set_status(Json& task, const char* status) {
  task["lastStatus"] = status;
  task["version"] = integer(task, "version") + 1;
}

Tasks::Tasks(Context& context, Targets& targets) : context_(context), targets_(targets) {}
Tasks::~Tasks() = default;

StepResult Tasks::step(const std::string& arn) {
  auto task = load(context_.store, kind::kTask, arn);
  if (!task) {
    if (!context_.jobs.running(job_key(arn))) observed_.erase(arn);
    return StepResult::done();
  }
  if (context_.jobs.running(job_key(arn))) return StepResult::started();
  struct State {
    const char* status;
    StepResult (Tasks::*step)(const std::string&, Json&);
  };
  static constexpr State kStates[] = {
      {"PROVISIONING", &Tasks::provisioning}, {"PENDING", &Tasks::pending},
      {"ACTIVATING", &Tasks::activating},     {"RUNNING", &Tasks::running},
      {"DEACTIVATING", &Tasks::deactivating}, {"STOPPING", &Tasks::stopping},
      {"DEPROVISIONING", &Tasks::deprovisioning}, {"STOPPED", &Tasks::stopped}};
  std::string status = text(*task, "lastStatus", "PROVISIONING");
  for (const State& state : kStates) {
    if (status == state.status) return (this->*state.step)(arn, *task);
  }
  return StepResult::failed("task " + arn + " has the unknown status " + status);
}

Json Tasks::definition_of(const Json& task) {
  return load(context_.store, kind::kTaskDefinition, text(task, "taskDefinitionArn")).value_or(Json::object());
}

StepResult Tasks::save_task(const std::string& arn, const Json& task) {
  if (auto saved = save(context_.store, kind::kTask, arn, task); !saved) {
    return StepResult::failed(saved.error().message);
  }
  wake(arn);
  return StepResult::done();
}

StepResult Tasks::stop_with(const std::string& arn, Json& task, const std::string& code, const std::string& reason,
                            const char* next_status) {
  task["desiredStatus"] = "STOPPED";
  if (!has(task, "stopCode")) {
    task["stopCode"] = code;
    task["stoppedReason"] = reason;
  }
  if (!has(task, "stoppingAt")) task["stoppingAt"] = to_seconds(now_ms());
  set_status(task, next_status);
  log_info("task " + last_part(arn) + " " + next_status + " code=" + text(task, "stopCode") +
           " reason=" + text(task, "stoppedReason"));
  return save_task(arn, task);
}

StepResult Tasks::provisioning(const std::string& arn, Json& task) {
  const Json weir = weir_of(task);
  if (wants_stop(task)) {
    return stop_with(arn, task, text(weir, "stop_code", "UserInitiated"),
                     text(weir, "stop_reason", "Task stopped by user"), "DEPROVISIONING");
  }
  std::string eni_id = text(weir, "eni");
  if (eni_id.empty()) {
    auto created = create_interface(arn, task);
    if (created) return StepResult::done();  // woken by the write
    return stop_with(arn, task, "TaskFailedToStart", "ResourceInitializationError: " + created.error().message,
                     "DEPROVISIONING");
  }
  auto eni = load(context_.store, kind::kNetworkInterface, eni_id);
  if (eni && text(*eni, "Status") == "in-use") {
    for (Json& attachment : task["attachments"]) attachment["status"] = "ATTACHED";
    task["connectivity"] = "CONNECTED";
    task["connectivityAt"] = to_seconds(now_ms());
    set_status(task, "PENDING");
    return save_task(arn, task);
  }
  std::string error = eni ? text(weir_of(*eni), "error") : "The network interface was deleted";
  if (!error.empty()) {
    return stop_with(arn, task, "TaskFailedToStart", "ResourceInitializationError: " + error, "DEPROVISIONING");
  }
  Duration left = context_.options.eni_timeout -
                  std::chrono::milliseconds(now_ms() - time_ms(task, "createdAt", now_ms()));
  if (left > Duration::zero()) return StepResult::requeue_after(left);
  return stop_with(arn, task, "TaskFailedToStart",
                   "Timeout waiting for network interface provisioning to complete.", "DEPROVISIONING");
}

StepResult Tasks::pending(const std::string& arn, Json& task) {
  const Json weir = weir_of(task);
  if (wants_stop(task)) {
    context_.jobs.take_error(job_key(arn));
    return stop_with(arn, task, text(weir, "stop_code", "UserInitiated"),
                     text(weir, "stop_reason", "Task stopped by user"), "STOPPING");
  }
  if (auto error = context_.jobs.take_error(job_key(arn))) {
    return stop_with(arn, task, "TaskFailedToStart", *error, "STOPPING");
  }
  Json definition = definition_of(task);
  auto streams = ensure_log_streams(task, definition);
  if (!streams) return stop_with(arn, task, "TaskFailedToStart", streams.error().message, "STOPPING");
  if (!has(task, "pullStartedAt")) {
    task["pullStartedAt"] = to_seconds(now_ms());
    return save_task(arn, task);
  }
  if (note_exits(arn, task)) {
    return stop_with(arn, task, "EssentialContainerExited", "Essential container in task exited", "STOPPING");
  }
  Observed& observed = observed_[arn];
  bool waiting = false;
  for (const Json& container : list(definition, "containerDefinitions")) {
    if (observed.containers.contains(text(container, "name"))) continue;
    bool ready = true;
    for (const Json& dependency : list(container, "dependsOn")) {
      auto found = observed.containers.find(text(dependency, "containerName"));
      std::string condition = text(dependency, "condition", "START");
      bool ended = condition == "COMPLETE" || condition == "SUCCESS";
      if (found == observed.containers.end()) ready = false;
      else if (ended && found->second.state != runtime::ContainerStatus::State::Exited) ready = false;
      else if (condition == "SUCCESS" && found->second.exit_code != 0) {
        return stop_with(arn, task, "TaskFailedToStart",
                         "Container " + text(container, "name") +
                             " cannot start: a dependency did not exit successfully.", "STOPPING");
      }
    }
    waiting = true;
    if (!ready) continue;
    start_container(arn, task, definition, container);
    return StepResult::started();
  }
  if (waiting) {
    if (auto look_again = look(arn, task)) return *look_again;
    return StepResult::requeue_after(context_.options.task_poll);
  }
  for (Json& container : task["containers"]) {
    if (text(container, "lastStatus") == "PENDING") container["lastStatus"] = "RUNNING";
  }
  task["pullStoppedAt"] = to_seconds(now_ms());
  set_status(task, "ACTIVATING");
  return save_task(arn, task);
}

StepResult Tasks::activating(const std::string& arn, Json& task) {
  if (wants_stop(task)) return running(arn, task);
  context_.jobs.take_error(job_key(arn));
  if (auto look_again = look(arn, task)) return *look_again;
  if (note_exits(arn, task)) {
    return stop_with(arn, task, "EssentialContainerExited", "Essential container in task exited", "DEACTIVATING");
  }
  if (auto registered = register_targets(arn, task); !registered) {
    return stop_with(arn, task, "TaskFailedToStart", registered.error().message, "DEACTIVATING");
  }
  return StepResult::done();
}

StepResult Tasks::running(const std::string& arn, Json& task) {
  context_.jobs.take_error(job_key(arn));  // a look that failed is repeated
  const Json weir = weir_of(task);
  if (wants_stop(task)) {
    return stop_with(arn, task, text(weir, "stop_code", "UserInitiated"),
                     text(weir, "stop_reason", "Task stopped by user"), "DEACTIVATING");
  }
  if (auto look_again = look(arn, task)) return *look_again;
  Json before = task;
  if (note_exits(arn, task)) {
    task["executionStoppedAt"] = to_seconds(now_ms());
    return stop_with(arn, task, "EssentialContainerExited", "Essential container in task exited", "DEACTIVATING");
  }
  if (task != before) return save_task(arn, task);
  return StepResult::requeue_after(poll_interval(observed_[arn]));
}

StepResult Tasks::deactivating(const std::string& arn, Json& task) {
  context_.jobs.take_error(job_key(arn));
  auto drained = deregister_targets(arn, task);
  if (!drained) return StepResult::failed(drained.error().message);
  if (auto look_again = look(arn, task)) return *look_again;
  note_exits(arn, task);
  if (!*drained && !all_ended(arn, task)) {  // a dead task has no streams to wait for
    bool early = signals_before_drain(context_.store, task);
    if (early && !flag(weir_of(task), "signalled") && barrier_passed(task)) {
      std::vector<std::string> names;
      for (const Json& container : list(task, "containers")) names.push_back(text(container, "name"));
      signal_containers(arn, std::move(names), "", true);
      return StepResult::started();
    }
    return StepResult::requeue_after(poll_interval(observed_[arn]));
  }
  set_status(task, "STOPPING");
  return save_task(arn, task);
}

StepResult Tasks::stopping(const std::string& arn, Json& task) {
  if (auto error = context_.jobs.take_error(job_key(arn))) return StepResult::failed(std::move(*error));
  if (auto look_again = look(arn, task)) return *look_again;
  Json before = task;
  note_exits(arn, task);
  Json definition = definition_of(task);
  std::vector<std::string> living;
  for (const Json& container : list(task, "containers")) {
    auto status = observed_[arn].containers.find(text(container, "name"));
    bool lives = status != observed_[arn].containers.end() &&
                 status->second.state == runtime::ContainerStatus::State::Running;
    if (lives) living.push_back(text(container, "name"));
  }
  if (living.empty()) {
    set_status(task, "DEPROVISIONING");
    if (!has(task, "executionStoppedAt")) task["executionStoppedAt"] = to_seconds(now_ms());
    return save_task(arn, task);
  }
  std::vector<std::string> to_signal;
  std::vector<std::string> to_kill;
  for (const std::string& name : stoppable(definition, living)) {
    const Json& since = member(member(weir_of(task), "stop_since"), name);
    if (!since.is_number()) {
      to_signal.push_back(name);
    } else if (now_ms() - since.get<int64_t>() >= stop_timeout_ms(definition, name)) {
      to_kill.push_back(name);
    }
  }
  // One that was told before its drain is not told twice: programs take a second signal as "at once".
  if (flag(weir_of(task), "signalled")) {
    for (const std::string& name : to_signal) task["weir"]["stop_since"][name] = now_ms();
    to_signal.clear();
  }
  if (task != before) {
    if (auto saved = save(context_.store, kind::kTask, arn, task); !saved) {
      return StepResult::failed(saved.error().message);
    }
  }
  if (to_signal.empty() && to_kill.empty()) {
    constexpr Duration kLookForTimeout = std::chrono::milliseconds(250);
    return StepResult::requeue_after(std::min(poll_interval(observed_[arn]), kLookForTimeout));
  }
  bool kill = to_signal.empty();
  if (kill) {
    constexpr Duration kKillAgain = std::chrono::seconds(1);  // a killed process takes a moment to be gone
    Observed& observed = observed_[arn];
    TimePoint now = context_.loop.now();
    if (observed.killed_at != TimePoint{} && now - observed.killed_at < kKillAgain) {
      return StepResult::requeue_after(context_.options.task_poll);
    }
    observed.killed_at = now;
  }
  signal_containers(arn, std::move(kill ? to_kill : to_signal), kill ? "SIGKILL" : "", false);
  return StepResult::started();
}

StepResult Tasks::deprovisioning(const std::string& arn, Json& task) {
  if (auto error = context_.jobs.take_error(job_key(arn))) return StepResult::failed(std::move(*error));
  Observed& observed = observed_[arn];
  if (!flag(weir_of(task), "removed")) {
    observed.watches.clear();
    std::vector<std::string> ids;
    for (const Json& container : list(task, "containers")) {
      ids.push_back(last_part(arn) + "-" + text(container, "name"));
    }
    context_.jobs.run<void>(
        job_key(arn),
        [driver = &context_.containers, ids]() -> Result<void> {
          for (const std::string& id : ids) WEIR_TRY(driver->remove(id));
          return {};
        },
        [this, arn] {
          auto document = load(context_.store, kind::kTask, arn);
          if (!document) return;
          (*document)["weir"]["removed"] = true;
          (void)save_task(arn, *document);
        },
        [this, arn] { wake(arn); });
    return StepResult::started();
  }
  std::string eni_id = text(weir_of(task), "eni");
  auto eni = load(context_.store, kind::kNetworkInterface, eni_id);
  if (eni) {
    if (flag(weir_of(*eni), "deleting")) return StepResult::done();  // woken when it is gone
    (*eni)["weir"]["deleting"] = true;
    auto saved = save(context_.store, kind::kNetworkInterface, eni_id, *eni);
    return saved ? StepResult::done() : StepResult::failed(saved.error().message);
  }
  auto deregistered = deregister_targets(arn, task);  // of a task that never got to DEACTIVATING
  if (!deregistered) return StepResult::failed(deregistered.error().message);
  for (Json& container : task["containers"]) container["lastStatus"] = "STOPPED";
  for (Json& attachment : task["attachments"]) attachment["status"] = "DELETED";
  task["stoppedAt"] = to_seconds(now_ms());
  set_status(task, "STOPPED");
  return save_task(arn, task);
}

StepResult Tasks::stopped(const std::string& arn, Json& task) {
  observed_.erase(arn);
  Duration kept = std::chrono::milliseconds(now_ms() - time_ms(task, "stoppedAt", now_ms()));
  if (kept < context_.options.stopped_task_kept) {
    return StepResult::requeue_after(context_.options.stopped_task_kept - kept);
  }
  auto erased = context_.store.erase(kind::kTask, arn);
  return erased ? StepResult::done() : StepResult::failed(erased.error().message);
}

}  // namespace weir::control
