// The Elastic Load Balancing v2 operations (API version 2015-12-01), one file per resource.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "api/support.h"

namespace weir::api {

void add_load_balancer_operations(Dispatcher& dispatcher, Context& context);
void add_target_group_operations(Dispatcher& dispatcher, Context& context);
void add_target_operations(Dispatcher& dispatcher, Context& context);
void add_listener_operations(Dispatcher& dispatcher, Context& context);
void add_listener_tls_operations(Dispatcher& dispatcher, Context& context);
void add_rule_operations(Dispatcher& dispatcher, Context& context);
void add_elbv2_tag_operations(Dispatcher& dispatcher, Context& context);

inline constexpr const char* kLoadBalancerKind = "elbv2.load-balancer";
inline constexpr const char* kListenerKind = "elbv2.listener";
inline constexpr const char* kRuleKind = "elbv2.rule";
inline constexpr const char* kTargetGroupKind = "elbv2.target-group";
inline constexpr const char* kTargetKind = "elbv2.target";

Json load_load_balancer(Context& context, const std::string& arn);
Json load_listener(Context& context, const std::string& arn);
Json load_rule(Context& context, const std::string& arn);
Json load_target_group(Context& context, const std::string& arn);

// The part of an ARN after its last "/".
std::string last_part(std::string_view arn);

// Certificates and policy of the input over those of the listener, checked; they belong to HTTPS and nothing else.
void apply_listener_tls(Context& context, const Json& input, Json& listener);

// Target groups that a list of actions forwards to.
std::set<std::string> forwarded_groups(const Json& actions);
// Load balancers whose listeners or rules forward to the group.
std::set<std::string> load_balancers_of_group(Context& context, const std::string& target_group_arn);
// Number of listeners and rules that forward to the group.
int uses_of_group(Context& context, const std::string& target_group_arn);
// Checks actions against AWS's rules and answers them as Describe shows them (a forward to a single group
// carries TargetGroupArn and ForwardConfig).
Json checked_actions(Context& context, const Json& actions, const std::string& listener_protocol,
                     const std::string& load_balancer_arn);
// Checks rule conditions and answers them as Describe shows them.
Json checked_conditions(const Json& conditions);

// Attributes: {"key": "value"} with defaults and ranges.
struct AttributeSpec {
  enum class Type { Boolean, Integer, Choice, Text, GrpcCodes, Metadata, HeaderName, HeaderValue } type;
  const char* key;
  const char* fallback;
  int64_t min = 0;
  int64_t max = 0;
  const char* choices = "";  // "|a|b|"; for Integer: texts accepted besides numbers
};
Json attribute_defaults(const AttributeSpec* specs, size_t count);
// Applies Attributes[{Key,Value}] to `values`; all or nothing. `noun` is "Target group", "Load balancer", "Listener".
void apply_attributes(Json& values, const Json& changes, const AttributeSpec* specs, size_t count,
                      std::string_view noun);
Json attribute_list(const Json& values);

}  // namespace weir::api
