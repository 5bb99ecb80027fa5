// Rules of security groups: reading them from an input, comparing, merging.
#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "api/support.h"

namespace weir::api {

// One rule: one protocol and port range with one peer.
struct Permission {
  std::string protocol;  // "tcp", "udp", "icmp", "icmpv6", "-1" or a number
  int64_t from_port = -1;
  int64_t to_port = -1;
  std::string cidr;      // one of cidr, cidr6 and group_id is set
  std::string cidr6;
  std::string group_id;
  std::string description;

  // The description does not distinguish rules.
  bool same_rule(const Permission& other) const;
};

// Reads IpPermissions[] or the flat form (IpProtocol, FromPort, ToPort, CidrIp, …) of an input, or a stored
// IpPermissions list. Malformed: InvalidPermission.Malformed or InvalidParameterValue.
std::vector<Permission> read_permissions(const Json& input);
std::vector<Permission> read_permission_list(const Json& permissions);
// As Describe shows them: permissions with the same protocol and ports in one entry.
Json merge_permissions(const std::vector<Permission>& permissions, const std::string& account);
// `peer: 0.0.0.0/0, TCP, from port: 443, to port: 443, ALLOW`
std::string describe_permission(const Permission& permission);

}  // namespace weir::api
