#include "cfn/parameters.h"

#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

#include "cfn/values.h"

namespace weir::cfn {

namespace {

constexpr size_t kValueBytesMax = 4096;

struct IdType {
  std::string_view type;
  std::string_view prefix;  // "" = any text
};
constexpr std::array<IdType, 10> kAwsTypes = {{
    {"AWS::EC2::AvailabilityZone::Name", ""},
    {"AWS::EC2::Image::Id", "ami-"},
    {"AWS::EC2::Instance::Id", "i-"},
    {"AWS::EC2::KeyPair::KeyName", ""},
    {"AWS::EC2::SecurityGroup::GroupName", ""},
    {"AWS::EC2::SecurityGroup::Id", "sg-"},
    {"AWS::EC2::Subnet::Id", "subnet-"},
    {"AWS::EC2::Volume::Id", "vol-"},
    {"AWS::EC2::VPC::Id", "vpc-"},
    {"AWS::Route53::HostedZone::Id", ""},
}};

const IdType* aws_type(std::string_view type) {
  if (type.starts_with("List<") && type.ends_with(">")) type = type.substr(5, type.size() - 6);
  auto found =
      std::find_if(kAwsTypes.begin(), kAwsTypes.end(), [type](const IdType& t) { return t.type == type; });
  return found == kAwsTypes.end() ? nullptr : &*found;
}

bool known_type(std::string_view type) {
  return type == "String" || type == "Number" || type == "List<Number>" || type == "CommaDelimitedList" ||
         aws_type(type) != nullptr;
}

bool is_number(const std::string& text) {
  PlainKind kind = classify_plain(text);
  return kind == PlainKind::Integer || kind == PlainKind::Float || kind == PlainKind::Octal;
}

std::optional<double> number_at(const Node& definition, std::string_view key) {
  const Node* node = definition.find(key);
  if (node == nullptr || !node->is_scalar() || !is_number(node->text)) return std::nullopt;
  return std::strtod(node->text.c_str(), nullptr);
}

std::string text_at(const Node& definition, std::string_view key) {
  const Node* node = definition.find(key);
  return node != nullptr && node->is_scalar() ? scalar_text(*node) : std::string();
}

// What is wrong with one value (a list's member by itself), "" when nothing is.
std::string constraint_failure(const ParameterDefinition& p, const std::string& value) {
  const Node& d = *p.definition;
  if (const Node* allowed = d.find("AllowedValues")) {
    bool found = std::any_of(allowed->items.begin(), allowed->items.end(),
                             [&](const Node& n) { return scalar_text(n) == value; });
    if (!found) return "Parameter '" + p.name + "' must be one of AllowedValues";
  }
  std::string description = text_at(d, "ConstraintDescription");
  std::string prefix = "Parameter " + p.name + " failed to satisfy constraint: ";
  auto failure = [&](std::string what) {
    return prefix + (description.empty() ? std::move(what) : description);
  };
  if (std::string pattern = text_at(d, "AllowedPattern"); !pattern.empty()) {
    RE2 re(pattern, RE2::Quiet);
    if (re.ok() && !RE2::FullMatch(value, re))
      return failure("Member must satisfy regular expression pattern: " + pattern);
  }
  double length = static_cast<double>(value.size());
  if (auto n = number_at(d, "MinLength"); n && length < *n) {
    return failure("Member must have length greater than or equal to " + text_at(d, "MinLength"));
  }
  if (auto n = number_at(d, "MaxLength"); n && length > *n) {
    return failure("Member must have length less than or equal to " + text_at(d, "MaxLength"));
  }
  if (p.type != "Number" && p.type != "List<Number>") return {};
  double number = std::strtod(value.c_str(), nullptr);
  if (auto n = number_at(d, "MinValue"); n && number < *n) {
    return failure("Member must have value greater than or equal to " + text_at(d, "MinValue"));
  }
  if (auto n = number_at(d, "MaxValue"); n && number > *n) {
    return failure("Member must have value less than or equal to " + text_at(d, "MaxValue"));
  }
  return {};
}

std::string type_failure(const ParameterDefinition& p, const std::string& value) {
  if ((p.type == "Number" || p.type == "List<Number>") && !is_number(value)) {
    return "Parameter '" + p.name + "' must be a number.";
  }
  const IdType* id = aws_type(p.type);
  if (id != nullptr && !value.starts_with(id->prefix)) {
    return "Parameter validation failed: parameter value " + value + " for parameter name " + p.name +
           " does not exist. Rollback requested by user.";
  }
  return {};
}

void check_value(const ParameterDefinition& p, const std::string& value, Mark where, Diagnostics& diagnostics) {
  if (value.size() > kValueBytesMax) {
    diagnostics.add(where, "Parameter " + p.name + " must have at most 4096 bytes.");
    return;
  }
  std::vector<std::string> members = p.is_list() ? split_list(value) : std::vector<std::string>{value};
  for (const std::string& member : members) {
    std::string failure = type_failure(p, member);
    if (failure.empty()) failure = constraint_failure(p, member);
    if (!failure.empty()) diagnostics.add(where, failure);
  }
}

void check_definition(const ParameterDefinition& p, Diagnostics& diagnostics) {
  static const std::vector<std::string> kAttributes = {
      "Type",     "Default", "AllowedValues", "AllowedPattern",       "MinLength", "MaxLength", "MinValue",
      "MaxValue", "NoEcho",  "Description",   "ConstraintDescription"};
  static const std::vector<std::string> kTypes = {"String", "Number", "List<Number>", "CommaDelimitedList"};
  const Node* type = p.definition->find("Type");
  if (type != nullptr && !known_type(p.type)) {
    bool ssm = p.type.starts_with("AWS::SSM::");
    diagnostics.add(type->mark,
                    "Parameter type " + p.type + " of " + p.name +
                        (ssm ? " is not supported by Weir." : " is unknown." + did_you_mean(p.type, kTypes)));
  }
  for (const Member& m : p.definition->members) {
    if (std::find(kAttributes.begin(), kAttributes.end(), m.key) == kAttributes.end()) {
      diagnostics.add(m.key_mark, "Parameter " + p.name + " has no attribute " + m.key + "." +
                                      did_you_mean(m.key, kAttributes));
    } else if (m.key == "AllowedValues" ? !m.value.is_list() : !m.value.is_scalar()) {
      diagnostics.add(m.value.mark, m.key + " of parameter " + p.name + " must be " +
                                        (m.key == "AllowedValues" ? "a list" : "a scalar") + ", not " +
                                        describe_node(m.value) + ".");
    } else if ((m.key.starts_with("Min") || m.key.starts_with("Max")) && !is_number(m.value.text)) {
      diagnostics.add(m.value.mark, m.key + " of parameter " + p.name + " must be a number, not " +
                                        describe_node(m.value) + ".");
    } else if (m.key == "AllowedPattern") {
      RE2 re(m.value.text, RE2::Quiet);
      if (!re.ok())
        diagnostics.add(m.value.mark, "AllowedPattern of parameter " + p.name + ": " + re.error() + ".");
    }
  }
}

std::string joined_names(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return "[" + out + "]";
}

}  // namespace

void check_parameter_definitions(const Template& tpl, Diagnostics& diagnostics) {
  for (const ParameterDefinition& p : tpl.parameters) {
    check_definition(p, diagnostics);
    const Node* fallback = p.definition->find("Default");
    if (fallback != nullptr && fallback->is_scalar() && known_type(p.type)) {
      check_value(p, scalar_text(*fallback), fallback->mark, diagnostics);
    }
  }
}

ParameterValues resolve_parameters(const Template& tpl, const ParameterValues& given, bool require_all,
                                   Diagnostics& diagnostics) {
  std::vector<std::string> unknown;
  for (const auto& [name, value] : given) {
    if (tpl.parameter(name) == nullptr) unknown.push_back(name);
  }
  if (!unknown.empty())
    diagnostics.add({}, "Parameters: " + joined_names(unknown) + " do not exist in the template");
  ParameterValues values;
  std::vector<std::string> missing;
  for (const ParameterDefinition& p : tpl.parameters) {
    const Node* fallback = p.definition->find("Default");
    if (auto found = given.find(p.name); found != given.end()) {
      values[p.name] = found->second;
      check_value(p, found->second, {}, diagnostics);
    } else if (fallback != nullptr && (fallback->is_scalar() || fallback->kind == Node::Kind::Null)) {
      values[p.name] = scalar_text(*fallback);
    } else {
      missing.push_back(p.name);
    }
  }
  if (require_all && !missing.empty())
    diagnostics.add({}, "Parameters: " + joined_names(missing) + " must have values");
  return values;
}

}  // namespace weir::cfn
