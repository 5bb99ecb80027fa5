#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/cidr.h"
#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

constexpr size_t kValuesPerRule = 5;
constexpr size_t kValueMax = 128;
constexpr size_t kHeaderNameMax = 40;
constexpr size_t kWildcardsMax = 5;

struct Field {
  const char* name;
  const char* config;
  bool once;
};
constexpr Field kFields[] = {{"path-pattern", "PathPatternConfig", true},
                             {"host-header", "HostHeaderConfig", true},
                             {"http-header", "HttpHeaderConfig", false},
                             {"http-request-method", "HttpRequestMethodConfig", true},
                             {"query-string", "QueryStringConfig", false},
                             {"source-ip", "SourceIpConfig", true}};

const Field& field_of(const std::string& name) {
  for (const auto& field : kFields) {
    if (name == field.name) return field;
  }
  raise("ValidationError", fmt::format("Condition field '{}' must be one of '[path-pattern,host-header,http-header,"
                                       "http-request-method,query-string,source-ip]'", name));
}

void check_text(const std::string& field, const std::string& value) {
  if (value.empty()) raise("ValidationError", "A condition value must be specified");
  if (value.size() > kValueMax) {
    raise("ValidationError", fmt::format("The '{}' value is too long; the limit is '128'", field));
  }
  bool visible = std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!visible) raise("ValidationError", fmt::format("The '{}' value contains invalid characters", field));
}

void check_value(const std::string& field, const Json& value) {
  if (field == "query-string") {
    if (!value.is_object()) raise("ValidationError", "A condition value must be specified");
    check_text(field, text(value, "Value"));
    return;
  }
  if (!value.is_string()) raise("ValidationError", "A condition value must be specified");
  const auto& given = value.get_ref<const std::string&>();
  check_text(field, given);
  if (field == "source-ip" && given.find(':') == std::string::npos && !parse_cidr(given)) {
    raise("ValidationError", fmt::format("Condition value '{}' must be a valid CIDR block", given));
  }
  if (field == "http-request-method") {
    bool valid = std::all_of(given.begin(), given.end(), [](char c) {
      return (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
    });
    if (!valid || given.size() > 40) {
      raise("ValidationError", fmt::format("The 'http-request-method' value '{}' contains invalid characters", given));
    }
  }
}

size_t wildcards_in(const Json& values) {
  size_t count = 0;
  for (const auto& value : values) {
    std::string shown = value.is_string() ? value.get<std::string>() : text(value, "Value");
    count += static_cast<size_t>(
        std::count_if(shown.begin(), shown.end(), [](char c) { return c == '*' || c == '?'; }));
  }
  return count;
}

Json checked_condition(const Json& condition) {
  std::string name = text(condition, "Field");
  if (name.empty()) raise("ValidationError", "A condition field must be specified");
  const Field& field = field_of(name);
  Json config = condition.value(field.config, Json::object());
  if (config.is_null()) config = Json::object();
  if (!array(config, "RegexValues").empty() || !array(condition, "RegexValues").empty()) {
    raise("ValidationError", "Regular expressions in conditions are not supported here; use Values");
  }
  Json values = array(config, "Values");
  if (values.empty()) values = array(condition, "Values");
  if (values.empty()) raise("ValidationError", "A condition value must be specified");
  for (const auto& value : values) check_value(name, value);
  Json normal{{"Field", name}, {field.config, {{"Values", values}}}};
  if (name == "path-pattern" || name == "host-header") normal["Values"] = values;
  if (name == "http-header") {
    std::string header = text(config, "HttpHeaderName");
    if (header.empty() || header.size() > kHeaderNameMax) {
      raise("ValidationError", "An HTTP header name of 1 to 40 characters must be specified");
    }
    normal[field.config]["HttpHeaderName"] = header;
  }
  return normal;
}

}  // namespace

Json checked_conditions(const Json& conditions) {
  if (!conditions.is_array() || conditions.empty()) {
    raise("ValidationError", "A condition must be specified");
  }
  Json normal = Json::array();
  size_t values = 0;
  size_t wildcards = 0;
  for (const auto& condition : conditions) {
    Json checked = checked_condition(condition);
    const Field& field = field_of(text(checked, "Field"));
    for (const auto& other : normal) {
      if (field.once && other["Field"] == checked["Field"]) {
        raise("ValidationError", fmt::format("Only one condition of field '{}' is allowed per rule", field.name));
      }
    }
    values += checked[field.config]["Values"].size();
    wildcards += wildcards_in(checked[field.config]["Values"]);
    normal.push_back(std::move(checked));
  }
  if (values > kValuesPerRule) {
    raise("ValidationError", fmt::format("Rules can have a maximum of '{}' condition values", kValuesPerRule));
  }
  if (wildcards > kWildcardsMax) {
    raise("ValidationError", fmt::format("Rules can have a maximum of '{}' wildcards", kWildcardsMax));
  }
  return normal;
}

}  // namespace weir::api
