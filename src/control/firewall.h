// Security groups as firewall rules of one interface. Control thread.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "model/snapshot.h"
#include "runtime/driver.h"
#include "store/store.h"

namespace weir::control {

class Firewalls {
 public:
  explicit Firewalls(store::Store& store) : store_(store) {}
  void invalidate() { valid_ = false; }

  // Rules of all `group_ids` together, with the member addresses of the groups they name.
  runtime::FirewallSpec resolve(const std::vector<std::string>& group_ids);
  // Who may open TCP connections, for the host side of a load balancer with these groups.
  std::vector<model::IngressRule> ingress(const std::vector<std::string>& group_ids);
  // One text per meaning: equal texts need no new rules.
  static std::string fingerprint(const runtime::FirewallSpec& spec);

 private:
  void build();
  void add_rules(const nlohmann::json& permission, runtime::FirewallRule::Direction direction,
                 runtime::FirewallSpec& spec);
  store::Store& store_;
  bool valid_ = false;
  std::map<std::string, std::set<std::string>> members_;  // group -> addresses of its interfaces
};

}  // namespace weir::control
