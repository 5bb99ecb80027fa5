#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/ec2.h"
#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

using Type = AttributeSpec::Type;
constexpr size_t kNameMax = 32;
constexpr size_t kSecurityGroupsMax = 5;
constexpr int kAddressesMax = 50;  // load balancers of one machine: 127.0.0.1 … 127.0.0.50

constexpr AttributeSpec kAttributes[] = {
    {Type::Integer, "idle_timeout.timeout_seconds", "60", 1, 4000},
    {Type::Integer, "client_keep_alive.seconds", "3600", 60, 604800},
    {Type::Boolean, "routing.http2.enabled", "true"},
    {Type::Boolean, "routing.http.drop_invalid_header_fields.enabled", "false"},
    {Type::Choice, "routing.http.desync_mitigation_mode", "defensive", 0, 0, "|monitor|defensive|strictest|"},
    {Type::Boolean, "routing.http.preserve_host_header.enabled", "false"},
    {Type::Boolean, "routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false"},
    {Type::Choice, "routing.http.xff_header_processing.mode", "append", 0, 0, "|append|preserve|remove|"},
    {Type::Boolean, "routing.http.xff_client_port.enabled", "false"},
    {Type::Boolean, "access_logs.s3.enabled", "false"},
    {Type::Text, "access_logs.s3.bucket", ""},
    {Type::Text, "access_logs.s3.prefix", ""},
    {Type::Boolean, "connection_logs.s3.enabled", "false"},
    {Type::Text, "connection_logs.s3.bucket", ""},
    {Type::Text, "connection_logs.s3.prefix", ""},
    {Type::Boolean, "health_check_logs.s3.enabled", "false"},
    {Type::Text, "health_check_logs.s3.bucket", ""},
    {Type::Text, "health_check_logs.s3.prefix", ""},
    {Type::Boolean, "deletion_protection.enabled", "false"},
    {Type::Boolean, "waf.fail_open.enabled", "false"},
    {Type::Choice, "load_balancing.cross_zone.enabled", "true", 0, 0, "|true|"},
    {Type::Boolean, "zonal_shift.config.enabled", "false"},
    {Type::Boolean, "ipv6.deny_all_igw_traffic", "false"},
    {Type::Boolean, "weir.strict_mode", "false"},
    {Type::Boolean, "weir.idle_timeout.ping_counts", "false"},
    {Type::Integer, "weir.client_requests.max", "10000", 0, 1000000000},
    {Type::Integer, "weir.client_streams.max", "128", 1, 10000},
    {Type::Boolean, "weir.adaptive_windows.enabled", "true"},
    {Type::Choice, "weir.logs.format", "alb", 0, 0, "|alb|json|"},
    {Type::Boolean, "weir.flight_recorder.enabled", "true"},
    {Type::Integer, "weir.slow_reader.timeout_seconds", "300", 0, 86400},
};

void check_name(const std::string& name) {
  if (name.empty()) raise("ValidationError", "A load balancer name must be specified");
  if (name.size() > kNameMax) {
    raise("ValidationError", fmt::format("The load balancer name '{}' cannot be longer than '32' characters", name));
  }
  bool valid = std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-'; });
  if (!valid) {
    raise("ValidationError", fmt::format("The load balancer name '{}' can only contain characters that are "
                                         "alphanumeric characters and hyphens(-)", name));
  }
  if (name.front() == '-' || name.back() == '-') {
    raise("ValidationError", fmt::format("The load balancer name '{}' cannot begin or end with '-'", name));
  }
  if (name.starts_with("internal-")) {
    raise("ValidationError", fmt::format("The load balancer name '{}' cannot begin with 'internal-'", name));
  }
}

struct Placement {
  std::string vpc_id;
  Json zones = Json::array();
};

std::vector<std::string> subnets_of(const Json& input) {
  std::vector<std::string> ids;
  for (const auto& id : array(input, "Subnets")) ids.push_back(id.is_string() ? id.get<std::string>() : id.dump());
  for (const auto& mapping : array(input, "SubnetMappings")) ids.push_back(text(mapping, "SubnetId"));
  return ids;
}

Placement place(Context& context, const Json& input) {
  Placement placement;
  std::set<std::string> zones;
  for (const auto& id : subnets_of(input)) {
    Json subnet = load(context, "ec2.subnet", id,
                       {"SubnetNotFound", fmt::format("The subnet ID '{}' does not exist", id), 400});
    std::string zone = text(subnet, "AvailabilityZone");
    std::string vpc = text(subnet, "VpcId");
    if (!placement.vpc_id.empty() && placement.vpc_id != vpc) {
      raise("InvalidConfigurationRequest", "All subnets must belong to the same VPC");
    }
    if (!zones.insert(zone).second) {
      raise("InvalidConfigurationRequest",
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone");
    }
    placement.vpc_id = vpc;
    placement.zones.push_back({{"ZoneName", zone}, {"SubnetId", id}, {"LoadBalancerAddresses", Json::array()}});
  }
  if (zones.size() < 2) {
    raise("ValidationError", "At least two subnets in two different Availability Zones must be specified");
  }
  return placement;
}

Json groups_of(Context& context, const Json& input, const std::string& vpc_id) {
  Json groups = array(input, "SecurityGroups");
  if (groups.empty()) return Json::array({default_security_group(context, vpc_id)});
  if (groups.size() > kSecurityGroupsMax) {
    raise("InvalidConfigurationRequest", "At most 5 security groups can be assigned to a load balancer");
  }
  for (const auto& id : groups) {
    Json group = find(context, "ec2.security-group", id.is_string() ? id.get<std::string>() : "");
    if (group.is_null()) {
      raise("InvalidConfigurationRequest", fmt::format("Security group '{}' does not exist",
                                                       id.is_string() ? id.get<std::string>() : id.dump()));
    }
    if (group["VpcId"] != vpc_id) {
      raise("InvalidConfigurationRequest", "One or more security groups are invalid");
    }
  }
  return groups;
}

std::string free_address(Context& context) {
  std::set<std::string> taken;
  for (const auto& balancer : list(context, kLoadBalancerKind)) taken.insert(weir_text(balancer, "address"));
  for (int last = 1; last <= kAddressesMax; ++last) {
    std::string address = fmt::format("127.0.0.{}", last);
    if (!taken.contains(address)) return address;
  }
  raise("TooManyLoadBalancers", "The quota of load balancers for this machine (50) has been reached");
}

Json make_balancer(Context& context, const Json& input, const std::string& name, const Placement& placement) {
  std::string id = context.random.hex(16);
  std::string scheme = text(input, "Scheme", "internet-facing");
  std::string prefix = scheme == "internal" ? "internal-" : "";
  Json attributes = attribute_defaults(kAttributes, std::size(kAttributes));
  if (scheme == "internal") attributes["ipv6.deny_all_igw_traffic"] = "true";
  Json settings = find(context, "weir.settings", "load-balancer");
  Json port_map = settings.is_object() ? settings.value("port_map", Json::object()) : Json::object();
  std::string address = settings.is_object() ? settings.value("address", "") : "";
  return {{"LoadBalancerArn", arn(context, "elasticloadbalancing", fmt::format("loadbalancer/app/{}/{}", name, id))},
          {"LoadBalancerName", name},
          {"DNSName", fmt::format("{}{}-{}.{}.elb.localhost", prefix, name, id, context.region)},
          {"CanonicalHostedZoneId", "Z35SXDOTRQ7X7K"},
          {"CreatedTime", now_seconds(context)},
          {"Scheme", scheme},
          {"Type", "application"},
          {"VpcId", placement.vpc_id},
          {"State", {{"Code", "provisioning"}}},
          {"AvailabilityZones", placement.zones},
          {"SecurityGroups", groups_of(context, input, placement.vpc_id)},
          {"IpAddressType", text(input, "IpAddressType", "ipv4")},
          {"Tags", tags_of(input)},
          {"weir", {{"attributes", attributes},
                    {"address", address.empty() ? free_address(context) : address},
                    {"port_map", port_map}}}};
}

void check_choices(const Json& input) {
  std::string scheme = text(input, "Scheme", "internet-facing");
  if (scheme != "internet-facing" && scheme != "internal") {
    raise("InvalidScheme", fmt::format("Scheme '{}' must be one of '[internet-facing, internal]'", scheme));
  }
  if (text(input, "Type", "application") != "application") {
    raise("ValidationError", fmt::format("Load balancer type '{}' is not supported here; use 'application'",
                                         text(input, "Type")));
  }
  if (text(input, "IpAddressType", "ipv4") != "ipv4") {
    raise("InvalidConfigurationRequest", fmt::format("IP address type '{}' is not supported here; use 'ipv4'",
                                                     text(input, "IpAddressType")));
  }
}

Json shown(Json balancer) {
  balancer.erase("Tags");
  return public_view(std::move(balancer));
}

// A living balancer with this name, or null.
Json find_by_name(Context& context, const std::string& name) {
  for (auto& balancer : list_where(context, kLoadBalancerKind, "LoadBalancerName", name)) {
    if (!is_deleting(balancer)) return balancer;
  }
  return Json();
}

bool same_settings(const Json& a, const Json& b) {
  for (const char* member : {"Scheme", "Type", "VpcId", "SecurityGroups", "AvailabilityZones", "IpAddressType"}) {
    if (a[member] != b[member]) return false;
  }
  return true;
}

Json create_balancer(Context& context, const Json& input) {
  std::string name = text(input, "Name");
  check_name(name);
  check_choices(input);
  Json result;
  transaction(context, [&] {
    Placement placement = place(context, input);
    result = make_balancer(context, input, name, placement);
    Json existing = find_by_name(context, name);
    if (!existing.is_null()) {
      if (!same_settings(existing, result)) {
        raise("DuplicateLoadBalancerName",
              fmt::format("A load balancer with the same name '{}' exists, but with different settings", name));
      }
      result = existing;
      return;
    }
    put(context, kLoadBalancerKind, text(result, "LoadBalancerArn"), result);
  });
  return {{"LoadBalancers", Json::array({shown(result)})}};
}

Json describe_balancers(Context& context, const Json& input) {
  Json found = Json::array();
  Json arns = array(input, "LoadBalancerArns");
  Json names = array(input, "Names");
  for (const auto& arn : arns) {
    std::string wanted = arn.is_string() ? arn.get<std::string>() : "";
    found.push_back(shown(load_load_balancer(context, wanted)));
  }
  for (const auto& name : names) {
    std::string wanted = name.is_string() ? name.get<std::string>() : "";
    auto balancers = list_where(context, kLoadBalancerKind, "LoadBalancerName", wanted);
    if (balancers.empty()) raise("LoadBalancerNotFound", fmt::format("Load balancers '[{}]' not found", wanted));
    Json living = find_by_name(context, wanted);
    found.push_back(shown(living.is_null() ? balancers.front() : living));
  }
  if (arns.empty() && names.empty()) {
    for (auto& balancer : list(context, kLoadBalancerKind)) found.push_back(shown(balancer));
  }
  return {{"LoadBalancers", found}};
}

Json delete_balancer(Context& context, const Json& input) {
  std::string id = required(input, "LoadBalancerArn");
  transaction(context, [&] {
    Json balancer = find(context, kLoadBalancerKind, id);
    if (balancer.is_null() || is_deleting(balancer)) return;
    if (balancer["weir"]["attributes"].value("deletion_protection.enabled", "false") == "true") {
      raise("OperationNotPermitted",
            fmt::format("Load balancer '{}' cannot be deleted because deletion protection is enabled", id));
    }
    for (const auto& listener : list_where(context, kListenerKind, "LoadBalancerArn", id)) {
      std::string listener_arn = text(listener, "ListenerArn");
      for (const auto& rule : list_where(context, kRuleKind, "ListenerArn", listener_arn)) {
        erase(context, kRuleKind, text(rule, "RuleArn"));
      }
      erase(context, kListenerKind, listener_arn);
    }
    balancer["weir"]["deleting"] = true;
    put(context, kLoadBalancerKind, id, balancer);
  });
  return Json::object();
}

Json describe_attributes(Context& context, const Json& input) {
  Json balancer = load_load_balancer(context, required(input, "LoadBalancerArn"));
  return {{"Attributes", attribute_list(balancer["weir"]["attributes"])}};
}

Json modify_attributes(Context& context, const Json& input) {
  std::string id = required(input, "LoadBalancerArn");
  Json balancer;
  transaction(context, [&] {
    balancer = load_load_balancer(context, id);
    Json& values = balancer["weir"]["attributes"];
    apply_attributes(values, array(input, "Attributes"), kAttributes, std::size(kAttributes), "Load balancer");
    for (const char* log : {"access_logs", "connection_logs", "health_check_logs"}) {
      if (values[fmt::format("{}.s3.enabled", log)] == "true" && values[fmt::format("{}.s3.bucket", log)] == "") {
        raise("InvalidConfigurationRequest", "The value of '" + std::string(log) + ".s3.bucket' cannot be empty");
      }
    }
    put(context, kLoadBalancerKind, id, balancer);
  });
  return {{"Attributes", attribute_list(balancer["weir"]["attributes"])}};
}

Json set_security_groups(Context& context, const Json& input) {
  std::string id = required(input, "LoadBalancerArn");
  Json balancer;
  transaction(context, [&] {
    balancer = load_load_balancer(context, id);
    balancer["SecurityGroups"] = groups_of(context, input, text(balancer, "VpcId"));
    put(context, kLoadBalancerKind, id, balancer);
  });
  return {{"SecurityGroupIds", balancer["SecurityGroups"]}};
}

Json set_subnets(Context& context, const Json& input) {
  std::string id = required(input, "LoadBalancerArn");
  Json balancer;
  transaction(context, [&] {
    balancer = load_load_balancer(context, id);
    Placement placement = place(context, input);
    if (placement.vpc_id != text(balancer, "VpcId")) {
      raise("InvalidConfigurationRequest", "The subnets must belong to the VPC of the load balancer");
    }
    balancer["AvailabilityZones"] = placement.zones;
    put(context, kLoadBalancerKind, id, balancer);
  });
  return {{"AvailabilityZones", balancer["AvailabilityZones"]}, {"IpAddressType", balancer["IpAddressType"]}};
}

Json set_ip_address_type(Context& context, const Json& input) {
  Json balancer = load_load_balancer(context, required(input, "LoadBalancerArn"));
  check_choices(input);
  return {{"IpAddressType", balancer["IpAddressType"]}};
}

Json describe_capacity(Context& context, const Json& input) {
  load_load_balancer(context, required(input, "LoadBalancerArn"));
  return {{"DecreaseRequestsRemaining", 2}, {"CapacityReservationState", Json::array()}};
}

}  // namespace

Json load_load_balancer(Context& context, const std::string& arn) {
  return load(context, kLoadBalancerKind, arn,
              {"LoadBalancerNotFound", fmt::format("Load balancers '[{}]' not found", arn), 400});
}

void add_load_balancer_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "elbv2",
      {{"CreateLoadBalancer", create_balancer},
       {"DescribeLoadBalancers", describe_balancers},
       {"DeleteLoadBalancer", delete_balancer},
       {"DescribeLoadBalancerAttributes", describe_attributes},
       {"ModifyLoadBalancerAttributes", modify_attributes},
       {"SetSecurityGroups", set_security_groups},
       {"SetSubnets", set_subnets},
       {"SetIpAddressType", set_ip_address_type},
       {"DescribeCapacityReservation", describe_capacity}});
}

}  // namespace weir::api
