#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/cidr.h"
#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

constexpr size_t kTargetsMax = 1000;
constexpr const char* kPrivateRanges[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"};

struct TargetKey {
  std::string ip;
  int64_t port = 0;
};

std::string document_id(const std::string& group_arn, const TargetKey& key) {
  return fmt::format("{}|{}|{}", group_arn, key.ip, key.port);
}

TargetKey read_key(const Json& target, const Json& group) {
  TargetKey key{text(target, "Id"), integer(target, "Port", integer(group, "Port", 0))};
  if (key.ip.empty()) raise("ValidationError", "A target ID must be specified");
  if (key.port < 1 || key.port > 65535) {
    raise("ValidationError", fmt::format("Target port '{}' must be between '1-65535' inclusive", key.port));
  }
  return key;
}

bool in_host_network(Context& context, const Json& group) {
  Json vpc = find(context, "ec2.vpc", text(group, "VpcId"));
  return vpc.is_object() && vpc.contains("weir") && vpc["weir"].value("default", false);
}

// An `ip` target lies in the VPC or in a private range. The default VPC is the host's own network: there
// any address is meant.
void check_address(Context& context, const Json& group, const std::string& ip) {
  if (group["TargetType"] != "ip") {
    raise("InvalidTarget",
          fmt::format("The following targets are not in a running state and cannot be registered: '{}'", ip));
  }
  auto address = parse_ipv4(ip);
  if (!address) raise("ValidationError", fmt::format("The IP address '{}' is not a valid IPv4 address", ip));
  if (in_host_network(context, group)) return;
  Json vpc = find(context, "ec2.vpc", text(group, "VpcId"));
  auto own = vpc.is_object() ? parse_cidr(text(vpc, "CidrBlock")) : std::nullopt;
  if (own && own->contains_address(*address)) return;
  for (const char* range : kPrivateRanges) {
    if (parse_cidr(range)->contains_address(*address)) return;
  }
  raise("InvalidTarget", fmt::format("The IP address '{}' is not within the VPC's CIDR blocks or a private range", ip));
}

// The zone of the subnet that holds the address, or what the caller said.
std::string zone_of(Context& context, const Json& group, const Json& target, const std::string& ip) {
  std::string given = text(target, "AvailabilityZone");
  if (!given.empty()) return given;
  auto address = parse_ipv4(ip);
  for (const auto& subnet : list_where(context, "ec2.subnet", "VpcId", text(group, "VpcId"))) {
    auto cidr = parse_cidr(text(subnet, "CidrBlock"));
    if (address && cidr && cidr->contains_address(*address)) return text(subnet, "AvailabilityZone");
  }
  return "all";
}

Json register_targets(Context& context, const Json& input) {
  std::string group_arn = required(input, "TargetGroupArn");
  Json targets = array(input, "Targets");
  if (targets.empty()) raise("ValidationError", "A target must be specified");
  transaction(context, [&] {
    Json group = load_target_group(context, group_arn);
    size_t known = list_where(context, kTargetKind, "TargetGroupArn", group_arn).size();
    if (known + targets.size() > kTargetsMax) {
      raise("TooManyTargets", fmt::format("You have reached the maximum number of targets for target group '{}'",
                                          group_arn));
    }
    for (const auto& target : targets) {
      TargetKey key = read_key(target, group);
      check_address(context, group, key.ip);
      std::string id = document_id(group_arn, key);
      Json existing = find(context, kTargetKind, id);
      bool registered = existing.is_object() && !existing["weir"].contains("deregistering_since");
      if (registered) continue;
      put(context, kTargetKind, id,
          {{"TargetGroupArn", group_arn},
           {"Id", key.ip},
           {"Port", key.port},
           {"AvailabilityZone", zone_of(context, group, target, key.ip)},
           {"weir", {{"registered_at", now_seconds(context)}}}});
    }
  });
  return Json::object();
}

Json deregister_targets(Context& context, const Json& input) {
  std::string group_arn = required(input, "TargetGroupArn");
  transaction(context, [&] {
    Json group = load_target_group(context, group_arn);
    for (const auto& target : array(input, "Targets")) {
      bool any_port = !has(target, "Port");
      TargetKey wanted = read_key(target, group);
      for (auto& document : list_where(context, kTargetKind, "TargetGroupArn", group_arn)) {
        TargetKey key{text(document, "Id"), integer(document, "Port", 0)};
        if (key.ip != wanted.ip || (!any_port && key.port != wanted.port)) continue;
        if (document["weir"].contains("deregistering_since")) continue;
        document["weir"]["deregistering_since"] = now_seconds(context);
        put(context, kTargetKind, document_id(group_arn, key), document);
      }
    }
  });
  return Json::object();
}

// What the answer needs to know of a group besides its targets.
struct GroupHealth {
  bool used = false;  // a listener or rule forwards to it
  Context::HealthOfGroup seen;
};

GroupHealth group_health(Context& context, const std::string& group_arn) {
  GroupHealth health;
  health.used = uses_of_group(context, group_arn) > 0;
  if (context.health) health.seen = context.health(group_arn);
  return health;
}

TargetHealth health_of(const Json& target, const GroupHealth& group) {
  if (target["weir"].contains("deregistering_since")) {
    return {"draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"};
  }
  if (!group.used) {
    return {"unused", "Target.NotInUse",
            "Target group is not configured to receive traffic from the load balancer"};
  }
  auto seen = group.seen.find({text(target, "Id"), static_cast<int>(integer(target, "Port", 0))});
  if (seen != group.seen.end()) return seen->second;
  return {"initial", "Elb.RegistrationInProgress", "Target registration is in progress"};
}

// Include: "AnomalyDetection" or "All".
bool wants_anomalies(const Json& input) {
  Json include = array(input, "Include");
  return std::any_of(include.begin(), include.end(),
                     [](const Json& value) { return value == "AnomalyDetection" || value == "All"; });
}

Json health_view(const Json& input, const Json& group, const Json& target, const TargetHealth& health) {
  Json state{{"State", health.state}};
  if (!health.reason.empty()) state["Reason"] = health.reason;
  if (!health.description.empty()) state["Description"] = health.description;
  Json shown{{"Id", target["Id"]}, {"Port", target["Port"]}};
  if (target.contains("AvailabilityZone")) shown["AvailabilityZone"] = target["AvailabilityZone"];
  std::string port = text(group, "HealthCheckPort");
  if (port == "traffic-port") port = text(target, "Port");
  Json view{{"Target", shown}, {"HealthCheckPort", port}, {"TargetHealth", state}};
  if (!health.anomaly.empty() && wants_anomalies(input)) {
    view["AnomalyDetection"] = {{"Result", health.anomaly}, {"MitigationInEffect", health.mitigated ? "yes" : "no"}};
  }
  return view;
}

Json describe_health(Context& context, const Json& input) {
  std::string group_arn = required(input, "TargetGroupArn");
  Json group = load_target_group(context, group_arn);
  GroupHealth health = group_health(context, group_arn);
  Json descriptions = Json::array();
  Json wanted = array(input, "Targets");
  if (wanted.empty()) {
    for (const auto& target : list_where(context, kTargetKind, "TargetGroupArn", group_arn)) {
      descriptions.push_back(health_view(input, group, target, health_of(target, health)));
    }
  }
  for (const auto& given : wanted) {
    TargetKey key = read_key(given, group);
    Json target = find(context, kTargetKind, document_id(group_arn, key));
    if (target.is_null()) {
      TargetHealth unknown{"unused", "Target.NotRegistered", "Target is not registered to the target group"};
      descriptions.push_back(health_view(input, group, {{"Id", key.ip}, {"Port", key.port}}, unknown));
    } else {
      descriptions.push_back(health_view(input, group, target, health_of(target, health)));
    }
  }
  return {{"TargetHealthDescriptions", descriptions}};
}

}  // namespace

void add_target_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "elbv2",
      {{"RegisterTargets", register_targets},
       {"DeregisterTargets", deregister_targets},
       {"DescribeTargetHealth", describe_health}});
}

}  // namespace weir::api
