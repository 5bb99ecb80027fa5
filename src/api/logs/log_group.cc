#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/logs/container_log.h"
#include "api/support.h"

namespace weir::api {
namespace {

constexpr const char* kKind = "logs.log-group";
constexpr size_t kNameMax = 512;
constexpr int64_t kEventsMax = 10000;
constexpr int64_t kRetentionDays[] = {1,   3,   5,   7,   14,  30,   60,   90,   120,  150,  180,  365,
                                      400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653};

void check_name(const std::string& name) {
  bool valid = !name.empty() && name.size() <= kNameMax && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("_-/.#").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (!valid) {
    raise("InvalidParameterException", fmt::format("1 validation error detected: Value '{}' at 'logGroupName' failed "
                                                   "to satisfy constraint: Member must satisfy regular expression "
                                                   "pattern: [\\.\\-_/#A-Za-z0-9]+", name));
  }
}

Json load_group(Context& context, const Json& input) {
  return load(context, kKind, text(input, "logGroupName"),
              {"ResourceNotFoundException", "The specified log group does not exist.", 400});
}

Json create_group(Context& context, const Json& input) {
  std::string name = text(input, "logGroupName");
  check_name(name);
  Json tags = input.value("tags", Json::object());
  transaction(context, [&] {
    if (!find(context, kKind, name).is_null()) {
      raise("ResourceAlreadyExistsException", "The specified log group already exists");
    }
    std::string plain = arn(context, "logs", "log-group:" + name);
    put(context, kKind, name,
        {{"logGroupName", name}, {"arn", plain + ":*"}, {"logGroupArn", plain}, {"metricFilterCount", 0},
         {"storedBytes", 0}, {"logGroupClass", "STANDARD"}, {"creationTime", context.clock.unix_ms()},
         {"weir", {{"tags", tags}}}});
  });
  return Json::object();
}

Json put_retention(Context& context, const Json& input) {
  int64_t days = integer(input, "retentionInDays", 0);
  if (std::find(std::begin(kRetentionDays), std::end(kRetentionDays), days) == std::end(kRetentionDays)) {
    raise("InvalidParameterException", fmt::format("1 validation error detected: Value '{}' at 'retentionInDays' "
                                                   "failed to satisfy constraint: Member must satisfy enum value set: "
                                                   "[{}]", days, fmt::join(kRetentionDays, ", ")));
  }
  transaction(context, [&] {
    Json group = load_group(context, input);
    group["retentionInDays"] = days;
    put(context, kKind, text(group, "logGroupName"), group);
  });
  return Json::object();
}

Json delete_retention(Context& context, const Json& input) {
  transaction(context, [&] {
    Json group = load_group(context, input);
    group.erase("retentionInDays");
    put(context, kKind, text(group, "logGroupName"), group);
  });
  return Json::object();
}

Json describe_groups(Context& context, const Json& input) {
  std::string prefix = text(input, "logGroupNamePrefix");
  Json groups = Json::array();
  for (auto& group : list(context, kKind)) {
    if (text(group, "logGroupName").starts_with(prefix)) groups.push_back(public_view(group));
  }
  return {{"logGroups", groups}};
}

Json delete_group(Context& context, const Json& input) {
  transaction(context, [&] {
    Json group = load_group(context, input);
    erase(context, kKind, text(group, "logGroupName"));
  });
  return Json::object();
}

// One log stream of a group: a container of a task whose definition names the group.
struct Stream {
  std::string name;  // "prefix/container/task id"
  std::string path;
  double created = 0;
};

std::vector<Stream> streams_of(Context& context, const std::string& group) {
  std::vector<Stream> streams;
  for (const auto& task : list(context, "ecs.task")) {
    Json definition = find(context, "ecs.task-definition", text(task, "taskDefinitionArn"));
    std::string id = text(task, "taskArn");
    id = id.substr(id.rfind('/') + 1);
    for (const auto& container : definition.is_object() ? array(definition, "containerDefinitions") : Json::array()) {
      Json log = container.value("logConfiguration", Json::object());
      Json options = log.value("options", Json::object());
      if (text(log, "logDriver") != "awslogs" || text(options, "awslogs-group") != group) continue;
      std::string prefix = text(options, "awslogs-stream-prefix");
      std::string name = text(container, "name");
      std::string path = context.log_path ? context.log_path(id + "-" + name) : "";
      streams.push_back({prefix.empty() ? id : fmt::format("{}/{}/{}", prefix, name, id), path,
                         task.value("createdAt", 0.0)});
    }
  }
  return streams;
}

Json describe_streams(Context& context, const Json& input) {
  Json group = load_group(context, input);
  std::string prefix = text(input, "logStreamNamePrefix");
  Json shown = Json::array();
  for (const auto& stream : streams_of(context, text(group, "logGroupName"))) {
    if (!stream.name.starts_with(prefix)) continue;
    shown.push_back({{"logStreamName", stream.name},
                     {"creationTime", static_cast<int64_t>(stream.created * 1000)},
                     {"arn", fmt::format("{}:log-stream:{}", text(group, "logGroupArn"), stream.name)}});
  }
  return {{"logStreams", shown}};
}

LogPage read_page(const std::string& path, int64_t offset, int64_t limit) {
  if (path.empty()) return {};
  auto page = read_container_log(path, offset, static_cast<size_t>(limit));
  if (!page) raise("ServiceUnavailableException", "The log could not be read: " + page.error().message, 500);
  return std::move(*page);
}

int64_t offset_of(const std::string& token) {
  if (token.size() < 3 || token[1] != '/') {
    raise("InvalidParameterException", "The specified nextToken is invalid.");
  }
  return std::strtoll(token.c_str() + 2, nullptr, 10);
}

bool in_window(const LogEvent& event, const Json& input) {
  return event.timestamp_ms >= integer(input, "startTime", 0) &&
         event.timestamp_ms < integer(input, "endTime", INT64_MAX);
}

Json get_events(Context& context, const Json& input) {
  Json group = load_group(context, input);
  std::string name = text(input, "logStreamName");
  int64_t limit = std::clamp<int64_t>(integer(input, "limit", kEventsMax), 1, kEventsMax);
  for (const auto& stream : streams_of(context, text(group, "logGroupName"))) {
    if (stream.name != name) continue;
    int64_t offset = 0;
    if (auto token = optional_text(input, "nextToken")) {
      offset = offset_of(*token);
    } else if (!boolean(input, "startFromHead", false) && !stream.path.empty()) {
      offset = tail_offset(stream.path, static_cast<size_t>(limit)).value_or(0);
    }
    LogPage page = read_page(stream.path, offset, limit);
    Json events = Json::array();
    for (const auto& event : page.events) {
      if (!in_window(event, input)) continue;
      events.push_back({{"timestamp", event.timestamp_ms}, {"message", event.message},
                        {"ingestionTime", event.timestamp_ms}});
    }
    return {{"events", events}, {"nextForwardToken", fmt::format("f/{}", page.next_offset)},
            {"nextBackwardToken", fmt::format("b/{}", offset)}};
  }
  raise("ResourceNotFoundException", "The specified log stream does not exist.");
}

Json filter_events(Context& context, const Json& input) {
  Json group = load_group(context, input);
  int64_t limit = std::clamp<int64_t>(integer(input, "limit", kEventsMax), 1, kEventsMax);
  std::string pattern = text(input, "filterPattern");
  std::string prefix = text(input, "logStreamNamePrefix");
  std::set<std::string> names;
  for (const auto& name : array(input, "logStreamNames")) names.insert(name.is_string() ? name.get<std::string>() : "");
  if (pattern.size() >= 2 && pattern.front() == '"' && pattern.back() == '"') {
    pattern = pattern.substr(1, pattern.size() - 2);
  }
  Json events = Json::array();
  for (const auto& stream : streams_of(context, text(group, "logGroupName"))) {
    if (!stream.name.starts_with(prefix) || (!names.empty() && !names.contains(stream.name))) continue;
    for (const auto& event : read_page(stream.path, 0, kEventsMax).events) {
      if (!in_window(event, input) || event.message.find(pattern) == std::string::npos) continue;
      events.push_back({{"logStreamName", stream.name}, {"timestamp", event.timestamp_ms},
                        {"message", event.message}, {"ingestionTime", event.timestamp_ms},
                        {"eventId", fmt::format("{}-{}", event.timestamp_ms, events.size())}});
    }
  }
  std::stable_sort(events.begin(), events.end(),
                   [](const Json& a, const Json& b) { return a["timestamp"] < b["timestamp"]; });
  if (events.size() > static_cast<size_t>(limit)) events.erase(events.begin() + limit, events.end());
  return {{"events", events}, {"searchedLogStreams", Json::array()}};
}

// By log group name, or by an ARN of either form.
Json find_group(Context& context, const Json& input) {
  if (has(input, "logGroupName")) return load_group(context, input);
  std::string id = text(input, "resourceArn");
  for (const auto& group : list(context, kKind)) {
    if (text(group, "logGroupArn") == id || text(group, "arn") == id) return group;
  }
  raise("ResourceNotFoundException", "The specified resource does not exist.");
}

Json list_tags(Context& context, const Json& input) {
  return {{"tags", find_group(context, input)["weir"].value("tags", Json::object())}};
}

Json tag_resource(Context& context, const Json& input) {
  transaction(context, [&] {
    Json group = find_group(context, input);
    group["weir"]["tags"].update(input.value("tags", Json::object()));
    put(context, kKind, text(group, "logGroupName"), group);
  });
  return Json::object();
}

Json untag_resource(Context& context, const Json& input) {
  transaction(context, [&] {
    Json group = find_group(context, input);
    Json keys = has(input, "tagKeys") ? array(input, "tagKeys") : array(input, "tags");
    for (const auto& key : keys) group["weir"]["tags"].erase(key.is_string() ? key.get<std::string>() : "");
    put(context, kKind, text(group, "logGroupName"), group);
  });
  return Json::object();
}

}  // namespace

void add_logs_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "logs",
      {{"CreateLogGroup", create_group},
       {"DeleteLogGroup", delete_group},
       {"DescribeLogGroups", describe_groups},
       {"PutRetentionPolicy", put_retention},
       {"DeleteRetentionPolicy", delete_retention},
       {"DescribeLogStreams", describe_streams},
       {"GetLogEvents", get_events},
       {"FilterLogEvents", filter_events},
       {"TagResource", tag_resource},
       {"TagLogGroup", tag_resource},
       {"UntagResource", untag_resource},
       {"UntagLogGroup", untag_resource},
       {"ListTagsForResource", list_tags},
       {"ListTagsLogGroup", list_tags}});
}

}  // namespace weir::api
