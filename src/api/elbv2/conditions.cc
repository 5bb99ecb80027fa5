#include <algorithm>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <re2/re2.h>

#include "api/ec2/cidr.h"
#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

constexpr size_t kValuesPerRule = 5;
constexpr size_t kValueMax = 128;
constexpr size_t kHeaderNameMax = 40;
constexpr size_t kMethodMax = 40;
constexpr size_t kWildcardsMax = 5;

struct Field {
  const char* name;
  const char* config;
  bool once;
  bool takes_regex;
  const char* characters;  // besides letters and digits; nullptr: all that is visible
};
constexpr Field kFields[] = {{"path-pattern", "PathPatternConfig", true, true, "_-.$/~\"'@:+&*?"},
                             {"host-header", "HostHeaderConfig", true, true, "-._*?"},
                             {"http-header", "HttpHeaderConfig", false, true, nullptr},
                             {"http-request-method", "HttpRequestMethodConfig", true, false, "-_"},
                             {"query-string", "QueryStringConfig", false, false, nullptr},
                             {"source-ip", "SourceIpConfig", true, false, nullptr}};

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

void check_characters(const Field& field, const std::string& value) {
  if (field.characters == nullptr) return;
  bool valid = std::all_of(value.begin(), value.end(), [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view(field.characters).find(c) != std::string_view::npos;
  });
  if (!valid) {
    raise("ValidationError", fmt::format("The '{}' value '{}' contains invalid characters", field.name, value));
  }
}

// A name with a dot, and nothing but letters (or wildcards) behind the last one.
void check_host(const std::string& value) {
  size_t dot = value.rfind('.');
  if (dot == std::string::npos) {
    raise("ValidationError", fmt::format("The 'host-header' value '{}' must contain at least one '.'", value));
  }
  bool letters = std::all_of(value.begin() + static_cast<std::ptrdiff_t>(dot) + 1, value.end(), [](unsigned char c) {
    return std::isalpha(c) || c == '*' || c == '?';
  });
  if (!letters) {
    raise("ValidationError",
          fmt::format("The 'host-header' value '{}' can have only letters after the last '.'", value));
  }
}

bool is_block(const std::string& value) {
  if (value.find(':') == std::string::npos) return parse_cidr(value).has_value();
  size_t slash = value.find('/');
  in6_addr address{};
  if (slash == std::string::npos || inet_pton(AF_INET6, value.substr(0, slash).c_str(), &address) != 1) return false;
  std::string bits = value.substr(slash + 1);
  bool digits = !bits.empty() && bits.size() <= 3 &&
                std::all_of(bits.begin(), bits.end(), [](unsigned char c) { return std::isdigit(c); });
  return digits && std::stoi(bits) <= 128;
}

void check_value(const Field& field, const Json& value) {
  std::string name = field.name;
  if (name == "query-string") {
    if (!value.is_object()) raise("ValidationError", "A condition value must be specified");
    check_text(name, text(value, "Value"));
    if (has(value, "Key")) check_text(name, text(value, "Key"));
    return;
  }
  if (!value.is_string()) raise("ValidationError", "A condition value must be specified");
  const auto& given = value.get_ref<const std::string&>();
  check_text(name, given);
  check_characters(field, given);
  if (name == "host-header") check_host(given);
  if (name == "source-ip" && (!is_block(given) || given == "255.255.255.255/32")) {
    raise("ValidationError", fmt::format("Condition value '{}' must be a valid CIDR block", given));
  }
  bool upper = std::none_of(given.begin(), given.end(),
                            [](unsigned char c) { return std::islower(c) || std::isdigit(c); });
  if (name == "http-request-method" && (given.size() > kMethodMax || !upper)) {
    raise("ValidationError", fmt::format("The 'http-request-method' value '{}' contains invalid characters", given));
  }
}

void check_regex(const Field& field, const Json& value) {
  if (!field.takes_regex) {
    raise("ValidationError", fmt::format("Regular expressions are not supported for the field '{}'", field.name));
  }
  if (!value.is_string()) raise("ValidationError", "A condition value must be specified");
  const auto& given = value.get_ref<const std::string&>();
  check_text(field.name, given);
  re2::RE2 regex(given, re2::RE2::Quiet);
  if (regex.ok()) return;
  raise("ValidationError", fmt::format("The '{}' regular expression '{}' is not valid: {}", field.name, given,
                                       regex.error()));
}

size_t wildcards_in(const Json& values) {
  size_t count = 0;
  auto add = [&count](const std::string& text) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\\' && i + 1 < text.size()) {
        ++i;  // what is escaped is no wildcard
      } else {
        count += text[i] == '*' || text[i] == '?';
      }
    }
  };
  for (const auto& value : values) {
    if (value.is_string()) {
      add(value.get<std::string>());
    } else {
      add(text(value, "Key"));
      add(text(value, "Value"));
    }
  }
  return count;
}

void check_header_name(const std::string& header) {
  if (header.empty() || header.size() > kHeaderNameMax) {
    raise("ValidationError", "An HTTP header name of 1 to 40 characters must be specified");
  }
  bool valid = std::all_of(header.begin(), header.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("!#$%&'+-.^_`|~").find(static_cast<char>(c)) != std::string::npos;
  });
  if (!valid) raise("ValidationError", fmt::format("The HTTP header name '{}' contains invalid characters", header));
  std::string lower = header;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower == "host") raise("ValidationError", "Use the condition field 'host-header' for the header 'Host'");
}

Json checked_condition(const Json& condition) {
  std::string name = text(condition, "Field");
  if (name.empty()) raise("ValidationError", "A condition field must be specified");
  const Field& field = field_of(name);
  Json config = condition.value(field.config, Json::object());
  if (config.is_null()) config = Json::object();
  Json regexes = array(config, "RegexValues");
  if (regexes.empty()) regexes = array(condition, "RegexValues");
  Json values = array(config, "Values");
  if (values.empty()) values = array(condition, "Values");
  if (values.empty() && regexes.empty()) raise("ValidationError", "A condition value must be specified");
  if (!values.empty() && !regexes.empty()) {
    raise("ValidationError", "Values and RegexValues cannot be specified in the same condition");
  }
  for (const auto& value : values) check_value(field, value);
  for (const auto& value : regexes) check_regex(field, value);
  Json normal{{"Field", name}};
  if (regexes.empty()) {
    normal[field.config]["Values"] = values;
    if (name == "path-pattern" || name == "host-header") normal["Values"] = values;
  } else {
    normal[field.config]["RegexValues"] = regexes;
  }
  if (name == "http-header") {
    std::string header = text(config, "HttpHeaderName");
    check_header_name(header);
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
    const Json& config = checked[field.config];
    values += array(config, "Values").size() + array(config, "RegexValues").size();
    wildcards += wildcards_in(array(config, "Values"));
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
