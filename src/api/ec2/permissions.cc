#include "api/ec2/permissions.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/cidr.h"

namespace weir::api {
namespace {

std::string normal_protocol(const std::string& given) {
  std::string lower;
  for (char c : given) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "6") return "tcp";
  if (lower == "17") return "udp";
  if (lower == "1") return "icmp";
  if (lower == "58") return "icmpv6";
  if (lower == "all") return "-1";
  for (const char* known : {"tcp", "udp", "icmp", "icmpv6", "-1"}) {
    if (lower == known) return lower;
  }
  bool number = !lower.empty() && lower.size() <= 3 && std::all_of(lower.begin(), lower.end(), [](char c) {
    return c >= '0' && c <= '9';
  });
  if (number) return lower;
  raise("InvalidPermission.Malformed", fmt::format("Unsupported IP protocol \"{}\"  - supported: [tcp, udp, icmp, "
                                                   "icmpv6, -1]", given));
}

// Protocol and ports of one entry.
Permission read_frame(const Json& entry) {
  std::string protocol = text(entry, "IpProtocol");
  if (protocol.empty()) raise("MissingParameter", "The request must contain the parameter ipProtocol");
  Permission frame;
  frame.protocol = normal_protocol(protocol);
  bool ports = frame.protocol == "tcp" || frame.protocol == "udp";
  bool icmp = frame.protocol == "icmp" || frame.protocol == "icmpv6";
  if (!ports && !icmp) return frame;
  auto from = optional_integer(entry, "FromPort");
  auto to = optional_integer(entry, "ToPort");
  if (ports && (!from || !to)) {
    raise("InvalidParameterValue", fmt::format("Invalid value 'Must specify both from and to ports with TCP/UDP.' for "
                                               "portRange."));
  }
  frame.from_port = from.value_or(-1);
  frame.to_port = to.value_or(-1);
  if (ports && frame.from_port == -1 && frame.to_port == -1) {
    frame.from_port = 0;
    frame.to_port = 65535;
  }
  bool in_range = frame.from_port >= (icmp ? -1 : 0) && frame.from_port <= 65535 && frame.to_port <= 65535;
  if (!in_range || (ports && frame.to_port < frame.from_port)) {
    raise("InvalidParameterValue", fmt::format("Invalid value '{}-{}' for portRange.", frame.from_port, frame.to_port));
  }
  return frame;
}

std::string normal_cidr(const std::string& given) {
  auto cidr = parse_cidr(given);
  if (!cidr) raise("InvalidParameterValue", fmt::format("CIDR block {} is malformed", given));
  return format_cidr(*cidr);
}

void read_entry(const Json& entry, std::vector<Permission>& into) {
  Permission frame = read_frame(entry);
  for (const auto& range : array(entry, "IpRanges")) {
    Permission rule = frame;
    rule.cidr = normal_cidr(text(range, "CidrIp"));
    rule.description = text(range, "Description");
    into.push_back(rule);
  }
  for (const auto& range : array(entry, "Ipv6Ranges")) {
    Permission rule = frame;
    rule.cidr6 = text(range, "CidrIpv6");
    rule.description = text(range, "Description");
    into.push_back(rule);
  }
  for (const auto& pair : array(entry, "UserIdGroupPairs")) {
    Permission rule = frame;
    rule.group_id = text(pair, "GroupId");
    if (rule.group_id.empty()) raise("MissingParameter", "The request must contain the parameter groupId");
    rule.description = text(pair, "Description");
    into.push_back(rule);
  }
}

// The flat form, as CloudFormation and old clients give it.
void read_flat(const Json& input, std::vector<Permission>& into) {
  Permission rule = read_frame(input);
  rule.description = text(input, "Description");
  std::string group = text(input, "SourceSecurityGroupId", text(input, "DestinationSecurityGroupId"));
  if (auto cidr = optional_text(input, "CidrIp")) rule.cidr = normal_cidr(*cidr);
  rule.cidr6 = text(input, "CidrIpv6");
  rule.group_id = group;
  if (!rule.cidr.empty() || !rule.cidr6.empty() || !rule.group_id.empty()) into.push_back(rule);
}

}  // namespace

bool Permission::same_rule(const Permission& other) const {
  return protocol == other.protocol && from_port == other.from_port && to_port == other.to_port &&
         cidr == other.cidr && cidr6 == other.cidr6 && group_id == other.group_id;
}

std::vector<Permission> read_permission_list(const Json& permissions) {
  std::vector<Permission> rules;
  for (const auto& entry : permissions) read_entry(entry, rules);
  return rules;
}

std::vector<Permission> read_permissions(const Json& input) {
  std::vector<Permission> rules = read_permission_list(array(input, "IpPermissions"));
  if (has(input, "IpProtocol")) read_flat(input, rules);
  return rules;
}

Json merge_permissions(const std::vector<Permission>& permissions, const std::string& account) {
  Json merged = Json::array();
  for (const auto& rule : permissions) {
    Json* entry = nullptr;
    for (auto& other : merged) {
      if (other["IpProtocol"] == rule.protocol && other.value("FromPort", int64_t{-1}) == rule.from_port &&
          other.value("ToPort", int64_t{-1}) == rule.to_port) {
        entry = &other;
      }
    }
    if (entry == nullptr) {
      Json created{{"IpProtocol", rule.protocol}, {"IpRanges", Json::array()}, {"Ipv6Ranges", Json::array()},
                   {"PrefixListIds", Json::array()}, {"UserIdGroupPairs", Json::array()}};
      if (rule.protocol != "-1") {
        created["FromPort"] = rule.from_port;
        created["ToPort"] = rule.to_port;
      }
      merged.push_back(std::move(created));
      entry = &merged.back();
    }
    Json peer = Json::object();
    if (!rule.description.empty()) peer["Description"] = rule.description;
    if (!rule.cidr.empty()) {
      peer["CidrIp"] = rule.cidr;
      (*entry)["IpRanges"].push_back(peer);
    } else if (!rule.cidr6.empty()) {
      peer["CidrIpv6"] = rule.cidr6;
      (*entry)["Ipv6Ranges"].push_back(peer);
    } else {
      peer["GroupId"] = rule.group_id;
      peer["UserId"] = account;
      (*entry)["UserIdGroupPairs"].push_back(peer);
    }
  }
  return merged;
}

std::string describe_permission(const Permission& permission) {
  std::string peer = !permission.cidr.empty() ? permission.cidr
                     : !permission.cidr6.empty() ? permission.cidr6
                                                 : permission.group_id;
  std::string protocol;
  for (char c : permission.protocol) protocol += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (permission.protocol == "-1") return fmt::format("peer: {}, ALL, ALLOW", peer);
  return fmt::format("peer: {}, {}, from port: {}, to port: {}, ALLOW", peer, protocol, permission.from_port,
                     permission.to_port);
}

}  // namespace weir::api
