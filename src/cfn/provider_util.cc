#include "cfn/provider_util.h"

#include <algorithm>
#include <cctype>

#include <nlohmann/json.hpp>

namespace weir::cfn {

using nlohmann::json;

bool is_not_found(const api::ApiError& error) {
  return error.code.find("NotFound") != std::string::npos ||
         error.code.find("NoSuchEntity") != std::string::npos;
}

bool call_if_exists(const ResourceCall& c, std::string_view service, std::string_view operation,
                    const json& input) {
  try {
    c.api.call(service, operation, input);
    return true;
  } catch (const api::ApiError& e) {
    if (is_not_found(e)) return false;
    throw;
  }
}

void call_unless(const ResourceCall& c, std::string_view service, std::string_view operation, const json& input,
                 std::string_view tolerated) {
  try {
    c.api.call(service, operation, input);
  } catch (const api::ApiError& e) {
    if (e.code != tolerated) throw;
  }
}

json describe(const ResourceCall& c, std::string_view service, std::string_view operation, const json& input,
              std::string_view member) {
  try {
    json out = c.api.call(service, operation, input);
    auto found = out.find(member);
    return found != out.end() && found->is_array() ? *found : json::array();
  } catch (const api::ApiError& e) {
    if (is_not_found(e)) return json::array();
    throw;
  }
}

json describe_one(const ResourceCall& c, std::string_view service, std::string_view operation,
                  const json& input, std::string_view member) {
  json all = describe(c, service, operation, input, member);
  return all.empty() ? json() : all[0];
}

json pick(const json& properties, const std::vector<std::string>& names) {
  json out = json::object();
  for (const std::string& name : names) {
    if (auto found = properties.find(name); found != properties.end()) out[name] = *found;
  }
  return out;
}

// "EnableECSManagedTags" → "enableECSManagedTags", "EFSVolumeConfiguration" → "efsVolumeConfiguration".
std::string lower_first(std::string name) {
  auto upper = [&](size_t i) {
    return i < name.size() && std::isupper(static_cast<unsigned char>(name[i])) != 0;
  };
  size_t run = 0;
  while (upper(run)) ++run;
  size_t lowered = run <= 1 || run == name.size() ? run : run - 1;
  for (size_t i = 0; i < lowered; ++i)
    name[i] = static_cast<char>(std::tolower(static_cast<unsigned char>(name[i])));
  return name;
}

json lower_camel(const json& v, const Schema& schema) {
  if (schema.type == Schema::Type::List && v.is_array()) {
    json out = json::array();
    for (const json& item : v) out.push_back(lower_camel(item, schema.item[0]));
    return out;
  }
  if (schema.type != Schema::Type::Object || !v.is_object()) return v;
  json out = json::object();
  for (const auto& [key, member] : v.items()) {
    const SchemaProperty* p = schema.find(key);
    out[lower_first(key)] = p == nullptr ? member : lower_camel(member, p->schema);
  }
  return out;
}

bool changed(const ResourceCall& c, std::string_view property) {
  auto now = c.properties.find(property);
  auto before = c.old_properties.find(property);
  bool has_now = now != c.properties.end();
  bool had = before != c.old_properties.end();
  return has_now != had || (has_now && *now != *before);
}

bool any_changed(const ResourceCall& c, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return changed(c, name); });
}

std::string text_at(const json& v, std::string_view key) {
  if (!v.is_object()) return {};
  auto found = v.find(key);
  return found != v.end() && found->is_string() ? found->get<std::string>() : std::string();
}

json lower_tags(const ResourceCall& c) {
  json out = json::array();
  for (const json& tag : c.tags) out.push_back({{"key", tag["Key"]}, {"value", tag["Value"]}});
  return out;
}

json map_tags(const ResourceCall& c) {
  json out = json::object();
  for (const json& tag : c.tags) out[tag["Key"].get<std::string>()] = tag["Value"];
  return out;
}

bool is_ours(const ResourceCall& c, const json& tags) {
  int matches = 0;
  auto check = [&](const std::string& key, const std::string& value) {
    if (key == "aws:cloudformation:stack-id" && value == c.stack_id) ++matches;
    if (key == "aws:cloudformation:logical-id" && value == c.logical_id) ++matches;
  };
  if (tags.is_object()) {
    for (const auto& [key, value] : tags.items()) check(key, value.is_string() ? value.get<std::string>() : "");
  } else if (tags.is_array()) {
    for (const json& tag : tags) {
      bool upper = tag.contains("Key");
      check(text_at(tag, upper ? "Key" : "key"), text_at(tag, upper ? "Value" : "value"));
    }
  }
  return matches == 2;
}

bool excluded(const ResourceCall& c, const std::string& physical_id) {
  return std::find(c.not_these.begin(), c.not_these.end(), physical_id) != c.not_these.end();
}

json tag_list(const json& properties) {
  return properties.value("Tags", json::array());
}

json removed_tag_keys(const ResourceCall& c) {
  json keys = json::array();
  for (const json& old : tag_list(c.old_properties)) {
    bool kept =
        std::any_of(c.tags.begin(), c.tags.end(), [&](const json& tag) { return tag["Key"] == old["Key"]; });
    if (!kept) keys.push_back(old["Key"]);
  }
  return keys;
}

std::string document_text(const json& document) {
  return document.is_string() ? document.get<std::string>() : document.dump();
}

}  // namespace weir::cfn
