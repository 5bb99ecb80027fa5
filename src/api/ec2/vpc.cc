#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/cidr.h"
#include "api/ec2/ec2.h"

namespace weir::api {
namespace {

constexpr const char* kKind = "ec2.vpc";
constexpr DescribeSpec kDescribe{kKind, "VpcId", "VpcIds", "InvalidVpcID.NotFound", "vpc ID"};

ApiError missing(const std::string& id) {
  return {"InvalidVpcID.NotFound", fmt::format("The vpc ID '{}' does not exist", id), 400};
}

Json make_vpc(Context& context, const std::string& cidr, const Json& tags, bool is_default) {
  std::string id = new_id(context, "vpc");
  Json vpc{{"VpcId", id},
           {"CidrBlock", cidr},
           {"State", is_default ? "available" : "pending"},
           {"OwnerId", context.account},
           {"DhcpOptionsId", "default"},
           {"InstanceTenancy", "default"},
           {"IsDefault", is_default},
           {"EnableDnsSupport", true},
           {"EnableDnsHostnames", is_default},
           {"CidrBlockAssociationSet", Json::array({{{"AssociationId", new_id(context, "vpc-cidr-assoc")},
                                                     {"CidrBlock", cidr},
                                                     {"CidrBlockState", {{"State", "associated"}}}}})},
           {"Tags", tags}};
  if (is_default) vpc["weir"] = {{"default", true}};
  put(context, kKind, id, vpc);
  create_main_route_table(context, id, cidr);
  create_default_group(context, id);
  return vpc;
}

Json create_vpc(Context& context, const Json& input) {
  std::string cidr_text = required(input, "CidrBlock");
  auto cidr = parse_cidr(cidr_text);
  if (!cidr) {
    raise("InvalidParameterValue",
          fmt::format("Value ({}) for parameter cidrBlock is invalid. This is not a valid CIDR block.", cidr_text));
  }
  if (cidr->prefix < 16 || cidr->prefix > 28) {
    raise("InvalidVpc.Range", fmt::format("The CIDR '{}' is invalid.", cidr_text));
  }
  Json tags = tags_of(input);
  Json vpc;
  transaction(context, [&] { vpc = make_vpc(context, format_cidr(*cidr), tags, false); });
  return {{"Vpc", public_view(vpc)}};
}

Json describe_vpcs(Context& context, const Json& input) { return {{"Vpcs", describe(context, input, kDescribe)}}; }

bool read_attribute(const Json& input, const char* name, std::optional<bool>& value) {
  if (!has(input, name)) return false;
  const Json& given = input[name];
  value = given.is_object() ? boolean(given, "Value", false) : boolean(input, name, false);
  return true;
}

Json modify_vpc_attribute(Context& context, const Json& input) {
  std::string id = required(input, "VpcId");
  transaction(context, [&] {
    Json vpc = load_vpc(context, id);
    for (const char* name : {"EnableDnsSupport", "EnableDnsHostnames"}) {
      std::optional<bool> value;
      if (read_attribute(input, name, value)) vpc[name] = *value;
    }
    put(context, kKind, id, vpc);
  });
  return Json::object();
}

Json describe_vpc_attribute(Context& context, const Json& input) {
  Json vpc = load_vpc(context, required(input, "VpcId"));
  std::string attribute = required(input, "Attribute");
  Json output{{"VpcId", vpc["VpcId"]}};
  if (attribute == "enableDnsSupport") {
    output["EnableDnsSupport"] = {{"Value", boolean(vpc, "EnableDnsSupport", true)}};
  } else if (attribute == "enableDnsHostnames") {
    output["EnableDnsHostnames"] = {{"Value", boolean(vpc, "EnableDnsHostnames", false)}};
  } else if (attribute == "enableNetworkAddressUsageMetrics") {
    output["EnableNetworkAddressUsageMetrics"] = {{"Value", false}};
  } else {
    raise("InvalidParameterValue", fmt::format("Value ({}) for parameter attribute is invalid.", attribute));
  }
  return output;
}

void check_unused(Context& context, const std::string& id) {
  auto raise_in_use = [&] {
    raise("DependencyViolation", fmt::format("The vpc '{}' has dependencies and cannot be deleted.", id));
  };
  for (const char* kind : {"ec2.subnet", "ec2.network-interface"}) {
    for (const auto& document : list_where(context, kind, "VpcId", id)) {
      if (!is_deleting(document)) raise_in_use();
    }
  }
  for (const auto& group : list_where(context, "ec2.security-group", "VpcId", id)) {
    if (group["GroupName"] != "default") raise_in_use();
  }
  for (const auto& gateway : list(context, "ec2.internet-gateway")) {
    for (const auto& attachment : array(gateway, "Attachments")) {
      if (attachment["VpcId"] == id) raise_in_use();
    }
  }
  for (const auto& table : list_where(context, "ec2.route-table", "VpcId", id)) {
    bool main = false;
    for (const auto& association : array(table, "Associations")) main = main || boolean(association, "Main", false);
    if (!main) raise_in_use();
  }
}

Json delete_vpc(Context& context, const Json& input) {
  std::string id = required(input, "VpcId");
  transaction(context, [&] {
    Json vpc = load_vpc(context, id);
    if (vpc.value("IsDefault", false)) {
      raise("OperationNotPermitted", "The default VPC stands for the network of this host and stays.");
    }
    check_unused(context, id);
    for (const char* kind : {"ec2.security-group", "ec2.route-table"}) {
      for (const auto& document : list_where(context, kind, "VpcId", id)) {
        erase(context, kind, text(document, kind[4] == 's' ? "GroupId" : "RouteTableId"));
      }
    }
    vpc["weir"]["deleting"] = true;
    put(context, kKind, id, vpc);
  });
  return Json::object();
}

Json describe_availability_zones(Context& context, const Json&) {
  Json zones = Json::array();
  for (char letter : {'a', 'b', 'c'}) {
    zones.push_back({{"State", "available"},
                     {"RegionName", context.region},
                     {"ZoneName", context.region + letter},
                     {"ZoneId", fmt::format("{}-az{}", context.region, letter - 'a' + 1)},
                     {"ZoneType", "availability-zone"},
                     {"OptInStatus", "opt-in-not-required"},
                     {"GroupName", context.region}});
  }
  return {{"AvailabilityZones", zones}};
}

Json describe_network_acls(Context&, const Json&) { return {{"NetworkAcls", Json::array()}}; }

}  // namespace

Json load_vpc(Context& context, const std::string& vpc_id) {
  Json vpc = load(context, kKind, vpc_id, missing(vpc_id));
  if (is_deleting(vpc)) throw missing(vpc_id);
  return vpc;
}

std::string ensure_default_vpc(Context& context) {
  for (const auto& vpc : list(context, kKind)) {
    if (vpc.value("IsDefault", false)) return vpc["VpcId"];
  }
  std::string id;
  transaction(context, [&] {
    Json vpc = make_vpc(context, "172.31.0.0/16", Json::array(), true);
    id = vpc["VpcId"];
    for (int zone = 0; zone < 3; ++zone) {
      std::string subnet_id = new_id(context, "subnet");
      put(context, "ec2.subnet", subnet_id,
          {{"SubnetId", subnet_id},
           {"VpcId", id},
           {"CidrBlock", fmt::format("172.31.{}.0/20", zone * 16)},
           {"AvailabilityZone", context.region + static_cast<char>('a' + zone)},
           {"State", "available"},
           {"OwnerId", context.account},
           {"DefaultForAz", true},
           {"MapPublicIpOnLaunch", true},
           {"AvailableIpAddressCount", 4091},
           {"Tags", Json::array()}});
    }
  });
  return id;
}

void add_vpc_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ec2",
      {{"CreateVpc", create_vpc},
       {"DescribeVpcs", describe_vpcs},
       {"ModifyVpcAttribute", modify_vpc_attribute},
       {"DescribeVpcAttribute", describe_vpc_attribute},
       {"DeleteVpc", delete_vpc},
       {"DescribeAvailabilityZones", describe_availability_zones},
       {"DescribeNetworkAcls", describe_network_acls}});
}

}  // namespace weir::api
