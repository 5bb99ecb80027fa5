#include <cctype>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/ec2.h"

namespace weir::api {
namespace {

constexpr size_t kFiltersMax = 50;

bool any_value(const Json& values, const std::string& actual) {
  for (const auto& value : values) {
    if (!value.is_string()) continue;
    const auto& pattern = value.get_ref<const std::string&>();
    bool prefix = pattern.ends_with('*');
    if (prefix ? actual.starts_with(pattern.substr(0, pattern.size() - 1)) : actual == pattern) return true;
  }
  return false;
}

// "group-name" → "GroupName".
std::string member_of_filter(std::string_view name) {
  std::string member;
  bool upper = true;
  for (char c : name) {
    if (c == '-') {
      upper = true;
      continue;
    }
    member += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return member;
}

bool passes_tag_filter(const Json& document, const std::string& name, const Json& values) {
  for (const auto& tag : array(document, "Tags")) {
    if (name == "tag-key" ? any_value(values, tag["Key"])
                          : tag["Key"] == name.substr(4) && any_value(values, tag["Value"])) {
      return true;
    }
  }
  return false;
}

bool passes_list_member(const Json& document, const char* list_member, const char* member, const Json& values) {
  for (const auto& item : array(document, list_member)) {
    if (any_value(values, text(item, member))) return true;
  }
  return false;
}

bool passes_filter(const Json& document, const std::string& name, const Json& values) {
  if (name.starts_with("tag:") || name == "tag-key") return passes_tag_filter(document, name, values);
  if (name == "attachment.vpc-id") return passes_list_member(document, "Attachments", "VpcId", values);
  if (name == "association.subnet-id") return passes_list_member(document, "Associations", "SubnetId", values);
  if (name == "association.route-table-association-id") {
    return passes_list_member(document, "Associations", "RouteTableAssociationId", values);
  }
  if (name == "association.main") {
    for (const auto& item : array(document, "Associations")) {
      if (any_value(values, boolean(item, "Main", false) ? "true" : "false")) return true;
    }
    return any_value(values, "false") && array(document, "Associations").empty();
  }
  if (name == "group-id" && document.contains("Groups")) {
    return passes_list_member(document, "Groups", "GroupId", values);
  }
  if (name == "isDefault" || name == "is-default") {
    return any_value(values, boolean(document, "IsDefault", false) ? "true" : "false");
  }
  std::string member = member_of_filter(name);
  if (name == "cidr" || name == "cidr-block") member = "CidrBlock";
  return document.contains(member) && any_value(values, text(document, member));
}

}  // namespace

bool passes_filters(const Json& document, const Json& filters) {
  for (const auto& filter : filters) {
    if (!passes_filter(document, text(filter, "Name"), array(filter, "Values"))) return false;
  }
  return true;
}

Json describe(Context& context, const Json& input, const DescribeSpec& spec) {
  Json filters = array(input, "Filters");
  if (filters.size() > kFiltersMax) raise("FilterLimitExceeded", "The maximum number of filters is 50.");
  Json ids = array(input, spec.ids_member);
  std::vector<Json> documents;
  if (ids.empty()) {
    documents = list(context, spec.kind);
  } else {
    for (const auto& id : ids) {
      std::string wanted = id.is_string() ? id.get<std::string>() : id.dump();
      Json document = find(context, spec.kind, wanted);
      if (document.is_null() || is_deleting(document)) {
        raise(spec.not_found, fmt::format("The {} '{}' does not exist", spec.noun, wanted));
      }
      documents.push_back(std::move(document));
    }
  }
  Json result = Json::array();
  for (auto& document : documents) {
    if (!is_deleting(document) && passes_filters(document, filters)) result.push_back(public_view(std::move(document)));
  }
  return result;
}

}  // namespace weir::api
