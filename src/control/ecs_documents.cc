#include "control/ecs_documents.h"

#include <nlohmann/json.hpp>

#include "control/documents.h"

namespace weir::control {

namespace {

constexpr size_t kEventsMax = 100;

// "arn:aws:ecs:R:A:cluster/NAME", "task", ID -> "arn:aws:ecs:R:A:task/NAME/ID".
std::string sibling_arn(const std::string& cluster_arn, const std::string& type, const std::string& id) {
  size_t at = cluster_arn.rfind(":cluster/");
  if (at == std::string::npos) return type + "/" + id;
  return cluster_arn.substr(0, at) + ":" + type + "/" + last_part(cluster_arn) + "/" + id;
}

std::string decimal(Random& random, int digits) {
  std::string out(1, static_cast<char>('1' + random.below(9)));
  while (out.size() < static_cast<size_t>(digits)) out += static_cast<char>('0' + random.below(10));
  return out;
}

Json new_container(const Json& definition, const NewTask& task, const std::string& task_arn,
                   const std::string& task_id, Random& random) {
  Json container{{"containerArn", sibling_arn(task.cluster_arn, "container", task_id + "/" + random.uuid())},
                 {"taskArn", task_arn},
                 {"name", text(definition, "name")},
                 {"image", text(definition, "image")},
                 {"lastStatus", "PENDING"},
                 {"networkInterfaces", Json::array()},
                 {"healthStatus", "UNKNOWN"},
                 {"cpu", std::to_string(integer(definition, "cpu"))},
                 {"runtimeId", task_id + "-" + decimal(random, 10)}};
  if (has(definition, "memory")) container["memory"] = std::to_string(integer(definition, "memory"));
  if (has(definition, "memoryReservation")) {
    container["memoryReservation"] = std::to_string(integer(definition, "memoryReservation"));
  }
  return container;
}

// The configuration a deployment stands for; the same text means that nothing is to be rolled out.
std::string deployment_key(const Json& service) {
  Json key = Json::array();
  for (const char* name : {"taskDefinition", "launchType", "platformVersion"}) key.push_back(text(service, name));
  key.push_back(member(service, "networkConfiguration"));
  key.push_back(member(service, "loadBalancers"));
  key.push_back(text(weir_of(service), "force_deployment_id"));
  return key.dump();
}

Json new_deployment(const Json& service, int64_t now_ms, Random& random) {
  std::string id = "ecs-svc/" + decimal(random, 19);
  Json deployment{{"id", id},
                  {"status", "PRIMARY"},
                  {"taskDefinition", text(service, "taskDefinition")},
                  {"desiredCount", integer(service, "desiredCount")},
                  {"pendingCount", 0},
                  {"runningCount", 0},
                  {"failedTasks", 0},
                  {"createdAt", to_seconds(now_ms)},
                  {"updatedAt", to_seconds(now_ms)},
                  {"launchType", text(service, "launchType", "FARGATE")},
                  {"platformVersion", "1.4.0"},
                  {"platformFamily", "Linux"},
                  {"rolloutState", "IN_PROGRESS"},
                  {"rolloutStateReason", "ECS deployment " + id + " in progress."}};
  if (has(service, "networkConfiguration")) deployment["networkConfiguration"] = service["networkConfiguration"];
  return deployment;
}

}  // namespace

std::string last_part(const std::string& arn) {
  size_t slash = arn.rfind('/');
  return slash == std::string::npos ? arn : arn.substr(slash + 1);
}

Json new_task(const NewTask& task, Random& random) {
  const Json& definition = *task.task_definition;
  std::string id = random.hex(32);
  std::string arn = sibling_arn(task.cluster_arn, "task", id);
  std::string attachment = random.uuid();
  Json containers = Json::array();
  for (const Json& container : list(definition, "containerDefinitions")) {
    containers.push_back(new_container(container, task, arn, id, random));
  }
  Json document{{"taskArn", arn},
                {"clusterArn", task.cluster_arn},
                {"taskDefinitionArn", text(definition, "taskDefinitionArn")},
                {"group", task.group},
                {"startedBy", task.started_by},
                {"launchType", task.launch_type},
                {"platformVersion", "1.4.0"},
                {"platformFamily", "Linux"},
                {"desiredStatus", "RUNNING"},
                {"lastStatus", "PROVISIONING"},
                {"healthStatus", "UNKNOWN"},
                {"createdAt", to_seconds(task.now_ms)},
                {"version", 1},
                {"containers", containers},
                {"attributes", Json::array({{{"name", "ecs.cpu-architecture"}, {"value", "x86_64"}}})},
                {"overrides", task.overrides != nullptr
                                  ? *task.overrides
                                  : Json{{"containerOverrides", Json::array()},
                                         {"inferenceAcceleratorOverrides", Json::array()}}},
                {"tags", Json::array()},
                {"enableExecuteCommand", false}};
  for (const char* name : {"cpu", "memory"}) {
    if (has(definition, name)) document[name] = definition[name];
  }
  document["attachments"] = Json::array({{{"id", attachment},
                                          {"type", "ElasticNetworkInterface"},
                                          {"status", "PRECREATED"},
                                          {"details", Json::array()}}});
  document["weir"] = {{"network", {{"subnets", task.subnets}, {"securityGroups", task.security_groups}}}};
  if (!task.service_arn.empty()) document["weir"]["service"] = task.service_arn;
  if (task.started_by.empty()) document.erase("startedBy");
  return document;
}

bool refresh_deployments(Json& service, int64_t now_ms, Random& random) {
  std::string key = deployment_key(service);
  Json& weir = service["weir"];
  Json& deployments = service["deployments"];
  if (!deployments.is_array()) deployments = Json::array();
  if (text(weir, "deployment_key") == key) {
    for (Json& deployment : deployments) {
      if (text(deployment, "status") != "PRIMARY") continue;
      if (deployment["desiredCount"] == service["desiredCount"]) return false;
      deployment["desiredCount"] = integer(service, "desiredCount");
      deployment["updatedAt"] = to_seconds(now_ms);
      weir.erase("start_failures");  // any update lifts the throttle
      weir.erase("steady");
      return true;
    }
  }
  for (Json& deployment : deployments) {
    deployment["status"] = "ACTIVE";
    deployment["desiredCount"] = 0;
  }
  deployments.insert(deployments.begin(), new_deployment(service, now_ms, random));
  weir["deployment_key"] = key;
  weir.erase("start_failures");
  weir.erase("steady");
  weir.erase("breaker_passed");
  return true;
}

void add_service_event(Json& service, const std::string& message, int64_t now_ms, Random& random) {
  Json& events = service["events"];
  if (!events.is_array()) events = Json::array();
  events.insert(events.begin(), Json{{"id", random.uuid()},
                                     {"createdAt", to_seconds(now_ms)},
                                     {"message", "(service " + text(service, "serviceName") + ") " + message}});
  while (events.size() > kEventsMax) events.erase(events.size() - 1);
}

}  // namespace weir::control
