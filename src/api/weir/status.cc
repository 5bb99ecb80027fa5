// One answer with what a person wants to see of the stacks: load balancers, listeners with the addresses they
// accept on, target health, services, deployments, tasks.
#include <map>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/elbv2/elbv2.h"
#include "api/weir/weir_operations.h"

namespace weir::api {
namespace {

constexpr size_t kEventsShown = 10;

// Calls a describe operation of our own; an error becomes an empty object (the resource has gone meanwhile).
Json ask(const Dispatcher& dispatcher, const char* service, const char* operation, const Json& input) {
  try {
    return dispatcher.call(service, operation, input);
  } catch (const ApiError&) {
    return Json::object();
  }
}

Json targets_of(const Dispatcher& dispatcher, const std::string& group_arn) {
  Json targets = Json::array();
  Json health = ask(dispatcher, "elbv2", "DescribeTargetHealth", {{"TargetGroupArn", group_arn}});
  for (const auto& entry : array(health, "TargetHealthDescriptions")) {
    Json target = entry["Target"];
    target.update(entry["TargetHealth"]);
    targets.push_back(std::move(target));
  }
  return targets;
}

std::set<std::string> groups_of_listener(Context& context, const Json& listener) {
  std::set<std::string> groups = forwarded_groups(array(listener, "DefaultActions"));
  for (const auto& rule : list_where(context, kRuleKind, "ListenerArn", text(listener, "ListenerArn"))) {
    groups.merge(forwarded_groups(array(rule, "Actions")));
  }
  return groups;
}

Json balancer_view(const Dispatcher& dispatcher, Context& context, const Json& balancer) {
  Json view{{"Name", balancer["LoadBalancerName"]},
            {"Arn", balancer["LoadBalancerArn"]},
            {"DNSName", balancer["DNSName"]},
            {"State", balancer["State"]["Code"]},
            {"Reason", text(balancer["State"], "Reason")},
            {"Deleting", is_deleting(balancer)},
            {"Listeners", Json::array()},
            {"TargetGroups", Json::array()}};
  Json endpoints = balancer["weir"].value("endpoints", Json::array());
  std::set<std::string> groups;
  for (const auto& listener :
       list_where(context, kListenerKind, "LoadBalancerArn", text(balancer, "LoadBalancerArn"))) {
    Json open = Json::array();
    for (const auto& endpoint : endpoints) {
      if (text(endpoint, "listener_arn") != text(listener, "ListenerArn") ||
          endpoint.value("vpc_side", false))
        continue;
      open.push_back({{"Address", endpoint["address"]}, {"Port", endpoint["port"]}});
    }
    view["Listeners"].push_back({{"Arn", listener["ListenerArn"]}, {"Port", listener["Port"]},
                                 {"Protocol", listener["Protocol"]}, {"Endpoints", open},
                                 {"Certificates", array(listener, "Certificates")}});
    groups.merge(groups_of_listener(context, listener));
  }
  for (const auto& group_arn : groups) {
    Json group = find(context, kTargetGroupKind, group_arn);
    if (group.is_null()) continue;
    view["TargetGroups"].push_back({{"Name", group["TargetGroupName"]}, {"Arn", group_arn},
                                    {"ProtocolVersion", group["ProtocolVersion"]},
                                    {"Targets", targets_of(dispatcher, group_arn)}});
  }
  return view;
}

Json task_view(const Json& task) {
  std::string address = weir_text(task, "address");
  Json view{{"Id", last_part(text(task, "taskArn"))},
            {"TaskDefinition", last_part(text(task, "taskDefinitionArn"))},
            {"LastStatus", text(task, "lastStatus")},
            {"DesiredStatus", text(task, "desiredStatus")},
            {"Address", address},
            {"CreatedAt", task.value("createdAt", 0.0)}};
  if (has(task, "stoppedReason")) view["StoppedReason"] = task["stoppedReason"];
  for (const auto& container : array(task, "containers")) {
    if (!has(container, "reason") && !has(container, "exitCode")) continue;
    view["Containers"].push_back({{"Name", text(container, "name")}, {"Reason", text(container, "reason")},
                                  {"ExitCode", container.value("exitCode", Json())}});
  }
  return view;
}

Json service_view(Context& context, const Json& service) {
  Json view{{"Name", service["serviceName"]},
            {"Arn", service["serviceArn"]},
            {"Cluster", last_part(text(service, "clusterArn"))},
            {"Status", service["status"]},
            {"TaskDefinition", last_part(text(service, "taskDefinition"))},
            {"Desired", integer(service, "desiredCount", 0)},
            {"Running", integer(service, "runningCount", 0)},
            {"Pending", integer(service, "pendingCount", 0)},
            {"Deployments", array(service, "deployments")},
            {"Events", Json::array()},
            {"Tasks", Json::array()}};
  for (const auto& event : array(service, "events")) {
    if (view["Events"].size() < kEventsShown) view["Events"].push_back(event);
  }
  std::string group = "service:" + text(service, "serviceName");
  for (const auto& task : list_where(context, "ecs.task", "group", group)) {
    if (text(task, "clusterArn") == text(service, "clusterArn")) view["Tasks"].push_back(task_view(task));
  }
  return view;
}

Json stack_view(const Dispatcher& dispatcher, Context& context, const Json& stack) {
  Json view{{"Name", stack["StackName"]},
            {"Id", stack["StackId"]},
            {"Status", text(stack, "StackStatus")},
            {"Reason", text(stack, "StackStatusReason")},
            {"Outputs", array(stack, "Outputs")},
            {"LoadBalancers", Json::array()},
            {"Services", Json::array()}};
  for (const auto& resource : list_where(context, "cfn.resource", "StackId", text(stack, "StackId"))) {
    std::string type = text(resource, "ResourceType");
    std::string id = text(resource, "PhysicalResourceId");
    if (type == "AWS::ElasticLoadBalancingV2::LoadBalancer") {
      Json balancer = find(context, kLoadBalancerKind, id);
      if (balancer.is_object()) view["LoadBalancers"].push_back(balancer_view(dispatcher, context, balancer));
    } else if (type == "AWS::ECS::Service") {
      Json service = find(context, "ecs.service", id);
      if (service.is_object()) view["Services"].push_back(service_view(context, service));
    }
  }
  return view;
}

}  // namespace

Json describe_status(const Dispatcher& dispatcher, Context& context, const Json& input) {
  std::string wanted = text(input, "StackName");
  Json stacks = Json::array();
  std::set<std::string> owned;
  bool found = false;
  for (const auto& stack : list(context, "cfn.stack")) {
    bool deleted = text(stack, "StackStatus") == "DELETE_COMPLETE";
    if (deleted && text(stack, "StackId") != wanted) continue;
    for (const auto& resource : list_where(context, "cfn.resource", "StackId", text(stack, "StackId"))) {
      owned.insert(text(resource, "PhysicalResourceId"));
    }
    if (!wanted.empty() && wanted != text(stack, "StackName") && wanted != text(stack, "StackId")) continue;
    found = true;
    stacks.push_back(stack_view(dispatcher, context, stack));
  }
  if (!wanted.empty() && !found) raise("ValidationError", fmt::format("Stack with id {} does not exist", wanted));
  Json status{{"Stacks", stacks}, {"LoadBalancers", Json::array()}, {"Services", Json::array()}};
  if (!wanted.empty()) return status;
  // What was made without a stack.
  for (const auto& balancer : list(context, kLoadBalancerKind)) {
    if (owned.contains(text(balancer, "LoadBalancerArn"))) continue;
    status["LoadBalancers"].push_back(balancer_view(dispatcher, context, balancer));
  }
  for (const auto& service : list(context, "ecs.service")) {
    if (owned.contains(text(service, "serviceArn")) || service["status"] == "INACTIVE") continue;
    status["Services"].push_back(service_view(context, service));
  }
  return status;
}

}  // namespace weir::api
