#include "control/firewall.h"

#include <nlohmann/json.hpp>

#include "control/documents.h"

namespace weir::control {

using runtime::FirewallRule;
using runtime::FirewallSpec;

namespace {
constexpr int kPortMax = 65535;
}

void Firewalls::build() {
  members_.clear();
  for (const auto& [id, eni] : load_all(store_, kind::kNetworkInterface)) {
    if (flag(weir_of(eni), "deleting")) continue;
    for (const Json& group : list(eni, "Groups")) {
      members_[text(group, "GroupId")].insert(text(eni, "PrivateIpAddress"));
    }
  }
  valid_ = true;
}

void Firewalls::add_rules(const Json& permission, FirewallRule::Direction direction, FirewallSpec& spec) {
  FirewallRule rule;
  rule.direction = direction;
  rule.protocol = text(permission, "IpProtocol", "-1");
  if (rule.protocol == "6") rule.protocol = "tcp";
  if (rule.protocol == "17") rule.protocol = "udp";
  rule.from_port = static_cast<int>(integer(permission, "FromPort", -1));
  rule.to_port = static_cast<int>(integer(permission, "ToPort", -1));
  for (const Json& range : list(permission, "IpRanges")) {
    FirewallRule one = rule;
    one.cidr = text(range, "CidrIp");
    one.comment = text(range, "Description");
    if (!one.cidr.empty()) spec.rules.push_back(std::move(one));
  }
  for (const Json& pair : list(permission, "UserIdGroupPairs")) {
    FirewallRule one = rule;
    one.group_id = text(pair, "GroupId");
    one.comment = text(pair, "Description");
    if (one.group_id.empty()) continue;
    auto found = members_.find(one.group_id);
    auto& addresses = spec.group_members[one.group_id];
    addresses.clear();
    if (found != members_.end()) addresses.assign(found->second.begin(), found->second.end());
    spec.rules.push_back(std::move(one));
  }
}

FirewallSpec Firewalls::resolve(const std::vector<std::string>& group_ids) {
  if (!valid_) build();
  FirewallSpec spec;
  for (const std::string& id : group_ids) {
    auto group = load(store_, kind::kSecurityGroup, id);
    if (!group) continue;
    for (const Json& p : list(*group, "IpPermissions")) add_rules(p, FirewallRule::Direction::Ingress, spec);
    for (const Json& p : list(*group, "IpPermissionsEgress")) add_rules(p, FirewallRule::Direction::Egress, spec);
  }
  return spec;
}

std::vector<model::IngressRule> Firewalls::ingress(const std::vector<std::string>& group_ids) {
  std::vector<model::IngressRule> out;
  FirewallSpec spec = resolve(group_ids);
  for (const FirewallRule& rule : spec.rules) {
    if (rule.direction != FirewallRule::Direction::Ingress) continue;
    if (rule.protocol != "tcp" && rule.protocol != "-1") continue;
    model::IngressRule ingress;
    if (rule.protocol == "tcp" && rule.from_port >= 0) {
      ingress.from_port = static_cast<uint16_t>(rule.from_port);
      ingress.to_port = static_cast<uint16_t>(rule.to_port < 0 ? kPortMax : rule.to_port);
    }
    if (!rule.cidr.empty()) {
      ingress.cidr = rule.cidr;
      out.push_back(ingress);
    }
    if (rule.group_id.empty()) continue;
    for (const std::string& address : spec.group_members[rule.group_id]) {
      ingress.cidr = address + "/32";
      out.push_back(ingress);
    }
  }
  return out;
}

std::string Firewalls::fingerprint(const FirewallSpec& spec) {
  std::string out;
  for (const FirewallRule& rule : spec.rules) {
    out += rule.direction == FirewallRule::Direction::Ingress ? "in " : "out ";
    out += rule.protocol + " " + std::to_string(rule.from_port) + "-" + std::to_string(rule.to_port) + " " +
           rule.cidr + rule.group_id + " " + rule.comment + "\n";
  }
  for (const auto& [group, addresses] : spec.group_members) {
    out += group;
    for (const std::string& address : addresses) out += " " + address;
    out += "\n";
  }
  return out;
}

}  // namespace weir::control
