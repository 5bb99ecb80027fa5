#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/ec2.h"
#include "api/ec2/permissions.h"

namespace weir::api {
namespace {

constexpr const char* kKind = "ec2.security-group";
constexpr DescribeSpec kDescribe{kKind, "GroupId", "GroupIds", "InvalidGroup.NotFound", "security group"};
constexpr size_t kRulesMax = 60;
constexpr size_t kNameMax = 255;

Permission allow_all() {
  Permission rule;
  rule.protocol = "-1";
  rule.cidr = "0.0.0.0/0";
  return rule;
}

Json make_group(Context& context, const std::string& name, const std::string& description, const std::string& vpc_id,
                const Json& tags) {
  std::string id = new_id(context, "sg");
  return {{"GroupId", id},
          {"GroupName", name},
          {"Description", description},
          {"VpcId", vpc_id},
          {"OwnerId", context.account},
          {"SecurityGroupArn", arn(context, "ec2", "security-group/" + id)},
          {"IpPermissions", Json::array()},
          {"IpPermissionsEgress", merge_permissions({allow_all()}, context.account)},
          {"Tags", tags}};
}

void check_name(const std::string& name) {
  if (name.size() > kNameMax || name.starts_with("sg-")) {
    raise("InvalidParameterValue",
          fmt::format(
              "Value ({}) for parameter GroupName is invalid. Group names may not be in the format sg-*",
              name));
  }
  if (name == "default") {
    raise("InvalidParameterValue", "Cannot use reserved security group name: default");
  }
}

Json create_group(Context& context, const Json& input) {
  std::string name = required(input, "GroupName");
  std::string description = text(input, "Description", text(input, "GroupDescription"));
  if (description.empty()) raise("MissingParameter", "The request must contain the parameter GroupDescription");
  check_name(name);
  Json tags = tags_of(input);
  Json group;
  std::string vpc_id = text(input, "VpcId");
  if (vpc_id.empty()) vpc_id = ensure_default_vpc(context);
  transaction(context, [&] {
    load_vpc(context, vpc_id);
    for (const auto& other : list_where(context, kKind, "VpcId", vpc_id)) {
      if (other["GroupName"] != name) continue;
      raise("InvalidGroup.Duplicate",
            fmt::format("The security group '{}' already exists for VPC '{}'", name, vpc_id));
    }
    group = make_group(context, name, description, vpc_id, tags);
    put(context, kKind, text(group, "GroupId"), group);
  });
  return {{"GroupId", group["GroupId"]}, {"SecurityGroupArn", group["SecurityGroupArn"]}, {"Tags", group["Tags"]}};
}

Json describe_groups(Context& context, const Json& input) {
  Json groups = describe(context, input, kDescribe);
  Json names = array(input, "GroupNames");
  if (names.empty()) return {{"SecurityGroups", groups}};
  Json chosen = Json::array();
  for (const auto& group : groups) {
    for (const auto& name : names) {
      if (group["GroupName"] == name) chosen.push_back(group);
    }
  }
  return {{"SecurityGroups", chosen}};
}

void check_group_references(Context& context, const std::vector<Permission>& rules) {
  for (const auto& rule : rules) {
    if (!rule.group_id.empty()) load_security_group(context, rule.group_id);
  }
}

bool contains(const std::vector<Permission>& rules, const Permission& wanted) {
  for (const auto& rule : rules) {
    if (rule.same_rule(wanted)) return true;
  }
  return false;
}

Json rule_views(Context& context, const std::vector<Permission>& rules, const std::string& group_id, bool egress) {
  Json views = Json::array();
  for (const auto& rule : rules) {
    Json view{{"SecurityGroupRuleId", new_id(context, "sgr")}, {"GroupId", group_id},
              {"GroupOwnerId", context.account}, {"IsEgress", egress}, {"IpProtocol", rule.protocol},
              {"FromPort", rule.from_port}, {"ToPort", rule.to_port}};
    if (!rule.cidr.empty()) view["CidrIpv4"] = rule.cidr;
    if (!rule.cidr6.empty()) view["CidrIpv6"] = rule.cidr6;
    if (!rule.group_id.empty()) view["ReferencedGroupInfo"] = {{"GroupId", rule.group_id}, {"UserId", context.account}};
    views.push_back(std::move(view));
  }
  return views;
}

Json authorize(Context& context, const Json& input, const char* member) {
  std::string id = required(input, "GroupId");
  std::vector<Permission> added = read_permissions(input);
  if (added.empty()) raise("MissingParameter", "The request must contain the parameter ipPermissions");
  transaction(context, [&] {
    Json group = load_security_group(context, id);
    check_group_references(context, added);
    std::vector<Permission> rules = read_permission_list(array(group, member));
    for (const auto& rule : added) {
      if (contains(rules, rule)) {
        raise("InvalidPermission.Duplicate",
              fmt::format("the specified rule \"{}\" already exists", describe_permission(rule)));
      }
      rules.push_back(rule);
    }
    if (rules.size() > kRulesMax) {
      raise("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.");
    }
    group[member] = merge_permissions(rules, context.account);
    put(context, kKind, id, group);
  });
  bool egress = std::string_view(member) == "IpPermissionsEgress";
  return {{"Return", true}, {"SecurityGroupRules", rule_views(context, added, id, egress)}};
}

Json revoke(Context& context, const Json& input, const char* member) {
  std::string id = required(input, "GroupId");
  std::vector<Permission> removed = read_permissions(input);
  transaction(context, [&] {
    Json group = load_security_group(context, id);
    std::vector<Permission> rules = read_permission_list(array(group, member));
    for (const auto& rule : removed) {
      if (!contains(rules, rule)) {
        raise("InvalidPermission.NotFound", "The specified rule does not exist in this security group.");
      }
      std::erase_if(rules, [&rule](const Permission& other) { return other.same_rule(rule); });
    }
    group[member] = merge_permissions(rules, context.account);
    put(context, kKind, id, group);
  });
  return {{"Return", true}};
}

Json authorize_ingress(Context& context, const Json& input) { return authorize(context, input, "IpPermissions"); }
Json authorize_egress(Context& context, const Json& input) { return authorize(context, input, "IpPermissionsEgress"); }
Json revoke_ingress(Context& context, const Json& input) { return revoke(context, input, "IpPermissions"); }
Json revoke_egress(Context& context, const Json& input) { return revoke(context, input, "IpPermissionsEgress"); }

bool names_group(const Json& ids, const std::string& id) {
  for (const auto& given : ids) {
    if (given == id) return true;
  }
  return false;
}

// Rules of other groups, interfaces, load balancers and services hold a group.
void check_unreferenced(Context& context, const std::string& id) {
  auto raise_in_use = [&] { raise("DependencyViolation", fmt::format("resource {} has a dependent object", id)); };
  for (const auto& group : list(context, kKind)) {
    if (group["GroupId"] == id) continue;
    for (const char* member : {"IpPermissions", "IpPermissionsEgress"}) {
      for (const auto& rule : read_permission_list(array(group, member))) {
        if (rule.group_id == id) raise_in_use();
      }
    }
  }
  for (const auto& eni : list(context, "ec2.network-interface")) {
    if (is_deleting(eni)) continue;
    for (const auto& group : array(eni, "Groups")) {
      if (text(group, "GroupId") == id) raise_in_use();
    }
  }
  for (const auto& balancer : list(context, "elbv2.load-balancer")) {
    if (!is_deleting(balancer) && names_group(array(balancer, "SecurityGroups"), id)) raise_in_use();
  }
}

Json delete_group(Context& context, const Json& input) {
  std::string id = required(input, "GroupId");
  transaction(context, [&] {
    Json group = load_security_group(context, id);
    if (group["GroupName"] == "default") {
      raise("CannotDelete",
            fmt::format("the specified group: \"{}\" name: \"default\" cannot be deleted by a user", id));
    }
    check_unreferenced(context, id);
    erase(context, kKind, id);
  });
  return Json::object();
}

Json describe_rules(Context& context, const Json& input) {
  Json rules = Json::array();
  for (const auto& group : list(context, kKind)) {
    Json probe{{"GroupId", group["GroupId"]}};
    if (!passes_filters(probe, array(input, "Filters"))) continue;
    for (const char* member : {"IpPermissions", "IpPermissionsEgress"}) {
      bool egress = std::string_view(member) == "IpPermissionsEgress";
      for (auto& view : rule_views(context, read_permission_list(array(group, member)), group["GroupId"], egress)) {
        rules.push_back(view);
      }
    }
  }
  return {{"SecurityGroupRules", rules}};
}

}  // namespace

Json load_security_group(Context& context, const std::string& group_id) {
  return load(context, kKind, group_id,
              {"InvalidGroup.NotFound", fmt::format("The security group '{}' does not exist", group_id), 400});
}

std::string default_security_group(Context& context, const std::string& vpc_id) {
  for (const auto& group : list_where(context, kKind, "VpcId", vpc_id)) {
    if (group["GroupName"] == "default") return group["GroupId"];
  }
  raise("InvalidGroup.NotFound", fmt::format("The security group 'default' does not exist in VPC '{}'", vpc_id));
}

void create_default_group(Context& context, const std::string& vpc_id) {
  Json group = make_group(context, "default", "default VPC security group", vpc_id, Json::array());
  Permission from_itself;
  from_itself.protocol = "-1";
  from_itself.group_id = group["GroupId"];
  group["IpPermissions"] = merge_permissions({from_itself}, context.account);
  put(context, kKind, text(group, "GroupId"), group);
}

void add_security_group_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ec2",
      {{"CreateSecurityGroup", create_group},
       {"DescribeSecurityGroups", describe_groups},
       {"DescribeSecurityGroupRules", describe_rules},
       {"AuthorizeSecurityGroupIngress", authorize_ingress},
       {"AuthorizeSecurityGroupEgress", authorize_egress},
       {"RevokeSecurityGroupIngress", revoke_ingress},
       {"RevokeSecurityGroupEgress", revoke_egress},
       {"DeleteSecurityGroup", delete_group}});
}

}  // namespace weir::api
