// AWS::EC2: networks.
#include <nlohmann/json.hpp>

#include "cfn/provider_util.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

json tag_specification(const ResourceCall& c, std::string_view type) {
  return json::array({{{"ResourceType", type}, {"Tags", c.tags}}});
}

void update_tags(const ResourceCall& c) {
  if (!changed(c, "Tags")) return;
  json removed = json::array();
  for (const json& key : removed_tag_keys(c)) removed.push_back({{"Key", key}});
  if (!removed.empty()) c.api.call("ec2", "DeleteTags", {{"Resources", {c.physical_id}}, {"Tags", removed}});
  if (!tag_list(c.properties).empty()) {
    c.api.call("ec2", "CreateTags", {{"Resources", {c.physical_id}}, {"Tags", tag_list(c.properties)}});
  }
}

// One of the kind that carries our tags.
std::string find_tagged(const ResourceCall& c, std::string_view operation, std::string_view list,
                        std::string_view id) {
  for (const json& item : describe(c, "ec2", operation, json::object(), list)) {
    std::string found = text_at(item, id);
    if (is_ours(c, item.value("Tags", json::array())) && !excluded(c, found)) return found;
  }
  return {};
}

json vpc_of(const ResourceCall& c) {
  return describe_one(c, "ec2", "DescribeVpcs", {{"VpcIds", {c.physical_id}}}, "Vpcs");
}

std::string create_vpc(const ResourceCall& c) {
  json input = pick(c.properties, {"CidrBlock", "InstanceTenancy"});
  input["TagSpecifications"] = tag_specification(c, "vpc");
  return text_at(c.api.call("ec2", "CreateVpc", input)["Vpc"], "VpcId");
}

void configure_vpc(const ResourceCall& c) {
  for (const char* name : {"EnableDnsSupport", "EnableDnsHostnames"}) {
    if (!c.properties.contains(name)) continue;
    c.api.call("ec2", "ModifyVpcAttribute",
               {{"VpcId", c.physical_id}, {name, {{"Value", c.properties[name]}}}});
  }
}

void update_vpc(const ResourceCall& c) {
  configure_vpc(c);
  update_tags(c);
}

Progress vpc_stabilized(const ResourceCall& c) {
  return text_at(vpc_of(c), "State") == "available" ? Progress::done() : Progress::waiting();
}

json vpc_values(const ResourceCall& c) {
  json group;
  for (const json& g :
       describe(c, "ec2", "DescribeSecurityGroups",
                {{"Filters", {{{"Name", "vpc-id"}, {"Values", {c.physical_id}}}}}}, "SecurityGroups")) {
    if (text_at(g, "GroupName") == "default" && text_at(g, "VpcId") == c.physical_id) group = g["GroupId"];
  }
  return {{"VpcId", c.physical_id},
          {"CidrBlock", text_at(vpc_of(c), "CidrBlock")},
          {"DefaultSecurityGroup", group.is_null() ? json("") : group}};
}

std::string create_subnet(const ResourceCall& c) {
  json input = pick(c.properties, {"VpcId", "CidrBlock", "AvailabilityZone"});
  input["TagSpecifications"] = tag_specification(c, "subnet");
  return text_at(c.api.call("ec2", "CreateSubnet", input)["Subnet"], "SubnetId");
}

void configure_subnet(const ResourceCall& c) {
  if (!c.properties.contains("MapPublicIpOnLaunch") && !c.old_properties.contains("MapPublicIpOnLaunch"))
    return;
  c.api.call("ec2", "ModifySubnetAttribute",
             {{"SubnetId", c.physical_id},
              {"MapPublicIpOnLaunch", {{"Value", c.properties.value("MapPublicIpOnLaunch", false)}}}});
}

void update_subnet(const ResourceCall& c) {
  configure_subnet(c);
  update_tags(c);
}

json subnet_values(const ResourceCall& c) {
  json s = describe_one(c, "ec2", "DescribeSubnets", {{"SubnetIds", {c.physical_id}}}, "Subnets");
  return {{"SubnetId", c.physical_id},
          {"AvailabilityZone", text_at(s, "AvailabilityZone")},
          {"CidrBlock", text_at(s, "CidrBlock")},
          {"VpcId", text_at(s, "VpcId")}};
}

std::string create_gateway(const ResourceCall& c) {
  json out = c.api.call("ec2", "CreateInternetGateway",
                        {{"TagSpecifications", tag_specification(c, "internet-gateway")}});
  return text_at(out["InternetGateway"], "InternetGatewayId");
}

// A mistaken second attach is told from a foreign one by what is attached.
std::string find_attachment(const ResourceCall& c) {
  json gateway =
      describe_one(c, "ec2", "DescribeInternetGateways",
                   {{"InternetGatewayIds", {c.properties["InternetGatewayId"]}}}, "InternetGateways");
  for (const json& a : gateway.is_object() ? gateway.value("Attachments", json::array()) : json::array()) {
    if (a.value("VpcId", json()) == c.properties["VpcId"]) return "IGW|" + text_at(a, "VpcId");
  }
  return {};
}

std::string create_attachment(const ResourceCall& c) {
  c.api.call("ec2", "AttachInternetGateway", pick(c.properties, {"VpcId", "InternetGatewayId"}));
  return "IGW|" + text_at(c.properties, "VpcId");
}

void remove_attachment(const ResourceCall& c) {
  try {
    c.api.call("ec2", "DetachInternetGateway", pick(c.properties, {"VpcId", "InternetGatewayId"}));
  } catch (const api::ApiError& e) {
    if (!is_not_found(e) && e.code != "Gateway.NotAttached") throw;
  }
}

void update_attachment(const ResourceCall& c) {
  if (!changed(c, "InternetGatewayId") || !find_attachment(c).empty()) return;
  call_unless(c, "ec2", "DetachInternetGateway", pick(c.old_properties, {"VpcId", "InternetGatewayId"}),
              "Gateway.NotAttached");
  create_attachment(c);
}

std::string create_route_table(const ResourceCall& c) {
  json input = pick(c.properties, {"VpcId"});
  input["TagSpecifications"] = tag_specification(c, "route-table");
  return text_at(c.api.call("ec2", "CreateRouteTable", input)["RouteTable"], "RouteTableId");
}

json route_table(const ResourceCall& c) {
  json table = describe_one(c, "ec2", "DescribeRouteTables",
                            {{"RouteTableIds", {c.properties["RouteTableId"]}}}, "RouteTables");
  return table.is_object() ? table : json::object();
}

std::string route_id(const ResourceCall& c) {
  return text_at(c.properties, "RouteTableId") + "|" + text_at(c.properties, "DestinationCidrBlock");
}

std::string find_route(const ResourceCall& c) {
  for (const json& r : route_table(c).value("Routes", json::array())) {
    if (r.value("DestinationCidrBlock", json()) == c.properties["DestinationCidrBlock"] &&
        r.value("GatewayId", json()) == c.properties.value("GatewayId", json())) {
      return route_id(c);
    }
  }
  return {};
}

std::string create_route(const ResourceCall& c) {
  c.api.call("ec2", "CreateRoute", c.properties);
  return route_id(c);
}

std::string find_association(const ResourceCall& c) {
  for (const json& a : route_table(c).value("Associations", json::array())) {
    std::string id = text_at(a, "RouteTableAssociationId");
    if (a.value("SubnetId", json()) == c.properties["SubnetId"] && !excluded(c, id)) return id;
  }
  return {};
}

std::string create_association(const ResourceCall& c) {
  return text_at(c.api.call("ec2", "AssociateRouteTable", pick(c.properties, {"SubnetId", "RouteTableId"})),
                 "AssociationId");
}

template <const char* kOperation, const char* kMember>
void remove_by_id(const ResourceCall& c) {
  call_if_exists(c, "ec2", kOperation, {{kMember, c.physical_id}});
}

template <const char* kName>
json id_value(const ResourceCall& c) {
  return {{kName, c.physical_id}};
}

template <const char* kOperation, const char* kList, const char* kId>
std::string find_by_tag(const ResourceCall& c) {
  return find_tagged(c, kOperation, kList, kId);
}

constexpr char kDescribeVpcs[] = "DescribeVpcs", kVpcs[] = "Vpcs", kVpcId[] = "VpcId",
               kDeleteVpc[] = "DeleteVpc";
constexpr char kDescribeSubnets[] = "DescribeSubnets", kSubnets[] = "Subnets", kSubnetId[] = "SubnetId",
               kDeleteSubnet[] = "DeleteSubnet";
constexpr char kDescribeGateways[] = "DescribeInternetGateways", kGateways[] = "InternetGateways",
               kGatewayId[] = "InternetGatewayId", kDeleteGateway[] = "DeleteInternetGateway";
constexpr char kDescribeTables[] = "DescribeRouteTables", kTables[] = "RouteTables",
               kTableId[] = "RouteTableId", kDeleteTable[] = "DeleteRouteTable";
constexpr char kDisassociate[] = "DisassociateRouteTable", kAssociationId[] = "AssociationId", kId[] = "Id";

}  // namespace

const std::vector<Provider>& ec2_providers() {
  static const std::vector<Provider> kTable = {
      {.type = "AWS::EC2::VPC",
       .service = "Ec2",
       .properties = "CidrBlock*^: string; EnableDnsSupport: boolean; EnableDnsHostnames: boolean;"
                     "InstanceTenancy: string(default); Tags: [Tag]; -Ipv4IpamPoolId; -Ipv4NetmaskLength",
       .attributes = "VpcId CidrBlock DefaultSecurityGroup",
       .create = create_vpc,
       .find = find_by_tag<kDescribeVpcs, kVpcs, kVpcId>,
       .configure = configure_vpc,
       .update = update_vpc,
       .stabilized = vpc_stabilized,
       .values = vpc_values,
       .remove = remove_by_id<kDeleteVpc, kVpcId>,
       .gone = [](const ResourceCall& c) { return vpc_of(c).is_null(); }},
      {.type = "AWS::EC2::Subnet",
       .service = "Ec2",
       .properties =
           "VpcId*^: string; CidrBlock*^: string; AvailabilityZone^: string; MapPublicIpOnLaunch: boolean;"
           "Tags: [Tag]; -AssignIpv6AddressOnCreation; -Ipv6CidrBlock; -AvailabilityZoneId; -OutpostArn",
       .attributes = "SubnetId AvailabilityZone CidrBlock VpcId",
       .create = create_subnet,
       .find = find_by_tag<kDescribeSubnets, kSubnets, kSubnetId>,
       .configure = configure_subnet,
       .update = update_subnet,
       .values = subnet_values,
       .remove = remove_by_id<kDeleteSubnet, kSubnetId>},
      {.type = "AWS::EC2::InternetGateway",
       .service = "Ec2",
       .properties = "Tags: [Tag]",
       .attributes = "InternetGatewayId",
       .create = create_gateway,
       .find = find_by_tag<kDescribeGateways, kGateways, kGatewayId>,
       .update = update_tags,
       .values = id_value<kGatewayId>,
       .remove = remove_by_id<kDeleteGateway, kGatewayId>},
      {.type = "AWS::EC2::VPCGatewayAttachment",
       .service = "Ec2",
       .properties = "VpcId*^: string; InternetGatewayId*: string; -VpnGatewayId",
       .attributes = "",
       .create = create_attachment,
       .find = find_attachment,
       .update = update_attachment,
       .remove = remove_attachment},
      {.type = "AWS::EC2::RouteTable",
       .service = "Ec2",
       .properties = "VpcId*^: string; Tags: [Tag]",
       .attributes = "RouteTableId",
       .create = create_route_table,
       .find = find_by_tag<kDescribeTables, kTables, kTableId>,
       .update = update_tags,
       .values = id_value<kTableId>,
       .remove = remove_by_id<kDeleteTable, kTableId>},
      {.type = "AWS::EC2::Route",
       .service = "Ec2",
       .properties =
           "RouteTableId*^: string; DestinationCidrBlock*^: string; GatewayId*: string; -NatGatewayId;"
           "-DestinationIpv6CidrBlock; -TransitGatewayId; -VpcPeeringConnectionId; -NetworkInterfaceId",
       .attributes = "",
       .create = create_route,
       .find = find_route,
       .update = [](const ResourceCall& c) { c.api.call("ec2", "ReplaceRoute", c.properties); },
       .remove =
           [](const ResourceCall& c) {
             call_if_exists(c, "ec2", "DeleteRoute",
                            pick(c.properties, {"RouteTableId", "DestinationCidrBlock"}));
           }},
      {.type = "AWS::EC2::SubnetRouteTableAssociation",
       .service = "Ec2",
       .properties = "SubnetId*^: string; RouteTableId*^: string",
       .attributes = "Id",
       .create = create_association,
       .find = find_association,
       .values = id_value<kId>,
       .remove = remove_by_id<kDisassociate, kAssociationId>},
  };
  return kTable;
}

}  // namespace weir::cfn
