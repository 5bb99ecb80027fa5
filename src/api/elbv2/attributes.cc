#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/elbv2/elbv2.h"
#include "control/attribute_values.h"

namespace weir::api {
namespace {

constexpr size_t kAttributesPerCall = 20;

const AttributeSpec* find_spec(const AttributeSpec* specs, size_t count, const std::string& key) {
  for (size_t i = 0; i < count; ++i) {
    if (key == specs[i].key) return &specs[i];
  }
  return nullptr;
}

bool is_choice(const AttributeSpec& spec, const std::string& value) {
  return std::string_view(spec.choices).find("|" + value + "|") != std::string_view::npos;
}

bool is_header_name(const std::string& value) {
  return !value.empty() && value.size() <= 40 && std::all_of(value.begin(), value.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_';
  });
}

// RFC 9110 §5.5, without bytes beyond ASCII and without spaces around it.
bool is_header_value(const std::string& value) {
  if (value.empty()) return true;
  if (value.front() == ' ' || value.back() == ' ') return false;
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

void check_value(const AttributeSpec& spec, const std::string& value) {
  switch (spec.type) {
    case AttributeSpec::Type::Text:
      if (value.size() > 1024) raise("ValidationError", fmt::format("'{}' value is too long", spec.key));
      return;
    case AttributeSpec::Type::HeaderName:
      if (is_header_name(value)) return;
      raise("ValidationError", fmt::format("'{}' value '{}' must be a header name of letters, digits, '-' and '_', of "
                                           "40 characters at most", spec.key, value));
    case AttributeSpec::Type::HeaderValue:
      if (value.size() > 1024) raise("ValidationError", fmt::format("'{}' value is too long", spec.key));
      if (is_header_value(value)) return;
      raise("ValidationError", fmt::format("'{}' value '{}' contains invalid characters", spec.key, value));
    case AttributeSpec::Type::Boolean:
      if (value == "true" || value == "false") return;
      raise("ValidationError", fmt::format("'{}' value '{}' must be one of '[true,false]'", spec.key, value));
    case AttributeSpec::Type::GrpcCodes:
      if (control::parse_grpc_codes(value)) return;
      raise("ValidationError", fmt::format("'{}' value '{}' must be a list of gRPC codes, as in 'UNAVAILABLE,8'",
                                           spec.key, value));
    case AttributeSpec::Type::Metadata:
      if (control::parse_metadata(value)) return;
      raise("ValidationError", fmt::format("'{}' value '{}' must be a list of metadata, as in 'x-key=value,y=value'",
                                           spec.key, value));
    case AttributeSpec::Type::Choice: {
      if (is_choice(spec, value)) return;
      std::string shown(spec.choices + 1, std::string_view(spec.choices).size() - 2);
      for (char& c : shown) {
        if (c == '|') c = ',';
      }
      raise("ValidationError", fmt::format("'{}' value '{}' must be one of '[{}]'", spec.key, value, shown));
    }
    case AttributeSpec::Type::Integer: {
      if (is_choice(spec, value)) return;
      int64_t number = 0;
      auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
      bool whole = error == std::errc() && end == value.data() + value.size();
      if (whole && number >= spec.min && number <= spec.max) return;
      raise("ValidationError", fmt::format("'{}' value '{}' must be between '{}-{}' inclusive", spec.key, value,
                                           spec.min, spec.max));
    }
  }
}

}  // namespace

Json attribute_defaults(const AttributeSpec* specs, size_t count) {
  Json values = Json::object();
  for (size_t i = 0; i < count; ++i) values[specs[i].key] = specs[i].fallback;
  return values;
}

void apply_attributes(Json& values, const Json& changes, const AttributeSpec* specs, size_t count,
                      std::string_view noun) {
  if (changes.size() > kAttributesPerCall) {
    raise("ValidationError", fmt::format("{} attributes: at most {} in one call", noun, kAttributesPerCall));
  }
  for (const auto& change : changes) {
    std::string key = text(change, "Key");
    const AttributeSpec* spec = find_spec(specs, count, key);
    if (spec == nullptr) raise("ValidationError", fmt::format("{} attribute key '{}' is not recognized", noun, key));
    std::string value = text(change, "Value");
    check_value(*spec, value);
    values[key] = value;
  }
}

Json attribute_list(const Json& values) {
  Json attributes = Json::array();
  for (const auto& [key, value] : values.items()) attributes.push_back({{"Key", key}, {"Value", value}});
  return attributes;
}

}  // namespace weir::api
