// Tasks: network interface and registration with target groups.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "control/addresses.h"
#include "control/documents.h"
#include "control/ecs_documents.h"
#include "control/exit_watch.h"
#include "control/task.h"

namespace weir::control {

namespace {

std::string mac_address(Random& random) {
  std::string digits = random.hex(10);
  std::string out = "0a";  // locally administered
  for (size_t i = 0; i < digits.size(); i += 2) out += ":" + digits.substr(i, 2);
  return out;
}

Json security_groups(store::Store& store, const Json& network, const std::string& vpc_id) {
  Json groups = Json::array();
  for (const std::string& id : texts(network, "securityGroups")) groups.push_back({{"GroupId", id}});
  if (!groups.empty()) return groups;
  for (const auto& [id, group] : load_where(store, kind::kSecurityGroup, "VpcId", vpc_id)) {
    if (text(group, "GroupName") == "default") groups.push_back({{"GroupId", id}, {"GroupName", "default"}});
  }
  return groups;
}

}  // namespace

// The zone with the fewest interfaces of the task's group first (ECS spreads over zones), then the subnet.
Result<std::string> Tasks::least_used_subnet(const Json& task) {
  std::vector<std::string> subnets = texts(member(weir_of(task), "network"), "subnets");
  std::map<std::string, std::string> zones;
  for (const std::string& id : subnets) {
    auto subnet = load(context_.store, kind::kSubnet, id);
    if (!subnet) return fail("The subnet ID '" + id + "' does not exist");
    zones[id] = text(*subnet, "AvailabilityZone");
  }
  std::map<std::string, int> in_subnet;
  std::map<std::string, int> in_zone;
  for (const auto& [id, eni] : load_all(context_.store, kind::kNetworkInterface)) {
    if (text(weir_of(eni), "group") != text(task, "group") || flag(weir_of(eni), "deleting")) continue;
    std::string subnet = text(eni, "SubnetId");
    if (!zones.contains(subnet)) continue;
    ++in_subnet[subnet];
    ++in_zone[zones[subnet]];
  }
  std::string best;
  for (const std::string& id : subnets) {
    if (available_addresses(context_.store, id) <= 0) continue;
    auto load_of = [&](const std::string& s) { return std::pair(in_zone[zones[s]], in_subnet[s]); };
    if (best.empty() || load_of(id) < load_of(best)) best = id;
  }
  if (best.empty()) return fail("no subnet of the task has a free address");
  return best;
}

Result<void> Tasks::create_interface(const std::string& arn, Json& task) {
  return context_.store.transaction([&]() -> Result<void> {
    WEIR_TRY_ASSIGN(std::string subnet_id, least_used_subnet(task));
    WEIR_TRY_ASSIGN(std::string address, allocate_address(context_.store, subnet_id));
    Json subnet = load(context_.store, kind::kSubnet, subnet_id).value_or(Json::object());
    std::string id = "eni-" + context_.random.hex(17);
    std::string mac = mac_address(context_.random);
    std::string zone = text(subnet, "AvailabilityZone");
    std::string attachment = task["attachments"].empty() ? "" : text(task["attachments"][0], "id");
    Json eni{{"NetworkInterfaceId", id}, {"VpcId", text(subnet, "VpcId")}, {"SubnetId", subnet_id},
             {"AvailabilityZone", zone}, {"PrivateIpAddress", address}, {"MacAddress", mac},
             {"Groups", security_groups(context_.store, member(weir_of(task), "network"), text(subnet, "VpcId"))},
             {"Description", "attachment/" + attachment}, {"InterfaceType", "interface"},
             {"RequesterManaged", true}, {"Status", "pending"},
             {"weir", {{"owner", arn}, {"group", text(task, "group")}}}};
    WEIR_TRY(save(context_.store, kind::kNetworkInterface, id, eni));
    std::string dns = "ip-" + address + ".ec2.internal";
    std::replace(dns.begin() + 3, dns.begin() + 3 + static_cast<ptrdiff_t>(address.size()), '.', '-');
    auto detail = [](const char* name, const std::string& value) { return Json{{"name", name}, {"value", value}}; };
    for (Json& entry : task["attachments"]) {
      entry["status"] = "ATTACHING";
      entry["details"] = Json::array({detail("subnetId", subnet_id), detail("networkInterfaceId", id),
                                      detail("macAddress", mac), detail("privateDnsName", dns),
                                      detail("privateIPv4Address", address)});
    }
    for (Json& container : task["containers"]) {
      container["networkInterfaces"] =
          Json::array({Json{{"attachmentId", attachment}, {"privateIpv4Address", address}}});
    }
    task["availabilityZone"] = zone;
    task["weir"]["eni"] = id;
    task["weir"]["address"] = address;
    return save(context_.store, kind::kTask, arn, task);
  });
}

Result<void> Tasks::register_targets(const std::string& arn, Json& task) {
  return context_.store.transaction([&]() -> Result<void> {
    std::string service_arn = text(weir_of(task), "service");
    auto service = load(context_.store, kind::kService, service_arn);
    Json registered = Json::array();
    std::string address = text(weir_of(task), "address");
    for (const Json& entry : service ? list(*service, "loadBalancers") : Json::array()) {
      std::string group = text(entry, "targetGroupArn");
      int64_t port = integer(entry, "containerPort");
      if (!context_.store.get(kind::kTargetGroup, group)) {
        return fail("ResourceInitializationError: the target group " + group + " does not exist");
      }
      std::string id = target_id(group, address, port);
      Json target{{"TargetGroupArn", group}, {"Id", address}, {"Port", port},
                  {"AvailabilityZone", text(task, "availabilityZone")},
                  {"weir", {{"registered_at", to_seconds(now_ms())}, {"task", arn}}}};
      context_.health.forget(group, address, static_cast<uint16_t>(port));
      WEIR_TRY(save(context_.store, kind::kTarget, id, target));
      registered.push_back(id);
      add_service_event(*service, "registered 1 targets in (target-group " + group + ")", now_ms(), context_.random);
    }
    if (!registered.empty()) WEIR_TRY(save(context_.store, kind::kService, service_arn, *service));
    task["weir"]["registered"] = registered;
    task["startedAt"] = to_seconds(now_ms());
    set_status(task, "RUNNING");
    return save(context_.store, kind::kTask, arn, task);
  });
}

Result<bool> Tasks::deregister_targets(const std::string& arn, Json& task) {
  std::set<std::string> groups;
  bool gone = true;
  auto result = context_.store.transaction([&]() -> Result<void> {
    for (const std::string& id : texts(weir_of(task), "registered")) {
      auto target = load(context_.store, kind::kTarget, id);
      if (!target || text(weir_of(*target), "task") != arn) continue;  // gone, or the address is another's now
      gone = false;
      if (has(weir_of(*target), "deregistering_since")) continue;
      (*target)["weir"]["deregistering_since"] = to_seconds(now_ms());
      WEIR_TRY(save(context_.store, kind::kTarget, id, *target));
      groups.insert(text(*target, "TargetGroupArn"));
    }
    if (groups.empty()) return {};
    std::string service_arn = text(weir_of(task), "service");
    auto service = load(context_.store, kind::kService, service_arn);
    if (!service) return {};
    for (const std::string& group : groups) {
      add_service_event(*service, "deregistered 1 targets in (target-group " + group + ")", now_ms(), context_.random);
    }
    add_service_event(*service, "has begun draining connections on 1 tasks.", now_ms(), context_.random);
    return save(context_.store, kind::kService, service_arn, *service);
  });
  if (!result) return std::unexpected(result.error());
  return gone;
}

bool Tasks::barrier_passed(const Json& task) {
  for (const std::string& id : texts(weir_of(task), "registered")) {
    if (!targets_.deregistration_applied(id)) return false;
  }
  return true;
}

}  // namespace weir::control
