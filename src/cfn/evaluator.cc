#include "cfn/evaluator.h"

#include <algorithm>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "cfn/unknown.h"
#include "cfn/values.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

const std::vector<std::string> kFunctions = {"Ref",        "Fn::GetAtt", "Fn::Sub",       "Fn::Join",
                                             "Fn::Select", "Fn::Split",  "Fn::FindInMap", "Fn::Cidr",
                                             "Fn::GetAZs", "Fn::If",     "Fn::Base64"};
const std::vector<std::string> kConditionFunctions = {"Fn::And", "Fn::Or", "Fn::Not", "Fn::Equals",
                                                      "Condition"};

bool contains(const std::vector<std::string>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

bool is_function(const Node& node, const Member*& call) {
  if (!node.is_map() || node.members.size() != 1) return false;
  call = &node.members[0];
  return call->key == "Ref" || call->key.starts_with("Fn::");
}

Evaluator::Evaluator(const Template& tpl, const Pseudo& pseudo, const ParameterValues& parameters,
                     const ResourceValues* resources, Diagnostics& diagnostics)
    : tpl_(tpl), pseudo_(pseudo), parameters_(parameters), resources_(resources), diagnostics_(diagnostics) {}

json Evaluator::bad(Mark where, std::string message) {
  diagnostics_.add(where, std::move(message));
  return unknown(Shape::Any);
}

std::vector<std::string> Evaluator::names() const {
  std::vector<std::string> out = {"AWS::Region",  "AWS::AccountId",       "AWS::StackName",
                                  "AWS::StackId", "AWS::Partition",       "AWS::URLSuffix",
                                  "AWS::NoValue", "AWS::NotificationARNs"};
  for (const auto& p : tpl_.parameters) out.push_back(p.name);
  for (const auto& r : tpl_.resources) out.push_back(r.name);
  return out;
}

json Evaluator::value(const Node& node) {
  const Member* function = nullptr;
  if (is_function(node, function)) return call(function->key, function->value, node.mark);
  switch (node.kind) {
    case Node::Kind::Null: return nullptr;
    case Node::Kind::Scalar: return scalar_text(node);
    case Node::Kind::List: {
      json out = json::array();
      for (const Node& item : node.items) {
        json v = value(item);
        if (!is_no_value(v)) out.push_back(std::move(v));
      }
      return out;
    }
    case Node::Kind::Map: break;
  }
  json out = json::object();
  for (const Member& m : node.members) {
    if (m.key == "Ref" || m.key.starts_with("Fn::")) {
      diagnostics_.add(m.key_mark, m.key + " must be the only key of its mapping.");
      continue;
    }
    json v = value(m.value);
    if (!is_no_value(v)) out[m.key] = std::move(v);
  }
  return out;
}

json Evaluator::call(std::string_view name, const Node& argument, Mark where) {
  if (name == "Ref") return ref(argument, where);
  if (name == "Fn::GetAtt") return get_att(argument, where);
  if (name == "Fn::Sub") return sub(argument, where);
  if (name == "Fn::Join") return join(argument, where);
  if (name == "Fn::Select") return select(argument, where);
  if (name == "Fn::Split") return split(argument, where);
  if (name == "Fn::FindInMap") return find_in_map(argument, where);
  if (name == "Fn::Cidr") return cidr(argument, where);
  if (name == "Fn::GetAZs") return get_azs(argument, where);
  if (name == "Fn::If") {
    const Node* other = nullptr;
    const Node* branch = chosen(argument, other);
    if (other != nullptr && resources_ == nullptr) {
      bool was = std::exchange(inactive_, true);
      value(*other);
      inactive_ = was;
    }
    return branch == nullptr ? unknown(Shape::Any) : value(*branch);
  }
  if (name == "Fn::Base64") {
    json v = value(argument);
    if (is_unknown(v)) return unknown(Shape::Scalar);
    std::optional<std::string> plain = text(v, argument.mark, "Fn::Base64");
    return plain ? json(base64(*plain)) : unknown(Shape::Scalar);
  }
  if (contains(kConditionFunctions, name)) {
    return bad(where, std::string(name) + " can be used in Conditions only.");
  }
  bool known_to_aws = name == "Fn::ImportValue" || name == "Fn::Transform" || name == "Fn::Length" ||
                      name == "Fn::ToJsonString" || name.starts_with("Fn::ForEach");
  return bad(where, "The function " + std::string(name) +
                        (known_to_aws ? " is not supported by Weir."
                                      : " is unknown." + did_you_mean(name, kFunctions)));
}

std::optional<std::vector<json>> Evaluator::arguments(const Node& node, size_t min, size_t max,
                                                      std::string_view function) {
  if (!node.is_list() || node.items.size() < min || node.items.size() > max) {
    std::string count = min == max ? std::to_string(min) : std::to_string(min) + " to " + std::to_string(max);
    bad(node.mark, std::string(function) + " needs a list of " + count + " values, not " +
                       (node.is_list() ? std::to_string(node.items.size()) : describe_node(node)) + ".");
    return std::nullopt;
  }
  std::vector<json> out;
  for (const Node& item : node.items) out.push_back(value(item));
  return out;
}

std::optional<std::string> Evaluator::text(const json& v, Mark where, std::string_view what) {
  if (v.is_string()) return v.get<std::string>();
  if (v.is_number() || v.is_boolean()) return v.dump();
  if (is_unknown(v) && shape_of(v) != Shape::List) return std::nullopt;
  bad(where, std::string(what) + " needs a string, not " + (is_list_like(v) ? "a list" : "this value") + ".");
  return std::nullopt;
}

json Evaluator::ref(const Node& argument, Mark where) {
  if (!argument.is_scalar())
    return bad(argument.mark, "Ref needs a name, not " + describe_node(argument) + ".");
  return ref_name(argument.text, where);
}

json Evaluator::ref_name(std::string_view name, Mark where) {
  auto or_unknown = [](const std::string& s) { return s.empty() ? unknown(Shape::Scalar) : json(s); };
  if (name == "AWS::Region") return pseudo_.region;
  if (name == "AWS::AccountId") return pseudo_.account;
  if (name == "AWS::StackId") return or_unknown(pseudo_.stack_id);
  if (name == "AWS::StackName") return or_unknown(pseudo_.stack_name);
  if (name == "AWS::Partition") return "aws";
  if (name == "AWS::URLSuffix") return "amazonaws.com";
  if (name == "AWS::NoValue") return no_value();
  if (name == "AWS::NotificationARNs") return json::array();
  if (const ParameterDefinition* p = tpl_.parameter(name)) {
    auto found = parameters_.find(p->name);
    if (found == parameters_.end()) return unknown(p->is_list() ? Shape::List : Shape::Scalar);
    if (p->is_list()) return split_list(found->second);
    return found->second;
  }
  const ResourceDefinition* r = tpl_.resource(name);
  if (r == nullptr) {
    return bad(where, "Ref names " + std::string(name) + ", which is neither a parameter nor a resource." +
                          did_you_mean(name, names()));
  }
  if (in_condition_) return bad(where, "Conditions cannot refer to resources (" + std::string(name) + ").");
  if (!inactive_ && !present(*r)) {
    return bad(where, "Template format error: Unresolved resource dependencies [" + std::string(name) +
                          "] in the Resources block of the template: its condition is false.");
  }
  json out = unknown(Shape::Scalar);
  if (resources_ != nullptr && !resources_->ref(name, out)) out = unknown(Shape::Scalar);
  return out;
}

json Evaluator::get_att(const Node& argument, Mark where) {
  std::string resource;
  std::string attribute;
  if (argument.is_scalar()) {
    size_t dot = argument.text.find('.');
    resource = argument.text.substr(0, dot);
    if (dot != std::string::npos) attribute = argument.text.substr(dot + 1);
  } else if (argument.is_list() && argument.items.size() == 2 && argument.items[0].is_scalar()) {
    resource = argument.items[0].text;
    json name = value(argument.items[1]);
    if (is_unknown(name)) return unknown(Shape::Any);
    attribute = text(name, argument.items[1].mark, "Fn::GetAtt").value_or("");
  }
  if (resource.empty() || attribute.empty()) {
    return bad(argument.mark, "Fn::GetAtt needs a resource and an attribute (Resource.Attribute), not " +
                                  describe_node(argument) + ".");
  }
  return attribute_of(resource, attribute, where);
}

json Evaluator::attribute_of(const std::string& resource, const std::string& name, Mark where) {
  const ResourceDefinition* r = tpl_.resource(resource);
  if (r == nullptr) {
    std::vector<std::string> candidates;
    for (const auto& other : tpl_.resources) candidates.push_back(other.name);
    return bad(where, "Template error: instance of Fn::GetAtt references undefined resource " + resource + "." +
                          did_you_mean(resource, candidates));
  }
  if (in_condition_) return bad(where, "Conditions cannot refer to resources (" + resource + ").");
  bool is_list = false;
  if (!known_type(r->type)) return unknown(Shape::Any);
  if (!type_has_attribute(r->type, name, is_list)) {
    return bad(where, r->type + " has no attribute " + name + " for Fn::GetAtt." +
                          did_you_mean(name, type_attributes(r->type)));
  }
  if (!inactive_ && !present(*r)) {
    return bad(where, "Template error: instance of Fn::GetAtt references resource " + resource +
                          ", whose condition is false.");
  }
  json out = unknown(is_list ? Shape::List : Shape::Scalar);
  json found;
  if (resources_ != nullptr && resources_->attribute(resource, name, found)) out = std::move(found);
  return out;
}

json Evaluator::sub(const Node& argument, Mark where) {
  const Node* format = &argument;
  json variables = json::object();
  if (argument.is_list()) {
    if (argument.items.size() != 2 || !argument.items[1].is_map()) {
      return bad(argument.mark, "Fn::Sub needs a string, or a list of a string and a mapping.");
    }
    format = &argument.items[0];
    for (const Member& m : argument.items[1].members) variables[m.key] = value(m.value);
  }
  if (!format->is_scalar())
    return bad(format->mark, "Fn::Sub needs a string, not " + describe_node(*format) + ".");
  std::string out;
  bool certain = true;
  const std::string& s = format->text;
  for (size_t i = 0; i < s.size();) {
    size_t end = s.compare(i, 2, "${") == 0 ? s.find('}', i) : std::string::npos;
    if (end == std::string::npos) {
      out += s[i++];
      continue;
    }
    std::string name = s.substr(i + 2, end - i - 2);
    i = end + 1;
    if (name.starts_with("!")) {
      out += "${" + name.substr(1) + "}";
      continue;
    }
    size_t first = name.find_first_not_of(' ');
    name = first == std::string::npos ? "" : name.substr(first, name.find_last_not_of(' ') - first + 1);
    std::optional<std::string> part =
        text(sub_variable(name, variables, where), where, "${" + name + "} in Fn::Sub");
    if (part) out += *part;
    else certain = false;
  }
  return certain ? json(out) : unknown(Shape::Scalar);
}

json Evaluator::sub_variable(const std::string& name, const json& variables, Mark where) {
  if (variables.contains(name)) return variables[name];
  if (name.starts_with("AWS::") || tpl_.parameter(name) != nullptr || tpl_.resource(name) != nullptr) {
    return ref_name(name, where);
  }
  size_t dot = name.find('.');
  if (dot != std::string::npos && tpl_.resource(name.substr(0, dot)) != nullptr) {
    return attribute_of(name.substr(0, dot), name.substr(dot + 1), where);
  }
  return bad(where, "Template error: variable " + name +
                        " in Fn::Sub expression does not resolve to a string." +
                        did_you_mean(name.substr(0, dot), names()));
}

json Evaluator::join(const Node& argument, Mark) {
  auto args = arguments(argument, 2, 2, "Fn::Join");
  if (!args) return unknown(Shape::Scalar);
  std::optional<std::string> delimiter = text((*args)[0], argument.items[0].mark, "The delimiter of Fn::Join");
  const json& list = (*args)[1];
  if (!list.is_array()) {
    if (is_unknown(list) && shape_of(list) != Shape::Scalar) return unknown(Shape::Scalar);
    bad(argument.items[1].mark, "Fn::Join needs a list to join, not a single value.");
    return unknown(Shape::Scalar);
  }
  std::string out;
  bool certain = delimiter.has_value();
  for (size_t i = 0; i < list.size(); ++i) {
    std::optional<std::string> part = text(list[i], argument.items[1].mark, "Each member of Fn::Join");
    if (!part) certain = false;
    else if (certain) out += (i == 0 ? "" : *delimiter) + *part;
  }
  return certain ? json(out) : unknown(Shape::Scalar);
}

json Evaluator::select(const Node& argument, Mark where) {
  auto args = arguments(argument, 2, 2, "Fn::Select");
  if (!args) return unknown(Shape::Any);
  std::optional<std::string> index = text((*args)[0], argument.items[0].mark, "The index of Fn::Select");
  const json& list = (*args)[1];
  if (!list.is_array()) {
    if (is_unknown(list) && shape_of(list) != Shape::Scalar) return unknown(Shape::Scalar);
    return bad(argument.items[1].mark, "Fn::Select needs a list to select from, not a single value.");
  }
  if (!index) return unknown(Shape::Any);
  char* end = nullptr;
  long i = std::strtol(index->c_str(), &end, 10);
  if (index->empty() || *end != '\0') {
    return bad(argument.items[0].mark, "The index of Fn::Select must be a number, not \"" + *index + "\".");
  }
  if (i < 0 || static_cast<size_t>(i) >= list.size()) {
    return bad(where, "Template error: Fn::Select cannot select nonexistent value at index " + *index);
  }
  return list[static_cast<size_t>(i)];
}

json Evaluator::split(const Node& argument, Mark) {
  auto args = arguments(argument, 2, 2, "Fn::Split");
  if (!args) return unknown(Shape::List);
  std::optional<std::string> delimiter = text((*args)[0], argument.items[0].mark, "The delimiter of Fn::Split");
  std::optional<std::string> whole = text((*args)[1], argument.items[1].mark, "Fn::Split");
  if (!delimiter || !whole) return unknown(Shape::List);
  if (delimiter->empty()) return bad(argument.items[0].mark, "The delimiter of Fn::Split must not be empty.");
  json out = json::array();
  size_t start = 0;
  for (size_t at; (at = whole->find(*delimiter, start)) != std::string::npos; start = at + delimiter->size()) {
    out.push_back(whole->substr(start, at - start));
  }
  out.push_back(whole->substr(start));
  return out;
}

json Evaluator::find_in_map(const Node& argument, Mark where) {
  auto args = arguments(argument, 3, 3, "Fn::FindInMap");
  if (!args) return unknown(Shape::Any);
  std::string keys[3];
  for (size_t i = 0; i < 3; ++i) {
    std::optional<std::string> key = text((*args)[i], argument.items[i].mark, "Fn::FindInMap");
    if (!key) return unknown(Shape::Any);
    keys[i] = *key;
  }
  const Node* level = tpl_.mappings;
  for (size_t i = 0; i < 3; ++i) {
    const Node* next = level == nullptr ? nullptr : level->find(keys[i]);
    if (next == nullptr) {
      std::vector<std::string> candidates;
      if (level != nullptr) {
        for (const Member& m : level->members) candidates.push_back(m.key);
      }
      return bad(where, i == 0 ? "Template error: Mapping named '" + keys[0] +
                                     "' is not present in the 'Mappings' section of template." +
                                     did_you_mean(keys[0], candidates)
                               : "Template error: Unable to get mapping for " + keys[0] + "::" + keys[1] +
                                     "::" + keys[2] + "." + did_you_mean(keys[i], candidates));
    }
    level = next;
  }
  return value(*level);
}

json Evaluator::cidr(const Node& argument, Mark where) {
  auto args = arguments(argument, 2, 3, "Fn::Cidr");
  if (!args) return unknown(Shape::List);
  if (args->size() == 2) args->push_back("8");
  std::optional<std::string> parts[3];
  for (size_t i = 0; i < 3; ++i) parts[i] = text((*args)[i], argument.mark, "Fn::Cidr");
  if (!parts[0] || !parts[1] || !parts[2]) return unknown(Shape::List);
  auto blocks = cidr_blocks(*parts[0], std::strtoll(parts[1]->c_str(), nullptr, 10),
                            std::strtoll(parts[2]->c_str(), nullptr, 10));
  if (!blocks) return bad(where, "Fn::Cidr: " + blocks.error().message + ".");
  return *blocks;
}

json Evaluator::get_azs(const Node& argument, Mark where) {
  json v = value(argument);
  if (is_unknown(v)) return unknown(Shape::List);
  std::optional<std::string> region = text(v.is_null() ? json("") : v, argument.mark, "Fn::GetAZs");
  if (!region) return unknown(Shape::List);
  if (!region->empty() && *region != pseudo_.region) {
    return bad(where, "Fn::GetAZs: there is only the region " + pseudo_.region + " here, not " + *region + ".");
  }
  return json::array({pseudo_.region + "a", pseudo_.region + "b", pseudo_.region + "c"});
}

}  // namespace weir::cfn
