// AWS::EC2: security groups and their rules.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "cfn/provider_util.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

// A rule of a template as the API's IpPermission.
json permission(const json& rule) {
  json out = {{"IpProtocol", rule["IpProtocol"]}};
  for (const char* port : {"FromPort", "ToPort"}) {
    if (rule.contains(port)) out[port] = rule[port];
  }
  auto place = [&](const char* source, const char* list, const char* member) {
    if (!rule.contains(source)) return;
    json entry = {{member, rule[source]}};
    if (rule.contains("Description")) entry["Description"] = rule["Description"];
    out[list].push_back(std::move(entry));
  };
  place("CidrIp", "IpRanges", "CidrIp");
  place("CidrIpv6", "Ipv6Ranges", "CidrIpv6");
  place("SourceSecurityGroupId", "UserIdGroupPairs", "GroupId");
  place("DestinationSecurityGroupId", "UserIdGroupPairs", "GroupId");
  return out;
}

void change_rule(const ResourceCall& c, bool authorize, bool ingress, const std::string& group,
                 const json& what) {
  std::string operation =
      std::string(authorize ? "Authorize" : "Revoke") + "SecurityGroup" + (ingress ? "Ingress" : "Egress");
  json input = {{"GroupId", group}, {"IpPermissions", json::array({what})}};
  if (authorize) call_unless(c, "ec2", operation, input, "InvalidPermission.Duplicate");
  else call_if_exists(c, "ec2", operation, input);
}

json rules_at(const json& properties, bool ingress) {
  return properties.value(ingress ? "SecurityGroupIngress" : "SecurityGroupEgress", json::array());
}

bool holds(const json& list, const json& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

const json kAllTraffic = {{"IpProtocol", "-1"}, {"IpRanges", json::array({{{"CidrIp", "0.0.0.0/0"}}})}};

std::string create_group(const ResourceCall& c) {
  json input = {{"GroupName", c.name},
                {"Description", c.properties["GroupDescription"]},
                {"TagSpecifications", json::array({{{"ResourceType", "security-group"}, {"Tags", c.tags}}})}};
  if (c.properties.contains("VpcId")) input["VpcId"] = c.properties["VpcId"];
  return text_at(c.api.call("ec2", "CreateSecurityGroup", input), "GroupId");
}

std::string find_group(const ResourceCall& c) {
  for (const json& g : describe(c, "ec2", "DescribeSecurityGroups", json::object(), "SecurityGroups")) {
    std::string id = text_at(g, "GroupId");
    if (is_ours(c, g.value("Tags", json::array())) && !excluded(c, id)) return id;
  }
  return {};
}

void configure_group(const ResourceCall& c) {
  for (const json& rule : rules_at(c.properties, true))
    change_rule(c, true, true, c.physical_id, permission(rule));
  if (!c.properties.contains("SecurityGroupEgress")) return;
  // Rules of one's own take the place of "everything may leave".
  json own = rules_at(c.properties, false);
  bool everything = false;
  for (const json& rule : own) {
    everything = everything || permission(rule) == kAllTraffic;
    change_rule(c, true, false, c.physical_id, permission(rule));
  }
  if (!everything) change_rule(c, false, false, c.physical_id, kAllTraffic);
}

void update_group(const ResourceCall& c) {
  for (bool ingress : {true, false}) {
    json now = rules_at(c.properties, ingress);
    json before = rules_at(c.old_properties, ingress);
    for (const json& rule : now) {
      if (!holds(before, rule)) change_rule(c, true, ingress, c.physical_id, permission(rule));
    }
    for (const json& rule : before) {
      if (!holds(now, rule)) change_rule(c, false, ingress, c.physical_id, permission(rule));
    }
  }
  bool had = c.old_properties.contains("SecurityGroupEgress");
  bool has = c.properties.contains("SecurityGroupEgress");
  if (had != has) change_rule(c, had, false, c.physical_id, kAllTraffic);
  if (!changed(c, "Tags") || tag_list(c.properties).empty()) return;
  c.api.call("ec2", "CreateTags", {{"Resources", {c.physical_id}}, {"Tags", tag_list(c.properties)}});
}

json group_of(const ResourceCall& c) {
  return describe_one(c, "ec2", "DescribeSecurityGroups", {{"GroupIds", {c.physical_id}}}, "SecurityGroups");
}

json group_values(const ResourceCall& c) {
  return {{"GroupId", c.physical_id}, {"Id", c.physical_id}, {"VpcId", text_at(group_of(c), "VpcId")}};
}

template <bool kIngress>
std::string create_rule(const ResourceCall& c) {
  change_rule(c, true, kIngress, text_at(c.properties, "GroupId"), permission(c.properties));
  return c.name;
}

// Adding a rule twice changes nothing, so that create() itself may run again.
std::string find_nothing(const ResourceCall&) {
  return {};
}

template <bool kIngress>
void remove_rule(const ResourceCall& c) {
  change_rule(c, false, kIngress, text_at(c.properties, "GroupId"), permission(c.properties));
}

template <bool kIngress>
void update_rule(const ResourceCall& c) {
  change_rule(c, false, kIngress, text_at(c.old_properties, "GroupId"), permission(c.old_properties));
  create_rule<kIngress>(c);
}

json rule_values(const ResourceCall& c) {
  return {{"Id", c.physical_id}};
}

}  // namespace

const std::vector<Provider>& security_group_providers() {
  static const std::vector<Provider> kTable = {
      {.type = "AWS::EC2::SecurityGroup",
       .service = "Ec2",
       .properties =
           "GroupDescription*^: string; VpcId^: string; GroupName^: string; Tags: [Tag];"
           "SecurityGroupIngress: [{IpProtocol*: string; FromPort: integer(-1..65535); ToPort: "
           "integer(-1..65535);"
           "  CidrIp: string; CidrIpv6: string; SourceSecurityGroupId: string; Description: string;"
           "  -SourcePrefixListId; -SourceSecurityGroupName; -SourceSecurityGroupOwnerId}];"
           "SecurityGroupEgress: [{IpProtocol*: string; FromPort: integer(-1..65535); ToPort: "
           "integer(-1..65535);"
           "  CidrIp: string; CidrIpv6: string; DestinationSecurityGroupId: string; Description: string;"
           "  -DestinationPrefixListId}]",
       .attributes = "GroupId Id VpcId",
       .name_property = "GroupName",
       .create = create_group,
       .find = find_group,
       .configure = configure_group,
       .update = update_group,
       .values = group_values,
       .remove =
           [](const ResourceCall& c) {
             call_if_exists(c, "ec2", "DeleteSecurityGroup", {{"GroupId", c.physical_id}});
           },
       .gone = [](const ResourceCall& c) { return group_of(c).is_null(); }},
      {.type = "AWS::EC2::SecurityGroupIngress",
       .service = "Ec2",
       .properties = "GroupId*^: string; IpProtocol*^: string; FromPort^: integer(-1..65535); ToPort^: "
                     "integer(-1..65535);"
                     "CidrIp^: string; CidrIpv6^: string; SourceSecurityGroupId^: string; Description: string;"
                     "-GroupName; -SourcePrefixListId; -SourceSecurityGroupName; -SourceSecurityGroupOwnerId",
       .attributes = "Id",
       .create = create_rule<true>,
       .find = find_nothing,
       .update = update_rule<true>,
       .values = rule_values,
       .remove = remove_rule<true>},
      {.type = "AWS::EC2::SecurityGroupEgress",
       .service = "Ec2",
       .properties =
           "GroupId*^: string; IpProtocol*^: string; FromPort^: integer(-1..65535); ToPort^: "
           "integer(-1..65535);"
           "CidrIp^: string; CidrIpv6^: string; DestinationSecurityGroupId^: string; Description: string;"
           "-DestinationPrefixListId",
       .attributes = "Id",
       .create = create_rule<false>,
       .find = find_nothing,
       .update = update_rule<false>,
       .values = rule_values,
       .remove = remove_rule<false>},
  };
  return kTable;
}

}  // namespace weir::cfn
