#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/ec2.h"
#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

using Type = AttributeSpec::Type;
constexpr size_t kNameMax = 32;

constexpr AttributeSpec kAttributes[] = {
    {Type::Integer, "deregistration_delay.timeout_seconds", "300", 0, 3600},
    {Type::Boolean, "stickiness.enabled", "false"},
    {Type::Choice, "stickiness.type", "lb_cookie", 0, 0, "|lb_cookie|app_cookie|"},
    {Type::Integer, "stickiness.lb_cookie.duration_seconds", "86400", 1, 604800},
    {Type::Text, "stickiness.app_cookie.cookie_name", ""},
    {Type::Integer, "stickiness.app_cookie.duration_seconds", "86400", 1, 604800},
    {Type::Integer, "slow_start.duration_seconds", "0", 30, 900, "|0|"},
    {Type::Choice, "load_balancing.algorithm.type", "round_robin", 0, 0,
     "|round_robin|least_outstanding_requests|weighted_random|"},
    {Type::Choice, "load_balancing.algorithm.anomaly_mitigation", "off", 0, 0, "|on|off|"},
    {Type::Choice, "load_balancing.cross_zone.enabled", "use_load_balancer_configuration", 0, 0,
     "|true|false|use_load_balancer_configuration|"},
    {Type::Integer, "target_group_health.dns_failover.minimum_healthy_targets.count", "1", 1, 1000, "|off|"},
    {Type::Integer, "target_group_health.dns_failover.minimum_healthy_targets.percentage", "off", 1, 100, "|off|"},
    {Type::Integer, "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1", 1, 1000},
    {Type::Integer, "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off", 1, 100,
     "|off|"},
    {Type::Integer, "weir.stream_idle_timeout.seconds", "load_balancer", 0, 604800, "|load_balancer|"},
    {Type::Boolean, "weir.draining.end_when_idle", "true"},
    {Type::Text, "weir.health_check.service", ""},
    {Type::Metadata, "weir.health_check.metadata", ""},
    {Type::Boolean, "weir.health_check.evaluate_payload", "true"},
    {Type::Boolean, "weir.health_check.watch", "false"},
    {Type::GrpcCodes, "weir.retry.grpc_codes", ""},
    {Type::Integer, "weir.retry.max_attempts", "2", 1, 5},
    {Type::Integer, "weir.retry.budget_percent", "20", 0, 100},
    {Type::Boolean, "weir.outlier_ejection.enabled", "false"},
    {Type::GrpcCodes, "weir.outlier_ejection.grpc_codes", "INTERNAL,UNAVAILABLE"},
    {Type::Integer, "weir.outlier_ejection.consecutive_failures", "5", 1, 1000},
    {Type::Integer, "weir.outlier_ejection.base_seconds", "30", 1, 3600},
    {Type::Integer, "weir.outlier_ejection.max_percent", "34", 1, 100},
    {Type::Choice, "weir.placement", "algorithm", 0, 0, "|algorithm|rate|"},
    {Type::Boolean, "weir.rebalancing.enabled", "false"},
    {Type::Integer, "weir.rebalancing.streams_per_second", "5", 1, 10000},
    {Type::Integer, "weir.rebalancing.min_age_seconds", "30", 0, 86400},
};

void check_name(const std::string& name) {
  if (name.empty()) raise("ValidationError", "A target group name must be specified");
  if (name.size() > kNameMax) {
    raise("ValidationError", fmt::format("Target group name '{}' cannot be longer than '32' characters", name));
  }
  if (name.front() == '-' || name.back() == '-') {
    raise("ValidationError", fmt::format("Target group name '{}' cannot begin or end with '-'", name));
  }
  bool valid = std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-'; });
  if (!valid) {
    raise("ValidationError", fmt::format("Target group name '{}' can only contain characters that are alphanumeric "
                                         "characters or hyphens(-)", name));
  }
}

std::string checked_enum(const Json& input, const char* member, const char* fallback, const char* at,
                         const std::vector<std::string>& values) {
  std::string value = text(input, member, fallback);
  if (std::find(values.begin(), values.end(), value) != values.end()) return value;
  raise("ValidationError", fmt::format("1 validation error detected: Value '{}' at '{}' failed to satisfy constraint: "
                                       "Member must satisfy enum value set: [{}]",
                                       value, at, fmt::join(values, ", ")));
}

// "12", "0,1", "0-5", combinations; each number within [min, max].
void check_matcher(const std::string& codes, int64_t min, int64_t max, const char* what) {
  if (codes.empty()) raise("ValidationError", fmt::format("Health check matcher {} code can not be empty", what));
  auto raise_range = [&] {
    raise("ValidationError", fmt::format("Health check matcher {} code '{}' must be within '{}-{}' inclusive", what,
                                         codes, min, max));
  };
  const char* at = codes.data();
  const char* end = at + codes.size();
  int64_t previous = -1;
  while (true) {
    int64_t code = 0;
    auto [stop, error] = std::from_chars(at, end, code);
    if (error != std::errc() || code < min || code > max || (previous >= 0 && code < previous)) raise_range();
    if (stop == end) return;
    previous = *stop == '-' && previous < 0 ? code : -1;
    if (*stop != ',' && previous < 0) raise_range();
    at = stop + 1;
  }
}

int64_t ranged(const Json& input, const Json& group, const char* member, int64_t fallback, int64_t min, int64_t max,
               const char* what) {
  int64_t value = integer(input, member, integer(group, member, fallback));
  if (value < min || value > max) {
    raise("ValidationError", fmt::format("{} '{}' must be between '{}-{}' inclusive", what, value, min, max));
  }
  return value;
}

void apply_matcher(const Json& input, Json& group, bool grpc) {
  if (!has(input, "Matcher")) {
    if (!group.contains("Matcher")) group["Matcher"] = grpc ? Json{{"GrpcCode", "12"}} : Json{{"HttpCode", "200"}};
    return;
  }
  const Json& matcher = input["Matcher"];
  if (grpc) {
    // AWS reads an HTTP code on a gRPC group as a gRPC code and refuses it by range.
    std::string codes = text(matcher, "GrpcCode", text(matcher, "HttpCode"));
    check_matcher(codes, 0, 99, "GRPC");
    group["Matcher"] = {{"GrpcCode", codes}};
  } else {
    std::string codes = text(matcher, "HttpCode");
    check_matcher(codes, 200, 499, "HTTP");
    group["Matcher"] = {{"HttpCode", codes}};
  }
}

// Settings of the input over those of the group (new: over the defaults), checked.
void apply_health_check(const Json& input, Json& group) {
  bool grpc = group["ProtocolVersion"] == "GRPC";
  group["HealthCheckEnabled"] = true;
  if (!boolean(input, "HealthCheckEnabled", true)) {
    raise("ValidationError", "Health check enabled must be true for target groups with target type 'ip'");
  }
  Json merged = input;
  for (const char* member : {"HealthCheckProtocol", "HealthCheckPort", "HealthCheckPath"}) {
    if (!has(merged, member) && group.contains(member)) merged[member] = group[member];
  }
  group["HealthCheckProtocol"] =
      checked_enum(merged, "HealthCheckProtocol", "HTTP", "healthCheckProtocol", {"HTTP", "HTTPS"});
  group["HealthCheckPort"] = text(merged, "HealthCheckPort", "traffic-port");
  if (group["HealthCheckPort"] != "traffic-port") {
    int64_t port = integer(merged, "HealthCheckPort", 0);
    if (port < 1 || port > 65535) {
      raise("ValidationError", fmt::format("Health check port '{}' must be 'traffic-port' or between '1-65535' "
                                           "inclusive", port));
    }
  }
  std::string path = text(merged, "HealthCheckPath", grpc ? "/AWS.ALB/healthcheck" : "/");
  if (path.empty() || path[0] != '/' || path.size() > 1024) {
    raise("ValidationError", fmt::format("Health check path '{}' must begin with '/' and be at most 1024 characters",
                                         path));
  }
  group["HealthCheckPath"] = path;
  int64_t interval = ranged(input, group, "HealthCheckIntervalSeconds", 30, 5, 300, "Health check interval");
  int64_t timeout = ranged(input, group, "HealthCheckTimeoutSeconds", 5, 2, 120, "Health check timeout");
  bool given = has(input, "HealthCheckTimeoutSeconds") || group.contains("HealthCheckTimeoutSeconds");
  if (!given && timeout >= interval) timeout = interval - 1;
  if (timeout >= interval) {
    raise("ValidationError", fmt::format("Health check timeout '{}' must be smaller than the interval '{}'", timeout,
                                         interval));
  }
  group["HealthCheckIntervalSeconds"] = interval;
  group["HealthCheckTimeoutSeconds"] = timeout;
  group["HealthyThresholdCount"] = ranged(input, group, "HealthyThresholdCount", 5, 2, 10, "Healthy threshold count");
  group["UnhealthyThresholdCount"] =
      ranged(input, group, "UnhealthyThresholdCount", 2, 2, 10, "Unhealthy threshold count");
  apply_matcher(input, group, grpc);
}

std::string checked_vpc(Context& context, const Json& input) {
  std::string vpc_id = text(input, "VpcId");
  if (vpc_id.empty()) raise("ValidationError", "A VPC ID must be specified");
  Json vpc = find(context, "ec2.vpc", vpc_id);
  if (vpc.is_null() || is_deleting(vpc)) {
    raise("ValidationError", fmt::format("The VPC ID '{}' is not found", vpc_id));
  }
  return vpc_id;
}

void check_target_type(const std::string& type) {
  if (type == "lambda" || type == "alb") {
    raise("InvalidConfigurationRequest", fmt::format("Target type '{}' is not supported here; use 'ip'", type));
  }
}

Json make_group(Context& context, const Json& input, const std::string& name) {
  std::string protocol = text(input, "Protocol");
  if (protocol.empty()) raise("ValidationError", "A protocol must be specified");
  protocol = checked_enum(input, "Protocol", "", "protocol", {"HTTP", "HTTPS"});
  auto port = optional_integer(input, "Port");
  if (!port) raise("ValidationError", "A port must be specified");
  if (*port < 1 || *port > 65535) {
    raise("ValidationError", fmt::format("Target group port '{}' must be between '1-65535' inclusive", *port));
  }
  std::string type = checked_enum(input, "TargetType", "instance", "targetType", {"instance", "ip", "lambda", "alb"});
  check_target_type(type);
  // What the data plane does not speak is refused, not accepted and then answered wrongly.
  std::string version = checked_enum(input, "ProtocolVersion", "HTTP1", "protocolVersion", {"GRPC", "HTTP1", "HTTP2"});
  if (version == "HTTP1") {
    raise("ValidationError", "Weir forwards HTTP/2 to targets: ProtocolVersion must be 'GRPC' or 'HTTP2'");
  }
  Json group{{"TargetGroupArn", arn(context, "elasticloadbalancing",
                                    fmt::format("targetgroup/{}/{}", name, context.random.hex(16)))},
             {"TargetGroupName", name},
             {"Protocol", protocol},
             {"ProtocolVersion", version},
             {"Port", *port},
             {"VpcId", checked_vpc(context, input)},
             {"TargetType", type},
             {"IpAddressType", checked_enum(input, "IpAddressType", "ipv4", "ipAddressType", {"ipv4", "ipv6"})},
             {"Tags", tags_of(input)},
             {"weir", {{"attributes", attribute_defaults(kAttributes, std::size(kAttributes))}}}};
  apply_health_check(input, group);
  return group;
}

Json shown(Context& context, Json group) {
  group["LoadBalancerArns"] = load_balancers_of_group(context, text(group, "TargetGroupArn"));
  group.erase("Tags");
  return public_view(std::move(group));
}

bool same_settings(Json a, Json b) {
  for (Json* group : {&a, &b}) {
    for (const char* member : {"TargetGroupArn", "Tags", "weir"}) group->erase(member);
  }
  return a == b;
}

Json create_group(Context& context, const Json& input) {
  std::string name = text(input, "Name");
  check_name(name);
  Json group;
  transaction(context, [&] {
    group = make_group(context, input, name);
    for (const auto& other : list_where(context, kTargetGroupKind, "TargetGroupName", name)) {
      if (!same_settings(other, group)) {
        raise("DuplicateTargetGroupName",
              fmt::format("A target group with the same name '{}' exists, but with different settings", name));
      }
      group = other;
      return;
    }
    put(context, kTargetGroupKind, text(group, "TargetGroupArn"), group);
  });
  return {{"TargetGroups", Json::array({shown(context, group)})}};
}

Json describe_groups(Context& context, const Json& input) {
  Json arns = array(input, "TargetGroupArns");
  Json names = array(input, "Names");
  std::string balancer = text(input, "LoadBalancerArn");
  if (static_cast<int>(!arns.empty()) + static_cast<int>(!names.empty()) + static_cast<int>(!balancer.empty()) > 1) {
    raise("ValidationError", "Target group names, target group ARNs, and a load balancer ARN cannot be specified at "
                             "the same time");
  }
  Json found = Json::array();
  for (const auto& arn : arns) {
    found.push_back(shown(context, load_target_group(context, arn.is_string() ? arn.get<std::string>() : "")));
  }
  for (const auto& name : names) {
    auto groups = list_where(context, kTargetGroupKind, "TargetGroupName",
                             name.is_string() ? name.get<std::string>() : "");
    if (groups.empty()) raise("TargetGroupNotFound", "One or more target groups not found");
    found.push_back(shown(context, groups.front()));
  }
  if (!balancer.empty()) load_load_balancer(context, balancer);
  if (arns.empty() && names.empty()) {
    for (auto& group : list(context, kTargetGroupKind)) {
      Json view = shown(context, group);
      bool wanted = balancer.empty();
      for (const auto& used : view["LoadBalancerArns"]) wanted = wanted || used == balancer;
      if (wanted) found.push_back(std::move(view));
    }
  }
  return {{"TargetGroups", found}};
}

Json modify_group(Context& context, const Json& input) {
  std::string id = required(input, "TargetGroupArn");
  Json group;
  transaction(context, [&] {
    group = load_target_group(context, id);
    apply_health_check(input, group);
    put(context, kTargetGroupKind, id, group);
  });
  return {{"TargetGroups", Json::array({shown(context, group)})}};
}

Json delete_group(Context& context, const Json& input) {
  std::string id = required(input, "TargetGroupArn");
  transaction(context, [&] {
    if (find(context, kTargetGroupKind, id).is_null()) return;
    if (uses_of_group(context, id) > 0) {
      raise("ResourceInUse", fmt::format("Target group '{}' is currently in use by a listener or a rule", id));
    }
    for (const auto& target : context.store.list_where(kTargetKind, "TargetGroupArn", id)) {
      erase(context, kTargetKind, target.id);
    }
    erase(context, kTargetGroupKind, id);
  });
  return Json::object();
}

// Settings that exclude each other.
void check_combination(const Json& values) {
  bool round_robin = values["load_balancing.algorithm.type"] == "round_robin";
  bool weighted = values["load_balancing.algorithm.type"] == "weighted_random";
  if (values["slow_start.duration_seconds"] != "0" && !round_robin) {
    raise("InvalidConfigurationRequest", "Slow start mode can only be enabled with the 'round_robin' algorithm");
  }
  if (values["load_balancing.algorithm.anomaly_mitigation"] == "on" && !weighted) {
    raise("InvalidConfigurationRequest",
          "Anomaly mitigation can only be enabled with the 'weighted_random' algorithm");
  }
  for (const char* kind : {"count", "percentage"}) {
    std::string routing = fmt::format("target_group_health.unhealthy_state_routing.minimum_healthy_targets.{}", kind);
    std::string dns = fmt::format("target_group_health.dns_failover.minimum_healthy_targets.{}", kind);
    if (values[routing] == "off" || values[dns] == "off") continue;
    if (std::stoi(text(values, dns.c_str())) >= std::stoi(text(values, routing.c_str()))) continue;
    raise("InvalidConfigurationRequest",
          fmt::format("The value of '{}' must be greater than or equal to the value of '{}'", dns, routing));
  }
  if (values["stickiness.enabled"] != "true") return;
  if (weighted) {
    raise("InvalidConfigurationRequest", "Stickiness cannot be enabled with the 'weighted_random' algorithm");
  }
  if (values["stickiness.type"] == "app_cookie" && values["stickiness.app_cookie.cookie_name"] == "") {
    raise("InvalidConfigurationRequest",
          "You must set an application cookie name to enable stickiness of type 'app_cookie'");
  }
  std::string cookie = text(values, "stickiness.app_cookie.cookie_name");
  if (cookie.starts_with("AWSALB")) {
    raise("InvalidConfigurationRequest", fmt::format("The application cookie name '{}' is reserved", cookie));
  }
}

// A rule with several groups must have group stickiness when one of them has target stickiness.
void check_rules_stickiness(Context& context, const std::string& id, const Json& values) {
  if (values["stickiness.enabled"] != "true") return;
  auto check = [&](const Json& actions, const std::string& owner) {
    for (const auto& action : actions) {
      if (!has(action, "ForwardConfig") || !forwarded_groups(Json::array({action})).contains(id)) continue;
      const Json& config = action["ForwardConfig"];
      if (config["TargetGroups"].size() < 2 || config["TargetGroupStickinessConfig"]["Enabled"] == true) continue;
      raise("InvalidConfigurationRequest",
            fmt::format("This target group appears behind a rule with group stickiness disabled ({}). You must enable "
                        "group stickiness before enabling target stickiness", owner));
    }
  };
  for (const auto& rule : list(context, kRuleKind)) check(array(rule, "Actions"), text(rule, "RuleArn"));
  for (const auto& listener : list(context, kListenerKind)) {
    check(array(listener, "DefaultActions"), text(listener, "ListenerArn"));
  }
}

Json describe_attributes(Context& context, const Json& input) {
  Json group = load_target_group(context, required(input, "TargetGroupArn"));
  return {{"Attributes", attribute_list(group["weir"]["attributes"])}};
}

Json modify_attributes(Context& context, const Json& input) {
  std::string id = required(input, "TargetGroupArn");
  Json group;
  transaction(context, [&] {
    group = load_target_group(context, id);
    Json& values = group["weir"]["attributes"];
    apply_attributes(values, array(input, "Attributes"), kAttributes, std::size(kAttributes), "Target group");
    check_combination(values);
    check_rules_stickiness(context, id, values);
    put(context, kTargetGroupKind, id, group);
  });
  return {{"Attributes", attribute_list(group["weir"]["attributes"])}};
}

}  // namespace

Json load_target_group(Context& context, const std::string& arn) {
  return load(context, kTargetGroupKind, arn, {"TargetGroupNotFound", "One or more target groups not found", 400});
}

void add_target_group_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "elbv2",
      {{"CreateTargetGroup", create_group},
       {"DescribeTargetGroups", describe_groups},
       {"ModifyTargetGroup", modify_group},
       {"DeleteTargetGroup", delete_group},
       {"DescribeTargetGroupAttributes", describe_attributes},
       {"ModifyTargetGroupAttributes", modify_attributes}});
}

}  // namespace weir::api
