// Tasks: containers: what they are started with, looking at them, signals, log streams.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/log.h"
#include "control/documents.h"
#include "control/ecs_documents.h"
#include "control/exit_watch.h"
#include "control/task.h"

namespace weir::control {

using runtime::ContainerSpec;
using runtime::ContainerStatus;

namespace {

constexpr int64_t kMebibyte = 1024 * 1024;

std::string container_id(const std::string& task_arn, const std::string& name) {
  return last_part(task_arn) + "-" + name;
}

std::string private_name(std::string address, const std::string& region) {
  std::replace(address.begin(), address.end(), '.', '-');
  return "ip-" + address + (region == "us-east-1" ? ".ec2.internal" : "." + region + ".compute.internal");
}

void set_environment(ContainerSpec& spec, const Json& pairs) {
  for (const Json& pair : pairs) {
    std::string name = text(pair, "name");
    std::erase_if(spec.environment, [&](const auto& known) { return known.first == name; });
    spec.environment.emplace_back(name, text(pair, "value"));
  }
}

ContainerSpec spec_of(const std::string& task_arn, const Json& task, const Json& definition, const Json& container,
                      const std::string& netns, const std::string& region) {
  ContainerSpec spec;
  spec.container_id = container_id(task_arn, text(container, "name"));
  spec.image = text(container, "image");
  spec.netns_path = netns;
  spec.entry_point = texts(container, "entryPoint");
  spec.command = texts(container, "command");
  spec.environment = {{"HOSTNAME", private_name(text(weir_of(task), "address"), region)},
                      {"AWS_EXECUTION_ENV", "AWS_ECS_FARGATE"},
                      {"AWS_REGION", region},
                      {"AWS_DEFAULT_REGION", region}};
  set_environment(spec, list(container, "environment"));
  spec.working_directory = text(container, "workingDirectory");
  spec.user = text(container, "user");
  spec.read_only_root = flag(container, "readonlyRootFilesystem");
  int64_t memory = integer(container, "memory", integer(definition, "memory"));
  int64_t cpu = integer(container, "cpu");
  spec.init_process = flag(member(container, "linuxParameters"), "initProcessEnabled");
  for (const Json& limit : list(container, "ulimits")) {
    if (text(limit, "name") == "nofile") spec.nofile = integer(limit, "softLimit", spec.nofile);
  }
  for (const Json& override : list(member(task, "overrides"), "containerOverrides")) {
    if (text(override, "name") != text(container, "name")) continue;
    if (has(override, "command")) spec.command = texts(override, "command");
    set_environment(spec, list(override, "environment"));
    memory = integer(override, "memory", memory);
    cpu = integer(override, "cpu", cpu);
  }
  spec.memory_bytes = memory * kMebibyte;
  spec.cpu_units = cpu != 0 ? cpu : integer(definition, "cpu");
  return spec;
}

// Runs on the pool. One that the driver knows already is not started again.
Result<ContainerStatus> start_once(runtime::ContainerDriver& driver, const ContainerSpec& spec) {
  WEIR_TRY_ASSIGN(ContainerStatus status, driver.status(spec.container_id));
  if (status.state == ContainerStatus::State::Running || status.state == ContainerStatus::State::Exited) return status;
  WEIR_TRY(driver.ensure_image(spec.image));
  WEIR_TRY(driver.start(spec));
  return driver.status(spec.container_id);
}

bool essential(const Json& definition, const std::string& name) {
  for (const Json& container : list(definition, "containerDefinitions")) {
    if (text(container, "name") == name) return flag(container, "essential", true);
  }
  return true;
}

}  // namespace

void Tasks::start_container(const std::string& arn, const Json& task, const Json& definition,
                            const Json& container) {
  auto eni = load(context_.store, kind::kNetworkInterface, text(weir_of(task), "eni"));
  std::string netns = eni ? text(weir_of(*eni), "netns") : "";
  std::string name = text(container, "name");
  ContainerSpec spec = spec_of(arn, task, definition, container, netns, context_.options.region);
  context_.jobs.run<ContainerStatus>(
      job_key(arn),
      [driver = &context_.containers, spec = std::move(spec)] { return start_once(*driver, spec); },
      [this, arn, name](ContainerStatus status) {
        observed_[arn].containers[name] = status;
        watch_exits(arn);
      },
      [this, arn] { wake(arn); });
}

Duration Tasks::poll_interval(const Observed& observed) const {
  for (const auto& [name, status] : observed.containers) {
    if (status.state != ContainerStatus::State::Running) continue;
    auto watch = observed.watches.find(name);
    if (watch == observed.watches.end() || !watch->second->active()) return context_.options.task_poll;
  }
  return context_.options.task_poll_watched;
}

// Asks the driver about all containers when the last answer is too old; the step goes on when it is fresh.
std::optional<StepResult> Tasks::look(const std::string& arn, const Json& task) {
  Observed& observed = observed_[arn];
  TimePoint now = context_.loop.now();
  Duration age = now - observed.looked_at;
  bool first = observed.looked_at == TimePoint{};
  if (!first && age < poll_interval(observed)) {
    if (observed.looked) return std::nullopt;
    if (age < context_.options.task_poll) return StepResult::requeue_after(context_.options.task_poll - age);
  }
  observed.looked_at = now;
  observed.looked = false;
  std::vector<std::string> names;
  for (const Json& container : list(task, "containers")) names.push_back(text(container, "name"));
  context_.jobs.run<Statuses>(
      job_key(arn),
      [driver = &context_.containers, arn, names]() -> Result<Statuses> {
        Statuses out;
        for (const std::string& name : names) {
          WEIR_TRY_ASSIGN(out[name], driver->status(container_id(arn, name)));
        }
        return out;
      },
      [this, arn](Statuses statuses) {
        Observed& owner = observed_[arn];
        for (auto& [name, status] : statuses) {
          // While a task starts, a container that the driver does not know is one that is still to start.
          bool known = owner.containers.contains(name) || status.state != ContainerStatus::State::Missing;
          auto document = load(context_.store, kind::kTask, arn);
          bool starting = document && text(*document, "lastStatus") == "PENDING";
          if (known || !starting) owner.containers[name] = status;
        }
        owner.looked = true;
        watch_exits(arn);
      },
      [this, arn] { wake(arn); });
  return StepResult::started();
}

void Tasks::watch_exits(const std::string& arn) {
  Observed& observed = observed_[arn];
  for (const auto& [name, status] : observed.containers) {
    if (status.state != ContainerStatus::State::Running) {
      observed.watches.erase(name);
      continue;
    }
    auto found = observed.watches.find(name);
    if (status.pid <= 0 || (found != observed.watches.end() && found->second->active())) continue;
    observed.watches[name] = std::make_unique<ExitWatch>(context_.loop, status.pid, [this, arn] {
      observed_[arn].looked_at = TimePoint{};  // look at once
      wake(arn);
    });
  }
}

bool Tasks::note_exits(const std::string& arn, Json& task) {
  Json definition = definition_of(task);
  bool essential_ended = false;
  for (Json& container : task["containers"]) {
    std::string name = text(container, "name");
    auto found = observed_[arn].containers.find(name);
    if (found == observed_[arn].containers.end()) continue;
    const ContainerStatus& status = found->second;
    if (status.state == ContainerStatus::State::Running || status.state == ContainerStatus::State::Created) continue;
    if (essential(definition, name)) essential_ended = true;
    container["lastStatus"] = "STOPPED";
    if (status.state == ContainerStatus::State::Exited) container["exitCode"] = status.exit_code;
    if (status.oom_killed) container["reason"] = "OutOfMemoryError: Container killed due to memory usage";
  }
  return essential_ended;
}

bool Tasks::all_ended(const std::string& arn, const Json& task) const {
  auto observed = observed_.find(arn);
  if (observed == observed_.end()) return false;
  for (const Json& container : list(task, "containers")) {
    auto found = observed->second.containers.find(text(container, "name"));
    if (found == observed->second.containers.end()) return false;
    if (found->second.state == ContainerStatus::State::Running) return false;
  }
  return true;
}

void Tasks::signal_containers(const std::string& arn, std::vector<std::string> names, const std::string& signal,
                              bool before_drain) {
  context_.jobs.run<void>(
      job_key(arn),
      [driver = &context_.containers, arn, names, signal]() -> Result<void> {
        for (const std::string& name : names) WEIR_TRY(driver->kill(container_id(arn, name), signal));
        return {};
      },
      [this, arn, names, signal, before_drain] {
        observed_[arn].looked_at = TimePoint{};  // what was seen before the signal is old
        auto task = load(context_.store, kind::kTask, arn);
        if (!task || signal == "SIGKILL") return;
        if (before_drain) {
          (*task)["weir"]["signalled"] = true;
        } else {
          for (const std::string& name : names) (*task)["weir"]["stop_since"][name] = now_ms();
        }
        if (auto saved = save(context_.store, kind::kTask, arn, *task); !saved) log_error(saved.error().message);
      },
      [this, arn] { wake(arn); });
}

// True: the streams of all containers that log to awslogs exist.
Result<bool> Tasks::ensure_log_streams(const Json& task, const Json& definition) {
  std::string arn = text(task, "taskArn");
  auto result = context_.store.transaction([&]() -> Result<void> {
    for (const Json& container : list(definition, "containerDefinitions")) {
      const Json& logging = member(container, "logConfiguration");
      if (text(logging, "logDriver") != "awslogs") continue;
      const Json& options = member(logging, "options");
      std::string group = text(options, "awslogs-group");
      std::string name = text(container, "name");
      std::string id = container_id(arn, name);
      std::string prefix = text(options, "awslogs-stream-prefix");
      std::string stream = prefix.empty() ? id : prefix + "/" + name + "/" + last_part(arn);
      std::string base = "arn:aws:logs:" + context_.options.region + ":" + context_.options.account + ":log-group:";
      if (!context_.store.get(kind::kLogGroup, group)) {
        if (!flag(options, "awslogs-create-group")) {
          return fail("ResourceInitializationError: failed to validate logger args: create stream has been retried 1 "
                      "times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log "
                      "group does not exist.");
        }
        WEIR_TRY(save(context_.store, kind::kLogGroup, group,
                      {{"logGroupName", group}, {"arn", base + group + ":*"}, {"creationTime", now_ms()}}));
      }
      if (context_.store.get(kind::kLogStream, group + "|" + stream)) continue;
      WEIR_TRY(save(context_.store, kind::kLogStream, group + "|" + stream,
                    {{"logGroupName", group}, {"logStreamName", stream}, {"creationTime", now_ms()},
                     {"arn", base + group + ":log-stream:" + stream}, {"weir", {{"container_id", id}}}}));
    }
    return {};
  });
  if (!result) return std::unexpected(result.error());
  return true;
}

void Tasks::remove_leftovers() {
  context_.jobs.run<std::vector<std::string>>(
      "leftovers|containers", [driver = &context_.containers] { return driver->list(); },
      [this](std::vector<std::string> ids) {
        std::set<std::string> living;
        for (const auto& [arn, task] : load_all(context_.store, kind::kTask)) {
          if (text(task, "lastStatus") != "STOPPED") living.insert(last_part(arn));
        }
        std::vector<std::string> unexplained;
        for (const std::string& id : ids) {
          if (!living.contains(id.substr(0, id.find('-')))) unexplained.push_back(id);
        }
        if (unexplained.empty()) return;
        context_.jobs.run<void>(
            "leftovers|containers|remove",
            [driver = &context_.containers, unexplained]() -> Result<void> {
              for (const std::string& id : unexplained) WEIR_TRY(driver->remove(id));
              return {};
            },
            [] {},
            [this] {
              if (auto e = context_.jobs.take_error("leftovers|containers|remove")) log_warning("leftovers: " + *e);
            });
      },
      [this] {
        if (auto error = context_.jobs.take_error("leftovers|containers")) log_warning("leftovers: " + *error);
      });
}

}  // namespace weir::control
