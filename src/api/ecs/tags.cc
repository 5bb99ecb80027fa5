#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ecs/ecs.h"

namespace weir::api {
namespace {

constexpr size_t kTagsMax = 50;

struct Resource {
  const char* kind;
  Json document;
};

Resource load_resource(Context& context, const std::string& id) {
  struct Kind {
    const char* part;
    const char* kind;
  };
  constexpr Kind kinds[] = {{":cluster/", kClusterKind},
                            {":service/", kServiceKind},
                            {":task-definition/", kTaskDefinitionKind},
                            {":task/", kTaskKind}};
  for (const auto& entry : kinds) {
    if (id.find(entry.part) == std::string::npos) continue;
    Json document = find(context, entry.kind, id);
    if (document.is_object()) return {entry.kind, document};
  }
  raise("InvalidParameterException", fmt::format("The specified resource '{}' was not found.", id));
}

Json tag_resource(Context& context, const Json& input) {
  Json added = ecs_tags_of(input);
  transaction(context, [&] {
    std::string id = text(input, "resourceArn");
    Resource resource = load_resource(context, id);
    Json tags = array(resource.document, "tags");
    for (const auto& tag : added) {
      bool replaced = false;
      for (auto& other : tags) {
        if (other["key"] != tag["key"]) continue;
        other["value"] = tag["value"];
        replaced = true;
      }
      if (!replaced) tags.push_back(tag);
    }
    resource.document["tags"] = ecs_tags_of({{"tags", tags}});
    put(context, resource.kind, id, resource.document);
  });
  return Json::object();
}

Json untag_resource(Context& context, const Json& input) {
  Json keys = array(input, "tagKeys");
  transaction(context, [&] {
    std::string id = text(input, "resourceArn");
    Resource resource = load_resource(context, id);
    Json kept = Json::array();
    for (const auto& tag : array(resource.document, "tags")) {
      bool removed = false;
      for (const auto& key : keys) removed = removed || key == tag["key"];
      if (!removed) kept.push_back(tag);
    }
    resource.document["tags"] = kept;
    put(context, resource.kind, id, resource.document);
  });
  return Json::object();
}

Json list_tags(Context& context, const Json& input) {
  return {{"tags", array(load_resource(context, text(input, "resourceArn")).document, "tags")}};
}

}  // namespace

Json ecs_tags_of(const Json& input) {
  Json tags = Json::array();
  for (const auto& tag : array(input, "tags")) {
    std::string key = text(tag, "key");
    std::string value = text(tag, "value");
    if (key.empty() || key.size() > 128 || value.size() > 256) {
      raise("InvalidParameterException", fmt::format("Invalid tag '{}': keys have 1 to 128 characters, values at most "
                                                     "256.", key));
    }
    for (const auto& other : tags) {
      if (other["key"] == key) raise("InvalidParameterException", fmt::format("Duplicate tag key '{}'.", key));
    }
    tags.push_back({{"key", key}, {"value", value}});
  }
  if (tags.size() > kTagsMax) raise("InvalidParameterException", "The maximum number of tags is 50.");
  return tags;
}

void add_ecs_tag_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ecs",
      {{"TagResource", tag_resource}, {"UntagResource", untag_resource}, {"ListTagsForResource", list_tags}});
}

}  // namespace weir::api
