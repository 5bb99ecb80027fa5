// Conditions, Fn::If and references: the part of the evaluator that decides what is in force.
#include <nlohmann/json.hpp>

#include "cfn/evaluator.h"
#include "cfn/unknown.h"

namespace weir::cfn {

using nlohmann::json;

const Node* Evaluator::chosen(const Node& argument, const Node*& other) {
  other = nullptr;
  if (!argument.is_list() || argument.items.size() != 3 || !argument.items[0].is_scalar()) {
    bad(argument.mark, "Fn::If needs a list of a condition name and two values.");
    return nullptr;
  }
  std::optional<bool> on = condition(argument.items[0].text, argument.items[0].mark);
  other = &argument.items[on.value_or(true) ? 2 : 1];
  return &argument.items[on.value_or(true) ? 1 : 2];
}

std::optional<bool> Evaluator::condition(std::string_view name, Mark where) {
  if (auto known = conditions_.find(name); known != conditions_.end()) return known->second;
  const Member* definition = tpl_.conditions == nullptr ? nullptr : tpl_.conditions->find_member(name);
  if (definition == nullptr) {
    std::vector<std::string> candidates;
    if (tpl_.conditions != nullptr) {
      for (const Member& m : tpl_.conditions->members) candidates.push_back(m.key);
    }
    diagnostics_.add(where, "Template error: unresolved condition dependency " + std::string(name) + "." +
                                did_you_mean(name, candidates));
    return std::nullopt;
  }
  if (!conditions_open_.insert(definition->key).second) {
    diagnostics_.add(definition->key_mark, "Circular dependency between conditions: " + definition->key + ".");
    return std::nullopt;
  }
  bool was = std::exchange(in_condition_, true);
  std::optional<bool> result = condition_of(definition->value);
  in_condition_ = was;
  conditions_open_.erase(definition->key);
  conditions_.emplace(definition->key, result);
  return result;
}

bool Evaluator::present(const ResourceDefinition& resource) {
  return resource.condition.empty() || condition(resource.condition, resource.condition_mark).value_or(true);
}

std::optional<bool> Evaluator::condition_of(const Node& node) {
  if (!node.is_map() || node.members.size() != 1) {
    diagnostics_.add(node.mark,
                     "A condition is one of Fn::And, Fn::Or, Fn::Not, Fn::Equals and Condition, not " +
                         describe_node(node) + ".");
    return std::nullopt;
  }
  return condition_call(node.members[0]);
}

std::optional<bool> Evaluator::condition_call(const Member& call) {
  const Node& argument = call.value;
  if (call.key == "Condition") {
    if (argument.is_scalar()) return condition(argument.text, argument.mark);
    diagnostics_.add(argument.mark, "Condition needs a name, not " + describe_node(argument) + ".");
    return std::nullopt;
  }
  if (call.key == "Fn::Equals") return equals(argument);
  bool negate = call.key == "Fn::Not";
  bool all = call.key == "Fn::And";
  if (!negate && !all && call.key != "Fn::Or") {
    static const std::vector<std::string> kNames = {"Fn::And", "Fn::Or", "Fn::Not", "Fn::Equals", "Condition"};
    diagnostics_.add(call.key_mark, call.key + " does not yield a condition." + did_you_mean(call.key, kNames));
    return std::nullopt;
  }
  constexpr size_t kTermsMax = 10;
  size_t size = argument.is_list() ? argument.items.size() : 0;
  if (negate ? size != 1 : size < 2 || size > kTermsMax) {
    diagnostics_.add(argument.mark, call.key + (negate ? " needs a list of one condition."
                                                       : " needs a list of 2 to 10 conditions."));
    return std::nullopt;
  }
  bool certain = true;
  std::optional<bool> decided;
  for (const Node& item : argument.items) {
    std::optional<bool> term = condition_of(item);
    if (!term) certain = false;
    else if (negate) return !*term;
    else if (*term != all) decided = *term;
  }
  if (decided) return decided;
  return certain ? std::optional<bool>(all) : std::nullopt;
}

std::optional<bool> Evaluator::equals(const Node& argument) {
  auto args = arguments(argument, 2, 2, "Fn::Equals");
  if (!args || has_unknown((*args)[0]) || has_unknown((*args)[1])) return std::nullopt;
  return (*args)[0] == (*args)[1];
}

void Evaluator::references(const Node& node, std::map<std::string, Mark>& out) {
  const Member* call = nullptr;
  auto add = [&](const std::string& name) {
    if (tpl_.resource(name) != nullptr) out.try_emplace(name, node.mark);
  };
  if (is_function(node, call)) {
    const Node& argument = call->value;
    if (call->key == "Ref" && argument.is_scalar()) return add(argument.text);
    if (call->key == "Fn::GetAtt") {
      const Node* target = argument.is_list() && !argument.items.empty() ? &argument.items[0] : &argument;
      return add(target->text.substr(0, target->text.find('.')));
    }
    if (call->key == "Fn::If") {
      const Node* other = nullptr;
      if (const Node* branch = chosen(argument, other)) references(*branch, out);
      return;
    }
    if (call->key == "Fn::Sub") {
      const Node& format = argument.is_list() && !argument.items.empty() ? argument.items[0] : argument;
      const Node* own = argument.is_list() && argument.items.size() == 2 ? &argument.items[1] : nullptr;
      for (size_t i = format.text.find("${"); i != std::string::npos; i = format.text.find("${", i + 2)) {
        std::string name = format.text.substr(i + 2, format.text.find('}', i) - i - 2);
        if (own == nullptr || own->find(name) == nullptr) add(name.substr(0, name.find('.')));
      }
      if (own != nullptr) references(*own, out);
      return;
    }
  }
  for (const Node& item : node.items) references(item, out);
  for (const Member& m : node.members) references(m.value, out);
}

}  // namespace weir::cfn
