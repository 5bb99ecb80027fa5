#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/cidr.h"
#include "api/ec2/ec2.h"

namespace weir::api {
namespace {

constexpr const char* kKind = "ec2.subnet";
constexpr DescribeSpec kDescribe{kKind, "SubnetId", "SubnetIds", "InvalidSubnetID.NotFound", "subnet ID"};
// The first four addresses and the last one of a subnet are not given out.
constexpr int64_t kReservedAddresses = 5;

void check_range(Context& context, const Json& vpc, const Cidr& cidr) {
  auto whole = parse_cidr(text(vpc, "CidrBlock"));
  if (cidr.prefix < 16 || cidr.prefix > 28 || !whole || !whole->contains(cidr)) {
    raise("InvalidSubnet.Range", fmt::format("The CIDR '{}' is invalid.", format_cidr(cidr)));
  }
  for (const auto& subnet : list_where(context, kKind, "VpcId", text(vpc, "VpcId"))) {
    auto other = parse_cidr(text(subnet, "CidrBlock"));
    if (other && other->overlaps(cidr)) {
      raise("InvalidSubnet.Conflict",
            fmt::format("The CIDR '{}' conflicts with another subnet", format_cidr(cidr)));
    }
  }
}

std::string zone_of(Context& context, const Json& input) {
  std::string zone = text(input, "AvailabilityZone", context.region + "a");
  bool known = zone.size() == context.region.size() + 1 && zone.starts_with(context.region) && zone.back() >= 'a' &&
               zone.back() <= 'c';
  if (!known) {
    raise("InvalidParameterValue",
          fmt::format("Value ({0}) for parameter availabilityZone is invalid. Subnets can currently only be created "
                      "in the following availability zones: {1}a, {1}b, {1}c.",
                      zone, context.region));
  }
  return zone;
}

Json create_subnet(Context& context, const Json& input) {
  std::string vpc_id = required(input, "VpcId");
  std::string cidr_text = required(input, "CidrBlock");
  auto cidr = parse_cidr(cidr_text);
  if (!cidr) {
    raise("InvalidParameterValue",
          fmt::format("Value ({}) for parameter cidrBlock is invalid. This is not a valid CIDR block.", cidr_text));
  }
  std::string zone = zone_of(context, input);
  Json tags = tags_of(input);
  Json subnet;
  transaction(context, [&] {
    Json vpc = load_vpc(context, vpc_id);
    check_range(context, vpc, *cidr);
    std::string id = new_id(context, "subnet");
    subnet = {{"SubnetId", id},
              {"SubnetArn", arn(context, "ec2", "subnet/" + id)},
              {"VpcId", vpc_id},
              {"CidrBlock", format_cidr(*cidr)},
              {"AvailabilityZone", zone},
              {"AvailabilityZoneId", fmt::format("{}-az{}", context.region, zone.back() - 'a' + 1)},
              {"State", "available"},
              {"OwnerId", context.account},
              {"DefaultForAz", false},
              {"MapPublicIpOnLaunch", boolean(input, "MapPublicIpOnLaunch", false)},
              {"AssignIpv6AddressOnCreation", false},
              {"AvailableIpAddressCount", (int64_t{1} << (32 - cidr->prefix)) - kReservedAddresses},
              {"Tags", tags}};
    put(context, kKind, id, subnet);
  });
  return {{"Subnet", public_view(subnet)}};
}

Json describe_subnets(Context& context, const Json& input) {
  return {{"Subnets", describe(context, input, kDescribe)}};
}

Json modify_subnet_attribute(Context& context, const Json& input) {
  std::string id = required(input, "SubnetId");
  transaction(context, [&] {
    Json subnet = load_subnet(context, id);
    if (has(input, "MapPublicIpOnLaunch")) {
      const Json& given = input["MapPublicIpOnLaunch"];
      subnet["MapPublicIpOnLaunch"] =
          given.is_object() ? boolean(given, "Value", false) : boolean(input, "MapPublicIpOnLaunch", false);
    }
    put(context, kKind, id, subnet);
  });
  return Json::object();
}

void check_unused(Context& context, const std::string& id) {
  auto raise_in_use = [&] {
    raise("DependencyViolation", fmt::format("The subnet '{}' has dependencies and cannot be deleted.", id));
  };
  for (const auto& eni : list_where(context, "ec2.network-interface", "SubnetId", id)) {
    if (!is_deleting(eni)) raise_in_use();
  }
  for (const auto& balancer : list(context, "elbv2.load-balancer")) {
    if (is_deleting(balancer)) continue;
    for (const auto& zone : array(balancer, "AvailabilityZones")) {
      if (zone["SubnetId"] == id) raise_in_use();
    }
  }
}

Json delete_subnet(Context& context, const Json& input) {
  std::string id = required(input, "SubnetId");
  transaction(context, [&] {
    load_subnet(context, id);
    check_unused(context, id);
    for (auto& table : list(context, "ec2.route-table")) {
      Json kept = Json::array();
      for (const auto& association : array(table, "Associations")) {
        if (text(association, "SubnetId") != id) kept.push_back(association);
      }
      if (kept.size() == table["Associations"].size()) continue;
      table["Associations"] = kept;
      put(context, "ec2.route-table", text(table, "RouteTableId"), table);
    }
    erase(context, kKind, id);
  });
  return Json::object();
}

}  // namespace

Json load_subnet(Context& context, const std::string& subnet_id) {
  return load(context, kKind, subnet_id,
              {"InvalidSubnetID.NotFound", fmt::format("The subnet ID '{}' does not exist", subnet_id), 400});
}

void add_subnet_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ec2",
      {{"CreateSubnet", create_subnet},
       {"DescribeSubnets", describe_subnets},
       {"ModifySubnetAttribute", modify_subnet_attribute},
       {"DeleteSubnet", delete_subnet}});
}

}  // namespace weir::api
