#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ecs/ecs.h"

namespace weir::api {
namespace {

constexpr size_t kDescribeMax = 100;

std::string task_arn(const Context& context, const Json& cluster, const std::string& name) {
  if (name.starts_with("arn:")) return name;
  return arn(context, "ecs", fmt::format("task/{}/{}", text(cluster, "clusterName"), name));
}

Json describe_tasks(Context& context, const Json& input) {
  Json cluster = load_cluster(context, input);
  Json names = array(input, "tasks");
  if (names.empty()) raise("InvalidParameterException", "Tasks cannot be empty.");
  if (names.size() > kDescribeMax) raise("InvalidParameterException", "Tasks cannot have more than 100 elements.");
  Json found = Json::array();
  Json failures = Json::array();
  for (const auto& name : names) {
    std::string id = task_arn(context, cluster, name.is_string() ? name.get<std::string>() : "");
    Json task = find(context, kTaskKind, id);
    if (task.is_null()) {
      failures.push_back({{"arn", id}, {"reason", "MISSING"}});
      continue;
    }
    if (!includes(input, "TAGS")) task.erase("tags");
    found.push_back(public_view(std::move(task)));
  }
  return {{"tasks", found}, {"failures", failures}};
}

bool matches(const Json& task, const Json& input) {
  if (auto service = optional_text(input, "serviceName")) {
    if (text(task, "group") != "service:" + short_name(*service)) return false;
  }
  if (auto family = optional_text(input, "family")) {
    std::string definition = short_name(text(task, "taskDefinitionArn"));
    if (definition.substr(0, definition.rfind(':')) != *family) return false;
  }
  if (auto starter = optional_text(input, "startedBy")) {
    if (text(task, "startedBy") != *starter) return false;
  }
  if (auto type = optional_text(input, "launchType")) {
    if (text(task, "launchType") != *type) return false;
  }
  return text(task, "desiredStatus") == text(input, "desiredStatus", "RUNNING");
}

Json list_tasks(Context& context, const Json& input) {
  Json cluster = load_cluster(context, input);
  if (auto service = optional_text(input, "serviceName")) {
    std::string id = arn(context, "ecs",
                         fmt::format("service/{}/{}", text(cluster, "clusterName"), short_name(*service)));
    if (find(context, kServiceKind, id).is_null()) raise("ServiceNotFoundException", "Service not found.");
  }
  Json arns = Json::array();
  for (const auto& task : list_where(context, kTaskKind, "clusterArn", text(cluster, "clusterArn"))) {
    if (matches(task, input)) arns.push_back(task["taskArn"]);
  }
  return {{"taskArns", arns}};
}

Json stop_task(Context& context, const Json& input) {
  Json task;
  transaction(context, [&] {
    Json cluster = load_cluster(context, input);
    std::string id = task_arn(context, cluster, text(input, "task"));
    task = load(context, kTaskKind, id,
                {"InvalidParameterException", "The referenced task was not found.", 400});
    if (task["desiredStatus"] == "STOPPED") return;
    task["desiredStatus"] = "STOPPED";
    task["weir"]["stop_reason"] = text(input, "reason", "Task stopped by user");
    task["weir"]["stop_code"] = "UserInitiated";
    put(context, kTaskKind, id, task);
  });
  return {{"task", public_view(task)}};
}

}  // namespace

void add_task_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ecs",
      {{"DescribeTasks", describe_tasks}, {"ListTasks", list_tasks}, {"StopTask", stop_task}});
}

}  // namespace weir::api
