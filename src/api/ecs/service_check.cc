#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ecs/ecs.h"
#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

constexpr size_t kTargetGroupsMax = 5;
constexpr size_t kSubnetsMax = 16;
constexpr size_t kSecurityGroupsMax = 5;

[[noreturn]] void raise_parameter(const std::string& message) { raise("InvalidParameterException", message); }

void check_container_port(const Json& balancer, const Json& task_definition) {
  std::string name = text(balancer, "containerName");
  int64_t port = integer(balancer, "containerPort", 0);
  for (const auto& container : task_definition["containerDefinitions"]) {
    if (container["name"] != name) continue;
    for (const auto& mapping : container["portMappings"]) {
      if (mapping["containerPort"] == port) return;
    }
    raise_parameter(fmt::format("The container {} did not have a container port {} defined.", name, port));
  }
  raise_parameter(fmt::format("The container {} does not exist in the task definition.", name));
}

void check_load_balancer(Context& context, const Json& balancer, const Json& task_definition) {
  std::string group_arn = text(balancer, "targetGroupArn");
  if (group_arn.empty()) {
    raise_parameter("Classic load balancers are not supported here; give a targetGroupArn.");
  }
  Json group = find(context, kTargetGroupKind, group_arn);
  if (group.is_null()) raise_parameter(fmt::format("The target group {} does not exist.", group_arn));
  if (group["TargetType"] != "ip") {
    raise_parameter(fmt::format("The provided target group {} has target type {}, which is incompatible with the "
                                "awsvpc network mode specified in the task definition.",
                                group_arn, text(group, "TargetType")));
  }
  if (uses_of_group(context, group_arn) == 0) {
    raise_parameter(fmt::format("The target group with targetGroupArn {} does not have an associated load balancer.",
                                group_arn));
  }
  check_container_port(balancer, task_definition);
}

void check_load_balancers(Context& context, const Json& service, const Json& task_definition) {
  Json balancers = array(service, "loadBalancers");
  if (balancers.size() > kTargetGroupsMax) raise_parameter("load balancers can have at most 5 items.");
  for (const auto& balancer : balancers) check_load_balancer(context, balancer, task_definition);
  int64_t grace = integer(service, "healthCheckGracePeriodSeconds", 0);
  if (grace < 0 || grace > 2147483647)
    raise_parameter("The health check grace period must be between 0 and 2147483647.");
  if (balancers.empty() && grace != 0) {
    raise_parameter("Health check grace period is only valid for services configured to use load balancers");
  }
}

void check_network(Context& context, const Json& service) {
  Json network = service.value("networkConfiguration", Json::object());
  if (!network.is_object() || !has(network, "awsvpcConfiguration")) {
    raise_parameter("Network Configuration must be provided when networkMode 'awsvpc' is specified.");
  }
  const Json& awsvpc = network["awsvpcConfiguration"];
  Json subnets = array(awsvpc, "subnets");
  Json groups = array(awsvpc, "securityGroups");
  if (subnets.empty()) raise_parameter("subnets can not be empty.");
  if (subnets.size() > kSubnetsMax) raise_parameter("subnets can have at most 16 items.");
  if (groups.size() > kSecurityGroupsMax) raise_parameter("securityGroups can have at most 5 items.");
  std::string vpc;
  for (const auto& id : subnets) {
    std::string name = id.is_string() ? id.get<std::string>() : id.dump();
    Json subnet = find(context, "ec2.subnet", name);
    if (subnet.is_null()) {
      raise_parameter(fmt::format("Error retrieving subnet information for [{0}]: The subnet ID '{0}' does not exist "
                                  "(ErrorCode: InvalidSubnetID.NotFound)", name));
    }
    if (!vpc.empty() && vpc != text(subnet, "VpcId")) raise_parameter("All subnets must belong to the same VPC.");
    vpc = text(subnet, "VpcId");
  }
  for (const auto& id : groups) {
    std::string name = id.is_string() ? id.get<std::string>() : id.dump();
    Json group = find(context, "ec2.security-group", name);
    if (group.is_null()) {
      raise_parameter(fmt::format("Error retrieving security group information for [{0}]: The security group '{0}' "
                                  "does not exist (ErrorCode: InvalidGroup.NotFound)", name));
    }
    if (text(group, "VpcId") != vpc) raise_parameter("All security groups must belong to the VPC of the subnets.");
  }
}

void check_deployment(const Json& service) {
  const Json& configuration = service["deploymentConfiguration"];
  int64_t maximum = integer(configuration, "maximumPercent", 200);
  int64_t minimum = integer(configuration, "minimumHealthyPercent", 100);
  if (minimum < 0 || minimum > 100) raise_parameter("minimumHealthyPercent must be between 0 and 100.");
  if (maximum < 100 || maximum > 1000) raise_parameter("maximumPercent must be between 100 and 1000.");
  if (maximum == 100 && minimum == 100) {
    raise_parameter("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments");
  }
  if (text(configuration, "strategy", "ROLLING") != "ROLLING") {
    raise("UnsupportedFeatureException",
          fmt::format("Deployment strategy {} is not supported here.", text(configuration, "strategy")));
  }
}

}  // namespace

void check_service(Context& context, const Json& service, const Json& task_definition) {
  check_network(context, service);
  check_load_balancers(context, service, task_definition);
  check_deployment(service);
  int64_t desired = integer(service, "desiredCount", 0);
  if (desired < 0 || desired > 5000) raise_parameter("The desired count must be between 0 and 5000.");
}

}  // namespace weir::api
