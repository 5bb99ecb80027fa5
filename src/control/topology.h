// Which target group belongs to which load balancer, by listeners and rules. A group serves one load
// balancer (ELB API: TargetGroupAssociationLimit). Rebuilt when a listener or rule has changed. Control thread.
#pragma once

#include <map>
#include <set>
#include <string>

#include "store/store.h"

namespace weir::control {

class Topology {
 public:
  explicit Topology(store::Store& store) : store_(store) {}
  void invalidate() { valid_ = false; }
  // "" when no listener or rule forwards to the group.
  std::string balancer_of(const std::string& group_arn);
  const std::set<std::string>& groups_of(const std::string& balancer_arn);

 private:
  void build();
  store::Store& store_;
  bool valid_ = false;
  std::map<std::string, std::string> balancer_of_;
  std::map<std::string, std::set<std::string>> groups_of_;
};

}  // namespace weir::control
