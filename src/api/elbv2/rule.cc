#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

constexpr int64_t kPriorityMax = 50000;
constexpr size_t kRulesMax = 100;

std::string rule_base(const std::string& listener_arn) {
  std::string base = listener_arn;
  base.replace(base.find(":listener/"), std::string_view(":listener/").size(), ":listener-rule/");
  return base;
}

// The default rule is not stored: it is the listener's DefaultActions. Its id is the listener's own,
// turned around, so that it never changes.
std::string default_rule_arn(const std::string& listener_arn) {
  std::string id = last_part(listener_arn);
  std::reverse(id.begin(), id.end());
  return rule_base(listener_arn) + "/" + id;
}

Json default_rule(const Json& listener) {
  return {{"RuleArn", default_rule_arn(text(listener, "ListenerArn"))},
          {"ListenerArn", listener["ListenerArn"]},
          {"Priority", "default"},
          {"Conditions", Json::array()},
          {"Actions", listener["DefaultActions"]},
          {"IsDefault", true}};
}

Json shown(Json rule) {
  rule.erase("ListenerArn");
  rule.erase("Tags");
  return public_view(std::move(rule));
}

int64_t checked_priority(const Json& input) {
  auto priority = optional_integer(input, "Priority");
  if (!priority) raise("ValidationError", "A rule priority must be specified");
  if (*priority < 1 || *priority > kPriorityMax) {
    raise("ValidationError", fmt::format("Rule priority '{}' must be between '1-50000' inclusive", *priority));
  }
  return *priority;
}

void check_priority_free(Context& context, const std::string& listener_arn, int64_t priority) {
  for (const auto& rule : list_where(context, kRuleKind, "ListenerArn", listener_arn)) {
    if (text(rule, "Priority") == std::to_string(priority)) {
      raise("PriorityInUse", fmt::format("Priority '{}' is currently in use", priority));
    }
  }
}

// Default rules are not counted.
size_t rules_of_balancer(Context& context, const std::string& balancer_arn) {
  size_t count = 0;
  for (const auto& listener : list_where(context, kListenerKind, "LoadBalancerArn", balancer_arn)) {
    count += list_where(context, kRuleKind, "ListenerArn", text(listener, "ListenerArn")).size();
  }
  return count;
}

Json create_rule(Context& context, const Json& input) {
  std::string listener_arn = required(input, "ListenerArn");
  int64_t priority = checked_priority(input);
  Json rule;
  transaction(context, [&] {
    Json listener = load_listener(context, listener_arn);
    check_priority_free(context, listener_arn, priority);
    if (rules_of_balancer(context, text(listener, "LoadBalancerArn")) >= kRulesMax) {
      raise("TooManyRules", "The quota of rules per load balancer has been reached");
    }
    rule = {{"RuleArn", rule_base(listener_arn) + "/" + context.random.hex(16)},
            {"ListenerArn", listener_arn},
            {"Priority", std::to_string(priority)},
            {"Conditions", checked_conditions(array(input, "Conditions"))},
            {"Actions", checked_actions(context, array(input, "Actions"), text(listener, "Protocol"),
                                        text(listener, "LoadBalancerArn"))},
            {"IsDefault", false},
            {"Tags", tags_of(input)}};
    put(context, kRuleKind, text(rule, "RuleArn"), rule);
  });
  return {{"Rules", Json::array({shown(rule)})}};
}

// A listener's rules by priority, the default rule last.
std::vector<Json> rules_of(Context& context, const Json& listener) {
  auto rules = list_where(context, kRuleKind, "ListenerArn", text(listener, "ListenerArn"));
  std::sort(rules.begin(), rules.end(), [](const Json& a, const Json& b) {
    return integer(a, "Priority", 0) < integer(b, "Priority", 0);
  });
  rules.push_back(default_rule(listener));
  return rules;
}

Json find_default_rule(Context& context, const std::string& arn) {
  for (const auto& listener : list(context, kListenerKind)) {
    if (default_rule_arn(text(listener, "ListenerArn")) == arn) return default_rule(listener);
  }
  return Json();
}

Json describe_rules(Context& context, const Json& input) {
  std::string listener_arn = text(input, "ListenerArn");
  Json arns = array(input, "RuleArns");
  if (listener_arn.empty() && arns.empty()) {
    raise("ValidationError", "You must specify either listener rule ARNs or a listener ARN");
  }
  if (!listener_arn.empty() && !arns.empty()) {
    raise("ValidationError", "Listener rule ARNs and a listener ARN cannot be specified at the same time");
  }
  Json found = Json::array();
  if (!listener_arn.empty()) {
    for (auto& rule : rules_of(context, load_listener(context, listener_arn))) found.push_back(shown(rule));
  }
  for (const auto& arn : arns) {
    std::string wanted = arn.is_string() ? arn.get<std::string>() : "";
    Json rule = find_default_rule(context, wanted);
    found.push_back(shown(rule.is_null() ? load_rule(context, wanted) : rule));
  }
  return {{"Rules", found}};
}

void refuse_default(Context& context, const std::string& arn, const char* verb) {
  if (find_default_rule(context, arn).is_null()) return;
  raise("OperationNotPermitted", fmt::format("Default rule '{}' cannot be {}", arn, verb));
}

Json modify_rule(Context& context, const Json& input) {
  std::string id = required(input, "RuleArn");
  Json rule;
  transaction(context, [&] {
    refuse_default(context, id, "modified");
    rule = load_rule(context, id);
    Json listener = load_listener(context, text(rule, "ListenerArn"));
    if (has(input, "Conditions")) rule["Conditions"] = checked_conditions(array(input, "Conditions"));
    if (has(input, "Actions")) {
      rule["Actions"] = checked_actions(context, array(input, "Actions"), text(listener, "Protocol"),
                                        text(listener, "LoadBalancerArn"));
    }
    put(context, kRuleKind, id, rule);
  });
  return {{"Rules", Json::array({shown(rule)})}};
}

Json delete_rule(Context& context, const Json& input) {
  std::string id = required(input, "RuleArn");
  transaction(context, [&] {
    refuse_default(context, id, "deleted");
    load_rule(context, id);
    erase(context, kRuleKind, id);
  });
  return Json::object();
}

Json set_priorities(Context& context, const Json& input) {
  Json changed = Json::array();
  transaction(context, [&] {
    std::set<int64_t> given;
    std::set<std::string> moving;
    for (const auto& pair : array(input, "RulePriorities")) {
      refuse_default(context, text(pair, "RuleArn"), "re-prioritized");
      int64_t priority = checked_priority(pair);
      if (!given.insert(priority).second) {
        raise("ValidationError", fmt::format("Priority '{}' was provided multiple times", priority));
      }
      moving.insert(text(pair, "RuleArn"));
    }
    for (const auto& pair : array(input, "RulePriorities")) {
      Json rule = load_rule(context, text(pair, "RuleArn"));
      std::string priority = std::to_string(checked_priority(pair));
      for (const auto& other : list_where(context, kRuleKind, "ListenerArn", text(rule, "ListenerArn"))) {
        if (moving.contains(text(other, "RuleArn")) || text(other, "Priority") != priority) continue;
        raise("PriorityInUse", fmt::format("Priority '{}' is currently in use", priority));
      }
      rule["Priority"] = priority;
      put(context, kRuleKind, text(rule, "RuleArn"), rule);
      changed.push_back(shown(rule));
    }
  });
  return {{"Rules", changed}};
}

}  // namespace

Json load_rule(Context& context, const std::string& arn) {
  return load(context, kRuleKind, arn, {"RuleNotFound", "One or more rules not found", 400});
}

void add_rule_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "elbv2",
      {{"CreateRule", create_rule},
       {"DescribeRules", describe_rules},
       {"ModifyRule", modify_rule},
       {"DeleteRule", delete_rule},
       {"SetRulePriorities", set_priorities}});
}

}  // namespace weir::api
