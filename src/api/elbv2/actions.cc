#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

constexpr size_t kGroupsPerActionMax = 5;
constexpr int64_t kWeightMax = 999;
constexpr size_t kBodyMax = 1024;
constexpr int64_t kOrderMax = 50000;
constexpr int64_t kStickySecondsMax = 604800;
constexpr std::string_view kContentTypes[] = {"text/plain", "text/css", "text/html", "application/javascript",
                                              "application/json"};
constexpr size_t kActionsMax = 10;

void check_group(Context& context, const std::string& group_arn, const std::string& listener_protocol,
                 const std::string& load_balancer_arn) {
  if (group_arn.find(":targetgroup/") == std::string::npos) {
    raise("ValidationError", fmt::format("'{}' is not a valid target group ARN", group_arn));
  }
  Json group = load(context, kTargetGroupKind, group_arn,
                    {"TargetGroupNotFound", fmt::format("Target group '{}' not found", group_arn), 400});
  std::string version = text(group, "ProtocolVersion", "HTTP1");
  if (listener_protocol == "HTTP" && version != "HTTP1") {
    raise("InvalidLoadBalancerAction",
          fmt::format("Listener protocol 'HTTP' is not supported with a target group with the protocol-version '{}'",
                      version));
  }
  for (const auto& other : load_balancers_of_group(context, group_arn)) {
    if (other == load_balancer_arn) continue;
    raise("TargetGroupAssociationLimit",
          fmt::format("The following target groups cannot be associated with more than one load balancer: {}",
                      group_arn));
  }
  Json balancer = load_load_balancer(context, load_balancer_arn);
  if (balancer["VpcId"] != group["VpcId"]) {
    raise("InvalidConfigurationRequest",
          fmt::format("The following target groups are not in the same VPC as the load balancer: {}", group_arn));
  }
}

// ForwardConfig from either form.
Json forward_config(const Json& action) {
  std::string single = text(action, "TargetGroupArn");
  Json config = action.value("ForwardConfig", Json::object());
  if (config.is_null()) config = Json::object();
  Json groups = array(config, "TargetGroups");
  if (groups.empty() && !single.empty()) groups.push_back({{"TargetGroupArn", single}});
  if (groups.empty()) raise("ValidationError", "A target group ARN must be specified");
  if (!single.empty() && (groups.size() != 1 || text(groups[0], "TargetGroupArn") != single)) {
    raise("ValidationError", "You cannot specify both a target group ARN and a different forward config");
  }
  if (groups.size() > kGroupsPerActionMax) {
    raise("ValidationError", "A forward action cannot have more than 5 target groups");
  }
  Json normal = Json::array();
  for (const auto& group : groups) {
    int64_t weight = integer(group, "Weight", 1);
    if (weight < 0 || weight > kWeightMax) {
      raise("ValidationError", fmt::format("Target group weight '{}' must be between '0-999' inclusive", weight));
    }
    normal.push_back({{"TargetGroupArn", text(group, "TargetGroupArn")}, {"Weight", weight}});
  }
  Json stickiness = config.value("TargetGroupStickinessConfig", Json::object());
  bool sticky = stickiness.is_object() && boolean(stickiness, "Enabled", false);
  Json shown{{"Enabled", sticky}};
  if (sticky) {
    int64_t duration = integer(stickiness, "DurationSeconds", 3600);
    if (duration < 1 || duration > kStickySecondsMax) {
      raise("ValidationError", fmt::format("Stickiness duration '{}' must be between '1-604800' inclusive", duration));
    }
    shown["DurationSeconds"] = duration;
  }
  return {{"TargetGroups", normal}, {"TargetGroupStickinessConfig", shown}};
}

void check_group_stickiness(Context& context, const Json& config) {
  if (config["TargetGroups"].size() < 2 || config["TargetGroupStickinessConfig"]["Enabled"] == true) return;
  for (const auto& entry : config["TargetGroups"]) {
    Json group = load_target_group(context, text(entry, "TargetGroupArn"));
    if (group["weir"]["attributes"].value("stickiness.enabled", "false") != "true") continue;
    raise("InvalidLoadBalancerAction", "You must enable group stickiness on a rule if you enabled target stickiness "
                                       "on one of its target groups");
  }
}

Json checked_forward(Context& context, const Json& action, const std::string& protocol, const std::string& balancer) {
  Json config = forward_config(action);
  for (const auto& group : config["TargetGroups"]) {
    check_group(context, text(group, "TargetGroupArn"), protocol, balancer);
  }
  check_group_stickiness(context, config);
  Json normal{{"Type", "forward"}, {"ForwardConfig", config}};
  if (config["TargetGroups"].size() == 1) normal["TargetGroupArn"] = config["TargetGroups"][0]["TargetGroupArn"];
  return normal;
}

Json checked_fixed_response(const Json& action) {
  Json config = action.value("FixedResponseConfig", Json::object());
  std::string status = text(config, "StatusCode");
  bool valid = status.size() == 3 && (status[0] == '2' || status[0] == '4' || status[0] == '5') &&
               std::isdigit(static_cast<unsigned char>(status[1])) &&
               std::isdigit(static_cast<unsigned char>(status[2]));
  if (!valid) {
    raise("ValidationError", fmt::format("1 validation error detected: Value '{}' at 'statusCode' failed to satisfy "
                                         "constraint: Member must satisfy regular expression pattern: ^(2|4|5)\\d\\d$",
                                         status));
  }
  Json normal{{"StatusCode", status}};
  if (auto type = optional_text(config, "ContentType")) {
    if (std::find(std::begin(kContentTypes), std::end(kContentTypes), *type) == std::end(kContentTypes)) {
      raise("ValidationError", fmt::format("The content type '{}' must be one of '[text/plain,text/css,text/html,"
                                           "application/javascript,application/json]'", *type));
    }
    normal["ContentType"] = *type;
  }
  if (auto body = optional_text(config, "MessageBody")) {
    if (body->size() > kBodyMax) raise("ValidationError", "The message body cannot be longer than '1024' characters");
    normal["MessageBody"] = *body;
  }
  return {{"Type", "fixed-response"}, {"FixedResponseConfig", normal}};
}

Json checked_redirect(const Json& action, const std::string& listener_protocol) {
  Json config = action.value("RedirectConfig", Json::object());
  std::string status = text(config, "StatusCode");
  if (status != "HTTP_301" && status != "HTTP_302") {
    raise("ValidationError", fmt::format("1 validation error detected: Value '{}' at 'statusCode' failed to satisfy "
                                         "constraint: Member must satisfy enum value set: [HTTP_301, HTTP_302]",
                                         status));
  }
  Json normal{{"Protocol", text(config, "Protocol", "#{protocol}")}, {"Port", text(config, "Port", "#{port}")},
              {"Host", text(config, "Host", "#{host}")}, {"Path", text(config, "Path", "/#{path}")},
              {"Query", text(config, "Query", "#{query}")}, {"StatusCode", status}};
  bool changes = normal["Protocol"] != "#{protocol}" || normal["Port"] != "#{port}" || normal["Host"] != "#{host}" ||
                 normal["Path"] != "/#{path}";
  if (!changes) {
    raise("InvalidLoadBalancerAction", "The RedirectConfig is not valid because it creates a loop. At least one of "
                                       "protocol, host, port and path must change");
  }
  if (listener_protocol == "HTTPS" && normal["Protocol"] == "HTTP") {
    raise("InvalidLoadBalancerAction", "You cannot redirect from HTTPS to HTTP");
  }
  return {{"Type", "redirect"}, {"RedirectConfig", normal}};
}

Json checked_action(Context& context, const Json& action, const std::string& protocol, const std::string& balancer) {
  std::string type = text(action, "Type");
  if (type == "forward") return checked_forward(context, action, protocol, balancer);
  if (type == "fixed-response") return checked_fixed_response(action);
  if (type == "redirect") return checked_redirect(action, protocol);
  if (type == "authenticate-oidc" || type == "authenticate-cognito" || type == "jwt-validation") {
    raise("InvalidLoadBalancerAction", fmt::format("Action type '{}' is not supported here", type));
  }
  raise("ValidationError", fmt::format("1 validation error detected: Value '{}' at 'actions.1.member.type' failed to "
                                       "satisfy constraint: Member must satisfy enum value set: [forward, "
                                       "authenticate-oidc, authenticate-cognito, redirect, fixed-response, "
                                       "jwt-validation]", type));
}

}  // namespace

std::set<std::string> forwarded_groups(const Json& actions) {
  std::set<std::string> groups;
  for (const auto& action : actions) {
    std::string single = text(action, "TargetGroupArn");
    if (!single.empty()) groups.insert(single);
    if (!has(action, "ForwardConfig")) continue;
    for (const auto& group : array(action["ForwardConfig"], "TargetGroups"))
      groups.insert(text(group, "TargetGroupArn"));
  }
  return groups;
}

std::set<std::string> load_balancers_of_group(Context& context, const std::string& target_group_arn) {
  std::set<std::string> balancers;
  for (const auto& listener : list(context, kListenerKind)) {
    bool uses = forwarded_groups(array(listener, "DefaultActions")).contains(target_group_arn);
    for (const auto& rule : list_where(context, kRuleKind, "ListenerArn", text(listener, "ListenerArn"))) {
      uses = uses || forwarded_groups(array(rule, "Actions")).contains(target_group_arn);
    }
    if (uses) balancers.insert(text(listener, "LoadBalancerArn"));
  }
  return balancers;
}

int uses_of_group(Context& context, const std::string& target_group_arn) {
  int uses = 0;
  for (const auto& listener : list(context, kListenerKind)) {
    uses += static_cast<int>(forwarded_groups(array(listener, "DefaultActions")).count(target_group_arn));
  }
  for (const auto& rule : list(context, kRuleKind)) {
    uses += static_cast<int>(forwarded_groups(array(rule, "Actions")).count(target_group_arn));
  }
  return uses;
}

Json checked_actions(Context& context, const Json& actions, const std::string& listener_protocol,
                     const std::string& load_balancer_arn) {
  if (!actions.is_array() || actions.empty()) raise("ValidationError", "A listener action must be specified");
  if (actions.size() > kActionsMax) raise("TooManyActions", "The quota of actions per rule has been reached");
  Json normal = Json::array();
  for (const auto& action : actions) {
    normal.push_back(checked_action(context, action, listener_protocol, load_balancer_arn));
    if (auto order = optional_integer(action, "Order")) {
      if (*order < 1 || *order > kOrderMax) {
        raise("ValidationError", fmt::format("Action order '{}' must be between '1-50000' inclusive", *order));
      }
      normal.back()["Order"] = *order;
    }
  }
  if (normal.size() > 1) {
    raise("InvalidLoadBalancerAction",
          "You must specify exactly one action of type 'forward', 'redirect' or 'fixed-response'");
  }
  return normal;
}

}  // namespace weir::api
