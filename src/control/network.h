// Makes VPCs and network interfaces real: fabric namespaces, interface namespaces with their addresses,
// and their firewalls (security groups). See docs/store-documents.md: ec2.vpc, ec2.network-interface.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "control/context.h"
#include "control/firewall.h"
#include "control/work_queue.h"

namespace weir::control {

class NetworkReconciler {
 public:
  explicit NetworkReconciler(Context& context) : context_(context), firewalls_(context.store) {}

  // Keys: "vpc|ID" and "eni|ID".
  StepResult step(const std::string& key);
  void vpc_changed(const std::string& id) { wake("vpc|" + id); }
  // An interface or a security group has changed: memberships of every interface may have.
  void interface_changed(const std::string& id);
  void security_groups_changed();
  // Removes namespaces that no document explains (left by a crash).
  void remove_leftovers();

 private:
  struct Eni;  // the parts of an interface's document that are used here
  void wake(const std::string& key) { context_.wake(Queue::Network, key); }
  StepResult vpc_step(const std::string& key, const std::string& id);
  StepResult remove_vpc(const std::string& key, const std::string& id);
  StepResult eni_step(const std::string& key, const std::string& id);
  StepResult remove_eni(const std::string& key, const std::string& id);
  StepResult attach(const std::string& key, const std::string& id);
  StepResult attach_address(const std::string& key, const std::string& id);
  StepResult refresh_firewall(const std::string& key, const std::string& id);
  void mark_in_use(const std::string& id, const std::string& netns);
  void wake_owner(const std::string& id);

  Context& context_;
  Firewalls firewalls_;
  std::set<std::string> fabrics_;                 // made or checked by this process
  std::map<std::string, std::string> firewalls_applied_;  // interface made by this process -> its rules
  std::set<std::string> addresses_added_;         // secondary interfaces done by this process
};

}  // namespace weir::control
