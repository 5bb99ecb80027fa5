#include <charconv>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ecs/ecs.h"

namespace weir::api {
namespace {

std::string revision_arn(const Context& context, const std::string& family, int64_t revision) {
  return arn(context, "ecs", fmt::format("task-definition/{}:{}", family, revision));
}

Json shown(Json definition) {
  definition.erase("tags");
  return public_view(std::move(definition));
}

Json register_definition(Context& context, const Json& input) {
  Json definition = checked_task_definition(input);
  definition["tags"] = ecs_tags_of(input);
  transaction(context, [&] {
    std::string family = text(definition, "family");
    auto revision = context.store.next_number("task-definition/" + family);
    if (!revision) raise("ServerException", "The state could not be written: " + revision.error().message, 500);
    definition["revision"] = *revision;
    definition["taskDefinitionArn"] = revision_arn(context, family, *revision);
    definition["status"] = "ACTIVE";
    definition["registeredAt"] = now_seconds(context);
    definition["registeredBy"] = fmt::format("arn:aws:iam::{}:root", context.account);
    definition["compatibilities"] = Json::array({"EC2", "FARGATE"});
    put(context, kTaskDefinitionKind, text(definition, "taskDefinitionArn"), definition);
  });
  return {{"taskDefinition", shown(definition)}, {"tags", definition["tags"]}};
}

Json load_definition(Context& context, const Json& input) {
  Json definition = find_task_definition(context, text(input, "taskDefinition"));
  if (definition.is_null()) raise("ClientException", "Unable to describe task definition.");
  return definition;
}

Json describe_definition(Context& context, const Json& input) {
  Json definition = load_definition(context, input);
  Json output{{"taskDefinition", shown(definition)}};
  if (includes(input, "TAGS")) output["tags"] = array(definition, "tags");
  return output;
}

Json deregister_definition(Context& context, const Json& input) {
  std::string name = text(input, "taskDefinition");
  if (name.find(':') == std::string::npos) raise("ClientException", "Revision is missing.");
  Json definition;
  transaction(context, [&] {
    definition = load_definition(context, input);
    definition["status"] = "INACTIVE";
    definition["deregisteredAt"] = now_seconds(context);
    put(context, kTaskDefinitionKind, text(definition, "taskDefinitionArn"), definition);
  });
  return {{"taskDefinition", shown(definition)}};
}

Json delete_definitions(Context& context, const Json& input) {
  Json deleted = Json::array();
  Json failures = Json::array();
  transaction(context, [&] {
    for (const auto& name : array(input, "taskDefinitions")) {
      Json definition = find_task_definition(context, name.is_string() ? name.get<std::string>() : "");
      if (definition.is_null()) {
        failures.push_back({{"arn", name}, {"reason", "MISSING"}});
      } else if (definition["status"] != "INACTIVE") {
        failures.push_back({{"arn", definition["taskDefinitionArn"]},
                            {"reason", "The specified task definition is still in ACTIVE status. Please deregister "
                                       "the target and try again."}});
      } else {
        erase(context, kTaskDefinitionKind, text(definition, "taskDefinitionArn"));
        definition["status"] = "DELETE_IN_PROGRESS";
        deleted.push_back(shown(definition));
      }
    }
  });
  return {{"taskDefinitions", deleted}, {"failures", failures}};
}

Json list_definitions(Context& context, const Json& input) {
  std::string prefix = text(input, "familyPrefix");
  std::string status = text(input, "status", "ACTIVE");
  Json arns = Json::array();
  for (const auto& definition : list(context, kTaskDefinitionKind)) {
    bool wanted = (prefix.empty() || text(definition, "family") == prefix) && text(definition, "status") == status;
    if (wanted) arns.push_back(definition["taskDefinitionArn"]);
  }
  return {{"taskDefinitionArns", arns}};
}

Json list_families(Context& context, const Json& input) {
  std::string prefix = text(input, "familyPrefix");
  std::set<std::string> families;
  for (const auto& definition : list(context, kTaskDefinitionKind)) {
    std::string family = text(definition, "family");
    if (family.starts_with(prefix) && definition["status"] == "ACTIVE") families.insert(family);
  }
  return {{"families", families}};
}

}  // namespace

Json find_task_definition(Context& context, const std::string& name) {
  std::string local = name.starts_with("arn:") ? short_name(name) : name;
  size_t colon = local.rfind(':');
  if (colon != std::string::npos) {
    return find(context, kTaskDefinitionKind,
                name.starts_with("arn:") ? name : arn(context, "ecs", "task-definition/" + local));
  }
  Json newest;
  for (auto& definition : list_where(context, kTaskDefinitionKind, "family", local)) {
    if (definition["status"] != "ACTIVE") continue;
    if (newest.is_null() || integer(definition, "revision", 0) > integer(newest, "revision", 0)) newest = definition;
  }
  return newest;
}

void add_task_definition_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ecs",
      {{"RegisterTaskDefinition", register_definition},
       {"DescribeTaskDefinition", describe_definition},
       {"DeregisterTaskDefinition", deregister_definition},
       {"DeleteTaskDefinitions", delete_definitions},
       {"ListTaskDefinitions", list_definitions},
       {"ListTaskDefinitionFamilies", list_families}});
}

}  // namespace weir::api
