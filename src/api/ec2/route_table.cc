#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/cidr.h"
#include "api/ec2/ec2.h"

namespace weir::api {
namespace {

constexpr const char* kKind = "ec2.route-table";
constexpr DescribeSpec kDescribe{kKind, "RouteTableId", "RouteTableIds", "InvalidRouteTableID.NotFound",
                                 "routeTable ID"};

Json load_table(Context& context, const std::string& id) {
  return load(context, kKind, id,
              {"InvalidRouteTableID.NotFound", fmt::format("The routeTable ID '{}' does not exist", id), 400});
}

Json make_table(Context& context, const std::string& vpc_id, const std::string& cidr, const Json& tags) {
  return {{"RouteTableId", new_id(context, "rtb")},
          {"VpcId", vpc_id},
          {"OwnerId", context.account},
          {"Routes", Json::array({{{"DestinationCidrBlock", cidr},
                                   {"GatewayId", "local"},
                                   {"State", "active"},
                                   {"Origin", "CreateRouteTable"}}})},
          {"Associations", Json::array()},
          {"PropagatingVgws", Json::array()},
          {"Tags", tags}};
}

Json create_table(Context& context, const Json& input) {
  std::string vpc_id = required(input, "VpcId");
  Json tags = tags_of(input);
  Json table;
  transaction(context, [&] {
    Json vpc = load_vpc(context, vpc_id);
    table = make_table(context, vpc_id, text(vpc, "CidrBlock"), tags);
    put(context, kKind, text(table, "RouteTableId"), table);
  });
  return {{"RouteTable", table}};
}

Json describe_tables(Context& context, const Json& input) {
  return {{"RouteTables", describe(context, input, kDescribe)}};
}

Json delete_table(Context& context, const Json& input) {
  std::string id = required(input, "RouteTableId");
  transaction(context, [&] {
    Json table = load_table(context, id);
    if (!table["Associations"].empty()) {
      raise("DependencyViolation", fmt::format("The routeTable '{}' has dependencies and cannot be deleted.", id));
    }
    erase(context, kKind, id);
  });
  return Json::object();
}

constexpr const char* kRouteTargets[] = {"GatewayId", "NatGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId",
                                         "TransitGatewayId"};

// The one member of `input` that says where a route leads to, checked.
Json route_target(Context& context, const Json& input) {
  for (const char* member : kRouteTargets) {
    std::string value = text(input, member);
    if (value.empty()) continue;
    if (value.starts_with("igw-") && find(context, "ec2.internet-gateway", value).is_null()) {
      raise("InvalidInternetGatewayID.NotFound", fmt::format("The internetGateway ID '{}' does not exist", value));
    }
    return {{member, value}};
  }
  raise("MissingParameter", "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, "
                            "vpcPeeringConnectionId or transitGatewayId");
}

std::string destination_of(const Json& input) {
  if (auto v6 = optional_text(input, "DestinationIpv6CidrBlock")) return *v6;
  std::string given = required(input, "DestinationCidrBlock");
  auto cidr = parse_cidr(given);
  if (!cidr) {
    raise("InvalidParameterValue",
          fmt::format("Value ({}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block.",
                      given));
  }
  return format_cidr(*cidr);
}

bool has_destination(const Json& route, const std::string& destination) {
  return text(route, "DestinationCidrBlock") == destination || text(route, "DestinationIpv6CidrBlock") == destination;
}

Json make_route(Context& context, const Json& input, const std::string& destination) {
  Json route = route_target(context, input);
  route[destination.find(':') == std::string::npos ? "DestinationCidrBlock" : "DestinationIpv6CidrBlock"] = destination;
  route["State"] = "active";
  route["Origin"] = "CreateRoute";
  return route;
}

Json create_route(Context& context, const Json& input) {
  std::string id = required(input, "RouteTableId");
  std::string destination = destination_of(input);
  transaction(context, [&] {
    Json table = load_table(context, id);
    for (const auto& route : table["Routes"]) {
      if (has_destination(route, destination)) {
        raise("RouteAlreadyExists", fmt::format("The route identified by {} already exists.", destination));
      }
    }
    table["Routes"].push_back(make_route(context, input, destination));
    put(context, kKind, id, table);
  });
  return {{"Return", true}};
}

// Removes the route with this destination; it must be there.
void take_route(Json& table, const std::string& destination) {
  Json kept = Json::array();
  for (const auto& route : table["Routes"]) {
    if (!has_destination(route, destination)) kept.push_back(route);
  }
  if (kept.size() == table["Routes"].size()) {
    raise("InvalidRoute.NotFound", fmt::format("no route with destination-cidr-block {} in route table {}", destination,
                                               text(table, "RouteTableId")));
  }
  table["Routes"] = std::move(kept);
}

Json replace_route(Context& context, const Json& input) {
  std::string id = required(input, "RouteTableId");
  std::string destination = destination_of(input);
  transaction(context, [&] {
    Json table = load_table(context, id);
    take_route(table, destination);
    table["Routes"].push_back(make_route(context, input, destination));
    put(context, kKind, id, table);
  });
  return Json::object();
}

Json delete_route(Context& context, const Json& input) {
  std::string id = required(input, "RouteTableId");
  std::string destination = destination_of(input);
  transaction(context, [&] {
    Json table = load_table(context, id);
    take_route(table, destination);
    put(context, kKind, id, table);
  });
  return Json::object();
}

Json associate_table(Context& context, const Json& input) {
  std::string id = required(input, "RouteTableId");
  std::string subnet_id = required(input, "SubnetId");
  std::string association_id = new_id(context, "rtbassoc");
  transaction(context, [&] {
    Json table = load_table(context, id);
    load_subnet(context, subnet_id);
    for (const auto& other : list(context, kKind)) {
      for (const auto& association : array(other, "Associations")) {
        if (text(association, "SubnetId") != subnet_id) continue;
        raise("Resource.AlreadyAssociated",
              fmt::format("the specified association for route table {} conflicts with an existing association", id));
      }
    }
    table["Associations"].push_back({{"RouteTableAssociationId", association_id},
                                     {"RouteTableId", id},
                                     {"SubnetId", subnet_id},
                                     {"Main", false},
                                     {"AssociationState", {{"State", "associated"}}}});
    put(context, kKind, id, table);
  });
  return {{"AssociationId", association_id}, {"AssociationState", {{"State", "associated"}}}};
}

Json disassociate_table(Context& context, const Json& input) {
  std::string association_id = required(input, "AssociationId");
  transaction(context, [&] {
    for (auto& table : list(context, kKind)) {
      Json kept = Json::array();
      for (const auto& association : array(table, "Associations")) {
        if (association["RouteTableAssociationId"] != association_id) kept.push_back(association);
      }
      if (kept.size() == table["Associations"].size()) continue;
      table["Associations"] = kept;
      put(context, kKind, text(table, "RouteTableId"), table);
      return;
    }
    raise("InvalidAssociationID.NotFound",
          fmt::format("The association ID '{}' does not exist", association_id));
  });
  return Json::object();
}

}  // namespace

void create_main_route_table(Context& context, const std::string& vpc_id, const std::string& cidr) {
  Json table = make_table(context, vpc_id, cidr, Json::array());
  table["Associations"].push_back({{"RouteTableAssociationId", new_id(context, "rtbassoc")},
                                   {"RouteTableId", table["RouteTableId"]},
                                   {"Main", true},
                                   {"AssociationState", {{"State", "associated"}}}});
  put(context, kKind, text(table, "RouteTableId"), table);
}

void add_route_table_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ec2",
      {{"CreateRouteTable", create_table},
       {"DescribeRouteTables", describe_tables},
       {"DeleteRouteTable", delete_table},
       {"CreateRoute", create_route},
       {"ReplaceRoute", replace_route},
       {"DeleteRoute", delete_route},
       {"AssociateRouteTable", associate_table},
       {"DisassociateRouteTable", disassociate_table}});
}

}  // namespace weir::api
