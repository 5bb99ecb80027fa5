#include <nlohmann/json.hpp>

#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

constexpr size_t kArnsMax = 20;

struct Resource {
  const char* kind;
  Json document;
};

Resource load_resource(Context& context, const std::string& arn) {
  if (arn.find(":loadbalancer/") != std::string::npos) return {kLoadBalancerKind, load_load_balancer(context, arn)};
  if (arn.find(":targetgroup/") != std::string::npos) return {kTargetGroupKind, load_target_group(context, arn)};
  if (arn.find(":listener-rule/") != std::string::npos) return {kRuleKind, load_rule(context, arn)};
  if (arn.find(":listener/") != std::string::npos) return {kListenerKind, load_listener(context, arn)};
  raise("ValidationError", "'" + arn + "' is not a valid ARN of a load balancer, target group, listener or rule");
}

template <class Change>
Json change(Context& context, const Json& input, Change apply) {
  transaction(context, [&] {
    for (const auto& arn : array(input, "ResourceArns")) {
      std::string id = arn.is_string() ? arn.get<std::string>() : "";
      Resource resource = load_resource(context, id);
      apply(resource.document["Tags"]);
      put(context, resource.kind, id, resource.document);
    }
  });
  return Json::object();
}

Json add_tags(Context& context, const Json& input) {
  Json tags = tags_of(input);
  return change(context, input, [&tags](Json& stored) { merge_tags(stored, tags); });
}

Json take_tags(Context& context, const Json& input) {
  Json keys = array(input, "TagKeys");
  return change(context, input, [&keys](Json& stored) { remove_tags(stored, keys); });
}

Json describe_tags(Context& context, const Json& input) {
  Json arns = array(input, "ResourceArns");
  if (arns.size() > kArnsMax) raise("ValidationError", "At most 20 resource ARNs can be specified");
  Json descriptions = Json::array();
  for (const auto& arn : arns) {
    Resource resource = load_resource(context, arn.is_string() ? arn.get<std::string>() : "");
    descriptions.push_back({{"ResourceArn", arn}, {"Tags", array(resource.document, "Tags")}});
  }
  return {{"TagDescriptions", descriptions}};
}

}  // namespace

std::string last_part(std::string_view arn) {
  size_t slash = arn.rfind('/');
  return std::string(slash == std::string_view::npos ? arn : arn.substr(slash + 1));
}

void add_elbv2_tag_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "elbv2",
      {{"AddTags", add_tags}, {"RemoveTags", take_tags}, {"DescribeTags", describe_tags}});
}

void add_elbv2_operations(Dispatcher& dispatcher, Context& context) {
  add_load_balancer_operations(dispatcher, context);
  add_target_group_operations(dispatcher, context);
  add_target_operations(dispatcher, context);
  add_listener_operations(dispatcher, context);
  add_listener_tls_operations(dispatcher, context);
  add_rule_operations(dispatcher, context);
  add_elbv2_tag_operations(dispatcher, context);
}

}  // namespace weir::api
