#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/acm/local_ca.h"
#include "api/ec2/cidr.h"
#include "api/logs/container_log.h"
#include "api/weir/weir_operations.h"

namespace weir::api {
namespace {

constexpr int64_t kLogEventsMax = 5000;

int64_t checked_port(const Json& value) {
  int64_t port = integer({{"port", value}}, "port", 0);
  if (port < 1 || port > 65535) raise("ValidationError", fmt::format("Port '{}' must be between 1 and 65535", port));
  return port;
}

Json put_settings(Context& context, const Json& input) {
  Json settings{{"port_map", Json::object()}, {"address", text(input, "Address")}};
  if (has(input, "Address") && !parse_ipv4(text(input, "Address"))) {
    raise("ValidationError", fmt::format("'{}' is not an IPv4 address", text(input, "Address")));
  }
  if (has(input, "PortMap")) {
    for (const auto& [from, to] : input["PortMap"].items()) {
      settings["port_map"][std::to_string(checked_port(from))] = checked_port(to);
    }
  }
  put(context, "weir.settings", "load-balancer", settings);
  return Json::object();
}

std::string tail_of(const std::string& arn) { return arn.substr(arn.rfind('/') + 1); }

// A name chooses a task when its id begins with it, else all tasks of the service of that name.
bool chooses(const Json& task, const std::string& name) {
  std::string id = tail_of(text(task, "taskArn"));
  if (name == text(task, "taskArn") || (name.size() >= 4 && id.starts_with(name))) return true;
  return text(task, "group") == "service:" + tail_of(name);
}

Json find_logs(Context& context, const Json& input) {
  std::string name = required(input, "Name");
  Json containers = Json::array();
  auto tasks = list(context, "ecs.task");
  std::sort(tasks.begin(), tasks.end(),
            [](const Json& a, const Json& b) { return a.value("createdAt", 0.0) < b.value("createdAt", 0.0); });
  // A stack's name stands for its services.
  std::vector<std::string> names{name};
  for (const auto& stack : list_where(context, "cfn.stack", "StackName", name)) {
    for (const auto& resource : list_where(context, "cfn.resource", "StackId", text(stack, "StackId"))) {
      if (text(resource, "ResourceType") != "AWS::ECS::Service") continue;
      names.push_back(text(resource, "PhysicalResourceId"));
    }
  }
  for (const auto& task : tasks) {
    bool wanted = std::any_of(names.begin(), names.end(), [&task](const std::string& n) { return chooses(task, n); });
    if (!wanted) continue;
    std::string id = tail_of(text(task, "taskArn"));
    for (const auto& container : array(task, "containers")) {
      std::string container_name = text(container, "name");
      containers.push_back({{"Task", id}, {"Container", container_name}, {"ContainerId", id + "-" + container_name},
                            {"LastStatus", text(task, "lastStatus")}});
    }
  }
  bool service_exists = false;
  for (const auto& service : list(context, "ecs.service")) {
    for (const auto& n : names) service_exists = service_exists || text(service, "serviceName") == tail_of(n);
  }
  if (containers.empty() && !service_exists) {
    raise("ResourceNotFoundException", fmt::format("No service, task or stack is called '{}'", name));
  }
  return {{"Containers", containers}};
}

Json read_log(Context& context, const Json& input) {
  std::string id = required(input, "ContainerId");
  if (id.find('/') != std::string::npos) raise("ValidationError", "A container id has no '/'");
  if (!context.log_path) return {{"Events", Json::array()}, {"NextOffset", 0}};
  std::string path = context.log_path(id);
  int64_t offset = integer(input, "Offset", 0);
  if (auto tail = optional_integer(input, "Tail")) {
    offset = tail_offset(path, static_cast<size_t>(std::clamp<int64_t>(*tail, 1, kLogEventsMax))).value_or(0);
  }
  int64_t limit = std::clamp<int64_t>(integer(input, "Limit", kLogEventsMax), 1, kLogEventsMax);
  auto page = read_container_log(path, offset, static_cast<size_t>(limit));
  if (!page) raise("InternalFailure", "The log could not be read: " + page.error().message, 500);
  Json events = Json::array();
  for (const auto& event : page->events) {
    events.push_back({{"Timestamp", event.timestamp_ms}, {"Stream", event.stream}, {"Message", event.message}});
  }
  return {{"Events", events}, {"NextOffset", page->next_offset}};
}

Json describe_authority(Context& context, const Json&) {
  if (context.ca == nullptr) raise("InternalFailure", "There is no certificate authority here.", 500);
  return {{"Certificate", context.ca->certificate_pem()}, {"Path", context.ca->certificate_path()}};
}

Json describe_remains(Context& context, const Json&) {
  int stacks = 0;
  for (const auto& stack : list(context, "cfn.stack")) {
    if (text(stack, "StackStatus") != "DELETE_COMPLETE") ++stacks;
  }
  int going = 0;
  int staying = 0;
  for (const char* kind : {"ec2.vpc", "ec2.network-interface", "elbv2.load-balancer", "ecs.service", "ecs.task"}) {
    for (const auto& document : list(context, kind)) {
      bool ended = text(document, "status") == "INACTIVE" || text(document, "lastStatus") == "STOPPED";
      bool standing = has(document, "IsDefault") && document["IsDefault"] == true;
      if (ended || standing) continue;
      bool leaving = is_deleting(document) || text(document, "desiredStatus") == "STOPPED";
      ++(leaving ? going : staying);
    }
  }
  return {{"Stacks", stacks}, {"Going", going}, {"Staying", staying}};
}

}  // namespace

void add_weir_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "weir",
      {{"PutSettings", put_settings},
       {"FindLogs", find_logs},
       {"ReadLog", read_log},
       {"DescribeAuthority", describe_authority},
       {"DescribeRemains", describe_remains}});
  dispatcher.add("weir", "DescribeStatus",
                 [&dispatcher, &context](const Json& input) { return describe_status(dispatcher, context, input); });
}

}  // namespace weir::api
