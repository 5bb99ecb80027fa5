// Tasks: one step of the ladder per run (docs/store-documents.md, "Order of a task's life").
//
//   PROVISIONING → PENDING → ACTIVATING → RUNNING → DEACTIVATING → STOPPING → DEPROVISIONING → STOPPED
//        │            │          │                      ▲              ▲            ▲
//        │            │          └──────────────────────┘ desired STOPPED or an essential container ended
//        │            └─────────────────────────────────────────────────┘ (nothing is registered yet)
//        └───────────────────────────────────────────────────────────────────────────┘ (nothing runs yet)
//
// Whatever the document says is done again by the drivers' idempotent calls after a crash; a container is
// started only when the driver does not know it. Control thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "control/context.h"
#include "control/targets.h"
#include "control/work_queue.h"

namespace weir::control {

class Tasks {
 public:
  Tasks(Context& context, Targets& targets);
  ~Tasks();
  Tasks(const Tasks&) = delete;
  Tasks& operator=(const Tasks&) = delete;

  StepResult step(const std::string& arn);
  // Removes containers that no living task explains (left by a crash).
  void remove_leftovers();

 private:
  class ExitWatch;
  struct Observed {  // in memory: what the driver said last
    std::map<std::string, runtime::ContainerStatus> containers;  // by container name
    std::map<std::string, std::unique_ptr<ExitWatch>> watches;
    TimePoint looked_at{};
    bool looked = false;
    TimePoint killed_at{};
  };
  using Statuses = std::map<std::string, runtime::ContainerStatus>;

  StepResult provisioning(const std::string& arn, nlohmann::json& task);
  StepResult pending(const std::string& arn, nlohmann::json& task);
  StepResult activating(const std::string& arn, nlohmann::json& task);
  StepResult running(const std::string& arn, nlohmann::json& task);
  StepResult deactivating(const std::string& arn, nlohmann::json& task);
  StepResult stopping(const std::string& arn, nlohmann::json& task);
  StepResult deprovisioning(const std::string& arn, nlohmann::json& task);
  StepResult stopped(const std::string& arn, nlohmann::json& task);

  // task_network.cc
  Result<void> create_interface(const std::string& arn, nlohmann::json& task);
  Result<std::string> least_used_subnet(const nlohmann::json& task);
  Result<void> register_targets(const std::string& arn, nlohmann::json& task);
  Result<bool> deregister_targets(const std::string& arn, nlohmann::json& task);  // true: all drained or gone
  bool barrier_passed(const nlohmann::json& task);

  // task_containers.cc
  std::optional<StepResult> look(const std::string& arn, const nlohmann::json& task);
  Result<bool> ensure_log_streams(const nlohmann::json& task, const nlohmann::json& definition);
  void start_container(const std::string& arn, const nlohmann::json& task, const nlohmann::json& definition,
                       const nlohmann::json& container);
  bool note_exits(const std::string& arn, nlohmann::json& task);  // true: an essential container has ended
  bool all_ended(const std::string& arn, const nlohmann::json& task) const;
  void watch_exits(const std::string& arn);
  Duration poll_interval(const Observed& observed) const;
  // signal "": the image's stop signal. What was sent is written down when it was: a crash in between
  // repeats a signal rather than leaving one out.
  void signal_containers(const std::string& arn, std::vector<std::string> names, const std::string& signal,
                         bool before_drain);

  nlohmann::json definition_of(const nlohmann::json& task);
  StepResult save_task(const std::string& arn, const nlohmann::json& task);
  StepResult stop_with(const std::string& arn, nlohmann::json& task, const std::string& code,
                       const std::string& reason, const char* next_status);
  std::string job_key(const std::string& arn) const { return "task|" + arn; }
  void wake(const std::string& arn) { context_.wake(Queue::Task, arn); }
  int64_t now_ms() const { return context_.clock.unix_ms(); }

  Context& context_;
  Targets& targets_;
  std::map<std::string, Observed> observed_;
};

// Moves lastStatus on and counts the version.
void set_status(nlohmann::json& task, const char* status);

}  // namespace weir::control
