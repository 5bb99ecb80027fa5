// The decision of the ECS service scheduler for one moment, as a pure function: how many tasks of the
// primary deployment to start and which tasks to stop. Rules: ECS developer guide, "Service scheduler" and
// "Rolling update"; API reference, DeploymentConfiguration.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weir::control {

struct TaskView {
  std::string arn;
  std::string zone;
  bool primary = false;     // of the PRIMARY deployment
  bool starting = false;    // PROVISIONING, PENDING or ACTIVATING
  bool running = false;     // RUNNING
  bool wanted = false;      // desiredStatus RUNNING
  bool healthy = false;     // counts towards minimumHealthyPercent
  bool unhealthy = false;   // RUNNING, failed its health check and past the grace period
  int64_t created_ms = 0;
};

struct ServiceView {
  int64_t desired = 0;
  int64_t minimum_percent = 100;
  int64_t maximum_percent = 200;
  bool may_start = true;    // false: the deployment has failed, or launches are throttled
  std::vector<TaskView> tasks;  // lastStatus PROVISIONING … STOPPING
};

struct Plan {
  int64_t start = 0;
  int64_t replaced = 0;               // how many of the started ones replace unhealthy tasks
  struct Stop {
    std::string arn;
    bool was_unhealthy = false;
  };
  std::vector<Stop> stop;
  bool steady = false;                // desired tasks of the primary deployment run and are healthy, no other runs
};

Plan plan_service(const ServiceView& service);

}  // namespace weir::control
