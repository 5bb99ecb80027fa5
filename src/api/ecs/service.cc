#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ecs/ecs.h"
#include "control/ecs_documents.h"

namespace weir::api {
namespace {

constexpr size_t kDescribeMax = 10;

void check_name(const std::string& name) {
  bool valid = !name.empty() && name.size() <= 255 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_';
  });
  if (!valid) {
    raise("InvalidParameterException", "Service name can contain only letters, numbers, hyphens and underscores, and "
                                       "must not be longer than 255 characters.");
  }
}

std::string service_arn(const Context& context, const Json& cluster, const std::string& name) {
  if (name.starts_with("arn:")) return name;
  return arn(context, "ecs", fmt::format("service/{}/{}", text(cluster, "clusterName"), name));
}

Json usable_task_definition(Context& context, const std::string& name) {
  if (name.empty()) raise("InvalidParameterException", "TaskDefinition can not be blank.");
  Json definition = find_task_definition(context, name);
  if (definition.is_null()) raise("ClientException", "TaskDefinition not found.");
  if (definition["status"] != "ACTIVE") raise("ClientException", "TaskDefinition is inactive");
  return definition;
}

void check_features(const Json& input) {
  std::string strategy = text(input, "schedulingStrategy", "REPLICA");
  if (strategy != "REPLICA") {
    raise("UnsupportedFeatureException", fmt::format("Scheduling strategy {} is not supported here.", strategy));
  }
  if (has(input, "deploymentController")) {
    std::string type = text(input["deploymentController"], "type", "ECS");
    if (type != "ECS") {
      raise("UnsupportedFeatureException", fmt::format("Deployment controller {} is not supported here.", type));
    }
  }
  for (const char* member : {"serviceRegistries", "volumeConfigurations", "vpcLatticeConfigurations"}) {
    if (!array(input, member).empty()) {
      raise("UnsupportedFeatureException", fmt::format("'{}' is not supported here.", member));
    }
  }
  if (has(input, "serviceConnectConfiguration") && boolean(input["serviceConnectConfiguration"], "enabled", false)) {
    raise("UnsupportedFeatureException", "Service Connect is not supported here.");
  }
  if (has(input, "launchType") && !array(input, "capacityProviderStrategy").empty()) {
    raise("InvalidParameterException",
          "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.");
  }
}

Json deployment_configuration(const Json& given, const Json& current) {
  Json merged = current;
  if (given.is_object()) {
    for (const auto& [key, value] : given.items()) {
      if (!value.is_null()) merged[key] = value;
    }
  }
  merged["maximumPercent"] = integer(merged, "maximumPercent", 200);
  merged["minimumHealthyPercent"] = integer(merged, "minimumHealthyPercent", 100);
  merged["strategy"] = text(merged, "strategy", "ROLLING");
  Json breaker = merged.value("deploymentCircuitBreaker", Json::object());
  merged["deploymentCircuitBreaker"] = {{"enable", boolean(breaker, "enable", false)},
                                        {"rollback", boolean(breaker, "rollback", false)}};
  return merged;
}

Json network_configuration(const Json& given) {
  if (!given.is_object() || !has(given, "awsvpcConfiguration")) return given;
  const Json& awsvpc = given["awsvpcConfiguration"];
  return {{"awsvpcConfiguration", {{"subnets", array(awsvpc, "subnets")},
                                   {"securityGroups", array(awsvpc, "securityGroups")},
                                   {"assignPublicIp", text(awsvpc, "assignPublicIp", "DISABLED")}}}};
}

Json load_balancers(const Json& given) {
  Json normal = Json::array();
  for (const auto& balancer : given) {
    Json entry{{"containerName", text(balancer, "containerName")},
               {"containerPort", integer(balancer, "containerPort", 0)}};
    if (has(balancer, "targetGroupArn")) entry["targetGroupArn"] = balancer["targetGroupArn"];
    normal.push_back(std::move(entry));
  }
  return normal;
}

Json make_service(Context& context, const Json& input, const Json& cluster, const Json& definition) {
  std::string name = text(input, "serviceName");
  Json service{{"serviceArn", service_arn(context, cluster, name)},
               {"serviceName", name},
               {"clusterArn", cluster["clusterArn"]},
               {"status", "ACTIVE"},
               {"taskDefinition", definition["taskDefinitionArn"]},
               {"desiredCount", integer(input, "desiredCount", 1)},
               {"runningCount", 0},
               {"pendingCount", 0},
               {"launchType", text(input, "launchType", "EC2")},
               {"platformFamily", "Linux"},
               {"schedulingStrategy", "REPLICA"},
               {"deploymentController", {{"type", "ECS"}}},
               {"deploymentConfiguration", deployment_configuration(input.value("deploymentConfiguration", Json()),
                                                                    Json::object())},
               {"loadBalancers", load_balancers(array(input, "loadBalancers"))},
               {"networkConfiguration", network_configuration(input.value("networkConfiguration", Json()))},
               {"availabilityZoneRebalancing", text(input, "availabilityZoneRebalancing", "ENABLED")},
               {"enableExecuteCommand", boolean(input, "enableExecuteCommand", false)},
               {"enableECSManagedTags", boolean(input, "enableECSManagedTags", false)},
               {"propagateTags", text(input, "propagateTags", "NONE")},
               {"placementConstraints", Json::array()},
               {"placementStrategy", Json::array()},
               {"serviceRegistries", Json::array()},
               {"deployments", Json::array()},
               {"events", Json::array()},
               {"createdAt", now_seconds(context)},
               {"createdBy", fmt::format("arn:aws:iam::{}:root", context.account)},
               {"tags", ecs_tags_of(input)}};
  if (service["launchType"] == "FARGATE") service["platformVersion"] = text(input, "platformVersion", "LATEST");
  service["healthCheckGracePeriodSeconds"] = integer(input, "healthCheckGracePeriodSeconds", 0);
  return service;
}

void check_launch_type(const Json& input, const Json& definition) {
  std::string type = text(input, "launchType", "EC2");
  if (type != "EC2" && type != "FARGATE") {
    raise("InvalidParameterException", fmt::format("Launch type {} is not supported here; use FARGATE.", type));
  }
  if (type != "FARGATE") return;
  Json compatibilities = array(definition, "requiresCompatibilities");
  bool fits = std::find(compatibilities.begin(), compatibilities.end(), Json("FARGATE")) != compatibilities.end();
  if (!fits) {
    raise("InvalidParameterException", "Task definition does not support launch_type FARGATE.");
  }
}

Json create_service(Context& context, const Json& input) {
  std::string name = text(input, "serviceName");
  check_name(name);
  check_features(input);
  Json service;
  transaction(context, [&] {
    Json cluster = load_cluster(context, input);
    Json definition = usable_task_definition(context, text(input, "taskDefinition"));
    check_launch_type(input, definition);
    service = make_service(context, input, cluster, definition);
    std::string id = text(service, "serviceArn");
    Json existing = find(context, kServiceKind, id);
    if (existing.is_object() && existing["status"] != "INACTIVE") {
      raise("InvalidParameterException", "Creation of service was not idempotent.");
    }
    check_service(context, service, definition);
    control::refresh_deployments(service, context.clock.unix_ms(), context.random);
    put(context, kServiceKind, id, service);
  });
  return {{"service", public_view(service)}};
}

Json load_service(Context& context, const Json& cluster, const std::string& name) {
  Json service = find(context, kServiceKind, service_arn(context, cluster, name));
  if (service.is_null()) raise("ServiceNotFoundException", "Service not found.");
  return service;
}

// Members that UpdateService takes over as they are.
constexpr const char* kPlainMembers[] = {"availabilityZoneRebalancing", "enableExecuteCommand", "enableECSManagedTags",
                                         "propagateTags", "platformVersion"};

void apply_update(Context& context, const Json& input, Json& service, Json& definition) {
  if (has(input, "taskDefinition")) {
    definition = usable_task_definition(context, text(input, "taskDefinition"));
    service["taskDefinition"] = definition["taskDefinitionArn"];
  } else {
    definition = find_task_definition(context, text(service, "taskDefinition"));
  }
  if (has(input, "desiredCount")) service["desiredCount"] = integer(input, "desiredCount", 0);
  if (has(input, "deploymentConfiguration")) {
    service["deploymentConfiguration"] =
        deployment_configuration(input["deploymentConfiguration"], service["deploymentConfiguration"]);
  }
  if (has(input, "networkConfiguration")) {
    service["networkConfiguration"] = network_configuration(input["networkConfiguration"]);
  }
  if (has(input, "loadBalancers")) service["loadBalancers"] = load_balancers(array(input, "loadBalancers"));
  if (has(input, "healthCheckGracePeriodSeconds")) {
    service["healthCheckGracePeriodSeconds"] = integer(input, "healthCheckGracePeriodSeconds", 0);
  }
  for (const char* member : kPlainMembers) {
    if (has(input, member)) service[member] = input[member];
  }
  if (boolean(input, "forceNewDeployment", false)) service["weir"]["force_deployment_id"] = context.random.hex(16);
}

Json update_service(Context& context, const Json& input) {
  check_features(input);
  Json service;
  transaction(context, [&] {
    Json cluster = load_cluster(context, input);
    service = load_service(context, cluster, text(input, "service"));
    if (service["status"] != "ACTIVE") raise("ServiceNotActiveException", "Service was not ACTIVE.");
    Json definition;
    apply_update(context, input, service, definition);
    if (definition.is_null()) raise("ClientException", "TaskDefinition not found.");
    check_service(context, service, definition);
    control::refresh_deployments(service, context.clock.unix_ms(), context.random);
    put(context, kServiceKind, text(service, "serviceArn"), service);
  });
  return {{"service", public_view(service)}};
}

Json delete_service(Context& context, const Json& input) {
  Json service;
  transaction(context, [&] {
    Json cluster = load_cluster(context, input);
    service = load_service(context, cluster, text(input, "service"));
    if (service["status"] == "INACTIVE") raise("ServiceNotFoundException", "Service not found.");
    bool force = boolean(input, "force", false);
    if (service["status"] == "ACTIVE" && integer(service, "desiredCount", 0) > 0 && !force) {
      raise("InvalidParameterException", "The service cannot be stopped while it is scaled above 0.");
    }
    service["status"] = "DRAINING";
    service["desiredCount"] = 0;
    service["weir"]["deleting"] = true;
    put(context, kServiceKind, text(service, "serviceArn"), service);
  });
  return {{"service", public_view(service)}};
}

Json describe_services(Context& context, const Json& input) {
  Json cluster = load_cluster(context, input);
  Json names = array(input, "services");
  if (names.empty()) raise("InvalidParameterException", "Services cannot be empty.");
  if (names.size() > kDescribeMax) raise("InvalidParameterException", "Services cannot have more than 10 elements.");
  Json found = Json::array();
  Json failures = Json::array();
  for (const auto& name : names) {
    std::string id = service_arn(context, cluster, name.is_string() ? name.get<std::string>() : "");
    Json service = find(context, kServiceKind, id);
    if (service.is_null()) {
      failures.push_back({{"arn", id}, {"reason", "MISSING"}});
      continue;
    }
    if (!includes(input, "TAGS")) service.erase("tags");
    found.push_back(public_view(std::move(service)));
  }
  return {{"services", found}, {"failures", failures}};
}

Json list_services(Context& context, const Json& input) {
  Json cluster = load_cluster(context, input);
  Json arns = Json::array();
  for (const auto& service : list_where(context, kServiceKind, "clusterArn", text(cluster, "clusterArn"))) {
    if (service["status"] == "ACTIVE") arns.push_back(service["serviceArn"]);
  }
  return {{"serviceArns", arns}};
}

}  // namespace

void add_service_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ecs",
      {{"CreateService", create_service},
       {"UpdateService", update_service},
       {"DeleteService", delete_service},
       {"DescribeServices", describe_services},
       {"ListServices", list_services}});
}

}  // namespace weir::api
