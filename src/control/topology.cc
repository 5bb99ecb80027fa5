#include "control/topology.h"

#include <nlohmann/json.hpp>

#include "control/documents.h"

namespace weir::control {

namespace {
void collect_groups(const Json& actions, std::set<std::string>& groups) {
  for (const Json& action : actions) {
    if (std::string arn = text(action, "TargetGroupArn"); !arn.empty()) groups.insert(arn);
    for (const Json& group : list(member(action, "ForwardConfig"), "TargetGroups")) {
      if (std::string arn = text(group, "TargetGroupArn"); !arn.empty()) groups.insert(arn);
    }
  }
}
}  // namespace

void Topology::build() {
  balancer_of_.clear();
  groups_of_.clear();
  std::map<std::string, std::string> balancer_of_listener;
  for (const auto& [arn, listener] : load_all(store_, kind::kListener)) {
    std::string balancer = text(listener, "LoadBalancerArn");
    balancer_of_listener[arn] = balancer;
    collect_groups(list(listener, "DefaultActions"), groups_of_[balancer]);
  }
  for (const auto& [arn, rule] : load_all(store_, kind::kRule)) {
    auto listener = balancer_of_listener.find(text(rule, "ListenerArn"));
    if (listener != balancer_of_listener.end()) collect_groups(list(rule, "Actions"), groups_of_[listener->second]);
  }
  for (const auto& [balancer, groups] : groups_of_) {
    for (const std::string& group : groups) balancer_of_[group] = balancer;
  }
  valid_ = true;
}

std::string Topology::balancer_of(const std::string& group_arn) {
  if (!valid_) build();
  auto found = balancer_of_.find(group_arn);
  return found == balancer_of_.end() ? "" : found->second;
}

const std::set<std::string>& Topology::groups_of(const std::string& balancer_arn) {
  if (!valid_) build();
  return groups_of_[balancer_arn];
}

}  // namespace weir::control
