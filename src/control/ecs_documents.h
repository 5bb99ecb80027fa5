// Documents of ECS that both the API's handlers and the reconcilers write, so that an answer shows at once
// what the reconcilers will do. Control thread; call inside a store transaction.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/random.h"

namespace weir::control {

struct NewTask {
  const nlohmann::json* task_definition = nullptr;  // the ecs.task-definition document
  std::string cluster_arn;
  std::string group;       // "service:NAME" or "family:FAMILY"
  std::string started_by;  // deployment id of a service task; RunTask's startedBy otherwise
  std::string launch_type = "FARGATE";
  std::string service_arn;               // empty for RunTask
  std::vector<std::string> subnets;          // awsvpcConfiguration
  std::vector<std::string> security_groups;  // empty: the VPC's default group
  const nlohmann::json* overrides = nullptr;  // TaskOverride as given; nullptr: none
  int64_t now_ms = 0;
};
// The whole ecs.task document in PROVISIONING (taskArn, containers[], attachments[] at PRECREATED, …; the
// network goes into weir.network). Store it under its taskArn and the task reconciler runs it.
nlohmann::json new_task(const NewTask& task, Random& random);

// Brings deployments[] of an ecs.service document in line with its intent (taskDefinition,
// networkConfiguration, loadBalancers, weir.force_deployment_id …): a changed configuration becomes the new
// PRIMARY (IN_PROGRESS) and the old one ACTIVE; desiredCount is copied to the PRIMARY. Idempotent; answers
// whether it changed anything. CreateService and UpdateService call it before they store the document.
bool refresh_deployments(nlohmann::json& service, int64_t now_ms, Random& random);

// Puts an event ("(service NAME) has …") in front of events[]; the newest 100 are kept.
void add_service_event(nlohmann::json& service, const std::string& message, int64_t now_ms, Random& random);

// "arn:aws:ecs:R:A:task/CLUSTER/ID" -> "ID".
std::string last_part(const std::string& arn);

}  // namespace weir::control
