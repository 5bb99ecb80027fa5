#include "control/network.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/addresses.h"
#include "control/documents.h"

namespace weir::control {

namespace {
std::vector<std::string> group_ids(const Json& eni) {
  std::vector<std::string> ids;
  for (const Json& group : list(eni, "Groups")) ids.push_back(text(group, "GroupId"));
  return ids;
}

bool is_host_network(const Json& vpc) { return flag(weir_of(vpc), "default"); }
}  // namespace

StepResult NetworkReconciler::step(const std::string& key) {
  if (context_.jobs.running(key)) return StepResult::started();
  if (auto error = context_.jobs.take_error(key)) return StepResult::failed(std::move(*error));
  std::string id = key.substr(4);
  return key.starts_with("vpc|") ? vpc_step(key, id) : eni_step(key, id);
}

StepResult NetworkReconciler::vpc_step(const std::string& key, const std::string& id) {
  auto vpc = load(context_.store, kind::kVpc, id);
  if (!vpc || flag(weir_of(*vpc), "deleting")) return remove_vpc(key, id);
  bool available = text(*vpc, "State") == "available";
  if (!is_host_network(*vpc) && !fabrics_.contains(id)) {
    runtime::FabricSpec spec{id, text(*vpc, "CidrBlock")};
    context_.jobs.run<void>(
        key, [driver = &context_.network, spec] { return driver->ensure_fabric(spec); },
        [this, id] { fabrics_.insert(id); }, [this, key] { wake(key); });
    return StepResult::started();
  }
  if (!available) {
    (*vpc)["State"] = "available";
    auto saved = save(context_.store, kind::kVpc, id, *vpc);
    if (!saved) return StepResult::failed(saved.error().message);
  }
  for (const auto& [eni, document] : load_where(context_.store, kind::kNetworkInterface, "VpcId", id)) {
    if (!firewalls_applied_.contains(eni)) wake("eni|" + eni);
  }
  return StepResult::done();
}

StepResult NetworkReconciler::remove_vpc(const std::string& key, const std::string& id) {
  auto vpc = load(context_.store, kind::kVpc, id);
  if (fabrics_.contains(id) || (vpc && !is_host_network(*vpc))) {
    context_.jobs.run<void>(
        key, [driver = &context_.network, id] { return driver->remove_fabric(id); },
        [this, id] {
          fabrics_.erase(id);
          auto erased = context_.store.erase(kind::kVpc, id);
          if (!erased) log_error(erased.error().message);
        },
        [this, key] { wake(key); });
    return StepResult::started();
  }
  if (vpc) {
    if (auto erased = context_.store.erase(kind::kVpc, id); !erased) return StepResult::failed(erased.error().message);
  }
  return StepResult::done();
}

StepResult NetworkReconciler::eni_step(const std::string& key, const std::string& id) {
  auto eni = load(context_.store, kind::kNetworkInterface, id);
  if (!eni || flag(weir_of(*eni), "deleting")) return remove_eni(key, id);
  auto vpc = load(context_.store, kind::kVpc, text(*eni, "VpcId"));
  if (!vpc || is_host_network(*vpc)) {
    (*eni)["weir"]["error"] = vpc ? "The default VPC is the host's own network and holds no network interfaces: "
                                    "use a VPC and subnets of the stack"
                                  : "The VPC of this network interface does not exist";
    auto saved = save(context_.store, kind::kNetworkInterface, id, *eni);
    if (!saved) return StepResult::failed(saved.error().message);
    wake_owner(id);
    return StepResult::done();
  }
  if (!fabrics_.contains(text(*eni, "VpcId"))) {
    wake("vpc|" + text(*eni, "VpcId"));  // wakes this key when the fabric is there
    return StepResult::done();
  }
  if (has(weir_of(*eni), "primary")) return attach_address(key, id);
  if (!firewalls_applied_.contains(id)) return attach(key, id);
  return refresh_firewall(key, id);
}

StepResult NetworkReconciler::attach(const std::string& key, const std::string& id) {
  auto eni = load(context_.store, kind::kNetworkInterface, id);
  auto vpc = load(context_.store, kind::kVpc, text(*eni, "VpcId"));
  auto subnet = load(context_.store, kind::kSubnet, text(*eni, "SubnetId"));
  auto cidr = parse_cidr(subnet ? text(*subnet, "CidrBlock") : "");
  if (!cidr) return StepResult::failed("subnet of " + id + ": " + cidr.error().message);
  runtime::EniSpec spec;
  spec.eni_id = id;
  spec.vpc_id = text(*eni, "VpcId");
  spec.vpc_cidr = text(*vpc, "CidrBlock");
  spec.address = text(*eni, "PrivateIpAddress");
  spec.prefix_length = cidr->prefix;
  spec.firewall = firewalls_.resolve(group_ids(*eni));
  std::string rules = Firewalls::fingerprint(spec.firewall);
  context_.jobs.run<runtime::EniInfo>(
      key, [driver = &context_.network, spec = std::move(spec)] { return driver->ensure_eni(spec); },
      [this, id, rules](runtime::EniInfo info) {
        firewalls_applied_[id] = rules;
        mark_in_use(id, info.netns_path);
        for (const auto& [other, document] : load_all(context_.store, kind::kNetworkInterface)) {
          if (text(weir_of(document), "primary") == id) wake("eni|" + other);
        }
      },
      [this, key] { wake(key); });
  return StepResult::started();
}

StepResult NetworkReconciler::attach_address(const std::string& key, const std::string& id) {
  if (addresses_added_.contains(id)) return StepResult::done();
  auto eni = load(context_.store, kind::kNetworkInterface, id);
  std::string primary_id = text(weir_of(*eni), "primary");
  auto primary = load(context_.store, kind::kNetworkInterface, primary_id);
  if (!primary || !firewalls_applied_.contains(primary_id)) return StepResult::done();  // it wakes this key
  auto subnet = load(context_.store, kind::kSubnet, text(*eni, "SubnetId"));
  auto cidr = parse_cidr(subnet ? text(*subnet, "CidrBlock") : "");
  if (!cidr) return StepResult::failed("subnet of " + id + ": " + cidr.error().message);
  std::string netns = text(weir_of(*primary), "netns");
  context_.jobs.run<void>(
      key,
      [driver = &context_.network, primary_id, address = text(*eni, "PrivateIpAddress"), prefix = cidr->prefix] {
        return driver->add_address(primary_id, address, prefix);
      },
      [this, id, netns] {
        addresses_added_.insert(id);
        mark_in_use(id, netns);
      },
      [this, key] { wake(key); });
  return StepResult::started();
}

StepResult NetworkReconciler::refresh_firewall(const std::string& key, const std::string& id) {
  auto eni = load(context_.store, kind::kNetworkInterface, id);
  runtime::FirewallSpec spec = firewalls_.resolve(group_ids(*eni));
  std::string rules = Firewalls::fingerprint(spec);
  if (firewalls_applied_[id] == rules) return StepResult::done();
  context_.jobs.run<void>(
      key, [driver = &context_.network, id, spec = std::move(spec)] { return driver->apply_firewall(id, spec); },
      [this, id, rules] { firewalls_applied_[id] = rules; }, [this, key] { wake(key); });
  return StepResult::started();
}

StepResult NetworkReconciler::remove_eni(const std::string& key, const std::string& id) {
  auto eni = load(context_.store, kind::kNetworkInterface, id);
  if (!eni && !firewalls_applied_.contains(id)) return StepResult::done();
  auto finish = [this, id] {
    firewalls_applied_.erase(id);
    addresses_added_.erase(id);
    auto document = load(context_.store, kind::kNetworkInterface, id);
    std::string owner = document ? text(weir_of(*document), "owner") : "";
    auto erased = context_.store.erase(kind::kNetworkInterface, id);
    if (!erased) log_error(erased.error().message);
    if (owner.empty()) return;
    context_.wake(Queue::Task, owner);
    context_.wake(Queue::Balancer, owner);
  };
  if (eni && has(weir_of(*eni), "primary")) {  // its address goes with the namespace of the primary
    finish();
    return StepResult::done();
  }
  context_.jobs.run<void>(key, [driver = &context_.network, id] { return driver->remove_eni(id); }, finish,
                          [this, key] { wake(key); });
  return StepResult::started();
}

void NetworkReconciler::mark_in_use(const std::string& id, const std::string& netns) {
  auto eni = load(context_.store, kind::kNetworkInterface, id);
  if (!eni) return;
  (*eni)["Status"] = "in-use";
  (*eni)["weir"]["netns"] = netns;
  if (auto saved = save(context_.store, kind::kNetworkInterface, id, *eni); !saved) log_error(saved.error().message);
  wake_owner(id);
}

void NetworkReconciler::wake_owner(const std::string& id) {
  auto eni = load(context_.store, kind::kNetworkInterface, id);
  std::string owner = eni ? text(weir_of(*eni), "owner") : "";
  if (owner.empty()) return;
  context_.wake(Queue::Task, owner);
  context_.wake(Queue::Balancer, owner);
}

void NetworkReconciler::interface_changed(const std::string& id) {
  firewalls_.invalidate();
  wake("eni|" + id);
  for (const auto& [eni, rules] : firewalls_applied_) wake("eni|" + eni);
}

void NetworkReconciler::security_groups_changed() {
  firewalls_.invalidate();
  for (const auto& [eni, rules] : firewalls_applied_) wake("eni|" + eni);
}

void NetworkReconciler::remove_leftovers() {
  using Listing = std::pair<std::vector<std::string>, std::vector<std::string>>;
  context_.jobs.run<Listing>(
      "leftovers|network",
      [driver = &context_.network]() -> Result<Listing> {
        WEIR_TRY_ASSIGN(auto enis, driver->list_enis());
        WEIR_TRY_ASSIGN(auto fabrics, driver->list_fabrics());
        return Listing{std::move(enis), std::move(fabrics)};
      },
      [this](Listing listing) {
        for (const std::string& id : listing.first) {
          if (context_.store.get(kind::kNetworkInterface, id)) continue;
          firewalls_applied_.emplace(id, "");  // known, so that the step removes it
          wake("eni|" + id);
        }
        for (const std::string& id : listing.second) {
          if (context_.store.get(kind::kVpc, id)) continue;
          fabrics_.insert(id);
          wake("vpc|" + id);
        }
      },
      [this] {
        if (auto error = context_.jobs.take_error("leftovers|network")) log_warning("leftovers: " + *error);
      });
}

}  // namespace weir::control
