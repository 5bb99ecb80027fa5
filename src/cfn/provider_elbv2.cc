// AWS::ElasticLoadBalancingV2: load balancers and target groups.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "cfn/provider_util.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

json balancer_of(const ResourceCall& c) {
  return describe_one(c, "elbv2", "DescribeLoadBalancers", {{"LoadBalancerArns", {c.physical_id}}},
                      "LoadBalancers");
}

// What has this name, if its tags say that it is ours.
std::string find_named(const ResourceCall& c, std::string_view operation, std::string_view list,
                       std::string_view arn) {
  for (const json& item : describe(c, "elbv2", operation, {{"Names", {c.name}}}, list)) {
    std::string found = text_at(item, arn);
    json tags = describe_one(c, "elbv2", "DescribeTags", {{"ResourceArns", {found}}}, "TagDescriptions");
    if (tags.is_object() && is_ours(c, tags.value("Tags", json::array())) && !excluded(c, found)) return found;
  }
  return {};
}

void update_tags(const ResourceCall& c) {
  if (!changed(c, "Tags")) return;
  json removed = removed_tag_keys(c);
  if (!removed.empty())
    c.api.call("elbv2", "RemoveTags", {{"ResourceArns", {c.physical_id}}, {"TagKeys", removed}});
  if (tag_list(c.properties).empty()) return;
  c.api.call("elbv2", "AddTags", {{"ResourceArns", {c.physical_id}}, {"Tags", tag_list(c.properties)}});
}

std::string create_balancer(const ResourceCall& c) {
  json input =
      pick(c.properties, {"Scheme", "Type", "Subnets", "SubnetMappings", "SecurityGroups", "IpAddressType"});
  input["Name"] = c.name;
  input["Tags"] = c.tags;
  return text_at(c.api.call("elbv2", "CreateLoadBalancer", input)["LoadBalancers"].at(0), "LoadBalancerArn");
}

void configure_balancer(const ResourceCall& c) {
  json attributes = c.properties.value("LoadBalancerAttributes", json::array());
  if (attributes.empty()) return;
  c.api.call("elbv2", "ModifyLoadBalancerAttributes",
             {{"LoadBalancerArn", c.physical_id}, {"Attributes", attributes}});
}

void update_balancer(const ResourceCall& c) {
  json arn = {{"LoadBalancerArn", c.physical_id}};
  auto set = [&](std::string_view operation, const std::vector<std::string>& names) {
    if (!any_changed(c, names)) return;
    json input = pick(c.properties, names);
    if (input.empty()) return;
    input.update(arn);
    c.api.call("elbv2", operation, input);
  };
  set("SetSubnets", {"Subnets", "SubnetMappings"});
  set("SetSecurityGroups", {"SecurityGroups"});
  set("SetIpAddressType", {"IpAddressType"});
  if (changed(c, "LoadBalancerAttributes")) configure_balancer(c);
  update_tags(c);
}

Progress balancer_stabilized(const ResourceCall& c) {
  json balancer = balancer_of(c);
  if (balancer.is_null())
    return Progress::failed("Load balancer " + c.physical_id + " does not exist any more.");
  json state = balancer.value("State", json::object());
  std::string code = text_at(state, "Code");
  if (code == "failed") {
    return Progress::failed("Load balancer " + c.name + " failed to start: " + text_at(state, "Reason"));
  }
  return code == "active" ? Progress::done() : Progress::waiting();
}

// "…:loadbalancer/app/NAME/ID" → "app/NAME/ID".
std::string after(const std::string& arn, std::string_view mark) {
  size_t at = arn.find(mark);
  return at == std::string::npos ? arn : arn.substr(at + mark.size());
}

json balancer_values(const ResourceCall& c) {
  json b = balancer_of(c);
  if (!b.is_object()) return json::object();
  return {{"DNSName", text_at(b, "DNSName")},
          {"CanonicalHostedZoneID", text_at(b, "CanonicalHostedZoneId")},
          {"LoadBalancerFullName", after(c.physical_id, ":loadbalancer/")},
          {"LoadBalancerName", text_at(b, "LoadBalancerName")},
          {"LoadBalancerArn", c.physical_id},
          {"SecurityGroups", b.value("SecurityGroups", json::array())}};
}

const std::vector<std::string> kHealthCheck = {
    "HealthCheckEnabled",    "HealthCheckIntervalSeconds", "HealthCheckPath",
    "HealthCheckPort",       "HealthCheckProtocol",        "HealthCheckTimeoutSeconds",
    "HealthyThresholdCount", "UnhealthyThresholdCount",    "Matcher"};

json group_of(const ResourceCall& c) {
  return describe_one(c, "elbv2", "DescribeTargetGroups", {{"TargetGroupArns", {c.physical_id}}},
                      "TargetGroups");
}

std::string create_target_group(const ResourceCall& c) {
  json input =
      pick(c.properties, {"Port", "Protocol", "ProtocolVersion", "VpcId", "TargetType", "IpAddressType"});
  input.update(pick(c.properties, kHealthCheck));
  input["Name"] = c.name;
  input["Tags"] = c.tags;
  return text_at(c.api.call("elbv2", "CreateTargetGroup", input)["TargetGroups"].at(0), "TargetGroupArn");
}

void set_attributes(const ResourceCall& c) {
  json attributes = c.properties.value("TargetGroupAttributes", json::array());
  if (attributes.empty()) return;
  c.api.call("elbv2", "ModifyTargetGroupAttributes",
             {{"TargetGroupArn", c.physical_id}, {"Attributes", attributes}});
}

void change_targets(const ResourceCall& c, std::string_view operation, const json& targets) {
  if (!targets.empty())
    c.api.call("elbv2", operation, {{"TargetGroupArn", c.physical_id}, {"Targets", targets}});
}

json only_in(const json& list, const json& other) {
  json out = json::array();
  for (const json& item : list) {
    if (std::find(other.begin(), other.end(), item) == other.end()) out.push_back(item);
  }
  return out;
}

void configure_target_group(const ResourceCall& c) {
  set_attributes(c);
  change_targets(c, "RegisterTargets", c.properties.value("Targets", json::array()));
}

void update_target_group(const ResourceCall& c) {
  if (any_changed(c, kHealthCheck)) {
    json input = pick(c.properties, kHealthCheck);
    input["TargetGroupArn"] = c.physical_id;
    c.api.call("elbv2", "ModifyTargetGroup", input);
  }
  if (changed(c, "TargetGroupAttributes")) set_attributes(c);
  json now = c.properties.value("Targets", json::array());
  json before = c.old_properties.value("Targets", json::array());
  change_targets(c, "RegisterTargets", only_in(now, before));
  change_targets(c, "DeregisterTargets", only_in(before, now));
  update_tags(c);
}

json target_group_values(const ResourceCall& c) {
  json group = group_of(c);
  if (!group.is_object()) return json::object();
  return {{"TargetGroupArn", c.physical_id},
          {"TargetGroupName", text_at(group, "TargetGroupName")},
          {"TargetGroupFullName", "targetgroup/" + after(c.physical_id, ":targetgroup/")},
          {"LoadBalancerArns", group.value("LoadBalancerArns", json::array())}};
}

}  // namespace

const std::vector<Provider>& elbv2_providers() {
  static const std::vector<Provider> kTable = {
      {.type = "AWS::ElasticLoadBalancingV2::LoadBalancer",
       .service = "ElasticLoadBalancingV2",
       .properties =
           "Name^: string; Scheme^: string(internet-facing|internal); Type^: string(application);"
           "Subnets: [string]; SubnetMappings: [{SubnetId*: string; -AllocationId; -PrivateIPv4Address;"
           "  -IPv6Address}]; SecurityGroups: [string]; IpAddressType: string(ipv4|dualstack);"
           "LoadBalancerAttributes: [{Key*: string; Value*: string}]; Tags: [Tag]",
       .attributes = "DNSName CanonicalHostedZoneID LoadBalancerFullName LoadBalancerName LoadBalancerArn "
                     "SecurityGroups[]",
       .name_property = "Name",
       .name_max = 32,
       .create = create_balancer,
       .find =
           [](const ResourceCall& c) {
             return find_named(c, "DescribeLoadBalancers", "LoadBalancers", "LoadBalancerArn");
           },
       .configure = configure_balancer,
       .update = update_balancer,
       .stabilized = balancer_stabilized,
       .values = balancer_values,
       .remove =
           [](const ResourceCall& c) {
             call_if_exists(c, "elbv2", "DeleteLoadBalancer", {{"LoadBalancerArn", c.physical_id}});
           },
       .gone = [](const ResourceCall& c) { return balancer_of(c).is_null(); }},
      {.type = "AWS::ElasticLoadBalancingV2::TargetGroup",
       .service = "ElasticLoadBalancingV2",
       .properties =
           "Name^: string; Port^: integer(1..65535); Protocol^: string(HTTP|HTTPS);"
           "ProtocolVersion^: string(GRPC|HTTP2); VpcId^: string; TargetType^: string(ip|instance);"
           "IpAddressType^: string(ipv4|ipv6); HealthCheckEnabled: boolean; HealthCheckPath: string;"
           "HealthCheckPort: string; HealthCheckProtocol: string(HTTP|HTTPS);"
           "HealthCheckIntervalSeconds: integer(5..300); HealthCheckTimeoutSeconds: integer(2..120);"
           "HealthyThresholdCount: integer(2..10); UnhealthyThresholdCount: integer(2..10);"
           "Matcher: {GrpcCode: string; HttpCode: string};"
           "TargetGroupAttributes: [{Key*: string; Value*: string}];"
           "Targets: [{Id*: string; Port: integer(1..65535); AvailabilityZone: string}]; Tags: [Tag]",
       .attributes = "TargetGroupArn TargetGroupName TargetGroupFullName LoadBalancerArns[]",
       .name_property = "Name",
       .name_max = 32,
       .create = create_target_group,
       .find =
           [](const ResourceCall& c) {
             return find_named(c, "DescribeTargetGroups", "TargetGroups", "TargetGroupArn");
           },
       .configure = configure_target_group,
       .update = update_target_group,
       .values = target_group_values,
       .remove =
           [](const ResourceCall& c) {
             call_if_exists(c, "elbv2", "DeleteTargetGroup", {{"TargetGroupArn", c.physical_id}});
           },
       .gone = [](const ResourceCall& c) { return group_of(c).is_null(); }},
  };
  return kTable;
}

}  // namespace weir::cfn
