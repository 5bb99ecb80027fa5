#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "api/test_world.h"

namespace weir::api {
namespace {

using nlohmann::json;

TEST(Vpc, ComesWithADefaultGroupAndAMainRouteTable) {
  TestWorld world;
  json filters = {{{"Name", "vpc-id"}, {"Values", {world.vpc()}}}};
  json groups = world.call("ec2", "DescribeSecurityGroups", {{"Filters", filters}})["SecurityGroups"];
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0]["GroupName"], "default");
  EXPECT_EQ(groups[0]["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"], groups[0]["GroupId"]);
  json tables = world.call("ec2", "DescribeRouteTables", {{"Filters", filters}})["RouteTables"];
  ASSERT_EQ(tables.size(), 1u);
  EXPECT_EQ(tables[0]["Routes"][0]["GatewayId"], "local");
  EXPECT_EQ(tables[0]["Associations"][0]["Main"], true);
}

TEST(Vpc, IsDeletedOnlyWhenNothingUsesIt) {
  TestWorld world;
  std::string subnet = world.subnet('a');
  std::string expected = "DependencyViolation: The vpc '" + world.vpc() + "' has dependencies and cannot be deleted.";
  EXPECT_EQ(world.error("ec2", "DeleteVpc", {{"VpcId", world.vpc()}}), expected);
  world.call("ec2", "DeleteSubnet", {{"SubnetId", subnet}});
  EXPECT_EQ(world.error("ec2", "DeleteVpc", {{"VpcId", world.vpc()}}), "no error");
  EXPECT_EQ(world.error("ec2", "DescribeVpcs", {{"VpcIds", {world.vpc()}}}),
            "InvalidVpcID.NotFound: The vpc ID '" + world.vpc() + "' does not exist");
  EXPECT_TRUE(world.store->list("ec2.security-group").empty());
  EXPECT_TRUE(json::parse(world.store->get("ec2.vpc", world.vpc())->body)["weir"]["deleting"]);
}

TEST(Ec2, RefusesBadInputsInAwsWords) {
  TestWorld world;
  std::string vpc = world.vpc();
  world.subnet('a');
  struct Case {
    const char* operation;
    json input;
    std::string error;
  };
  const Case cases[] = {
      {"CreateVpc", {{"CidrBlock", "10.0.0.0/8"}}, "InvalidVpc.Range: The CIDR '10.0.0.0/8' is invalid."},
      {"CreateVpc", json::object(), "MissingParameter: The request must contain the parameter CidrBlock"},
      {"CreateSubnet", {{"VpcId", vpc}, {"CidrBlock", "10.1.0.0/24"}},
       "InvalidSubnet.Range: The CIDR '10.1.0.0/24' is invalid."},
      {"CreateSubnet", {{"VpcId", vpc}, {"CidrBlock", "10.0.0.128/25"}},
       "InvalidSubnet.Conflict: The CIDR '10.0.0.128/25' conflicts with another subnet"},
      {"CreateSubnet", {{"VpcId", "vpc-0"}, {"CidrBlock", "10.0.9.0/24"}},
       "InvalidVpcID.NotFound: The vpc ID 'vpc-0' does not exist"},
      {"DeleteSecurityGroup", {{"GroupId", "sg-0"}},
       "InvalidGroup.NotFound: The security group 'sg-0' does not exist"},
      {"DeleteRouteTable", {{"RouteTableId", "rtb-0"}},
       "InvalidRouteTableID.NotFound: The routeTable ID 'rtb-0' does not exist"},
      {"DetachInternetGateway", {{"InternetGatewayId", "igw-0"}, {"VpcId", vpc}},
       "InvalidInternetGatewayID.NotFound: The internetGateway ID 'igw-0' does not exist"},
  };
  for (const auto& c : cases) EXPECT_EQ(world.error("ec2", c.operation, c.input), c.error);
}

TEST(SecurityGroup, AllowsAllEgressAndMergesRulesOfOnePort) {
  TestWorld world;
  json permission{{"IpProtocol", "tcp"}, {"FromPort", 443}, {"ToPort", 443}};
  permission["IpRanges"] = {{{"CidrIp", "0.0.0.0/0"}}};
  json input{{"GroupId", world.group()}};
  input["IpPermissions"] = json::array({permission});
  world.call("ec2", "AuthorizeSecurityGroupIngress", input);
  EXPECT_EQ(world.error("ec2", "AuthorizeSecurityGroupIngress", input),
            "InvalidPermission.Duplicate: the specified rule \"peer: 0.0.0.0/0, TCP, from port: 443, to port: 443, "
            "ALLOW\" already exists");
  world.call("ec2", "AuthorizeSecurityGroupIngress",
             {{"GroupId", world.group()}, {"IpProtocol", "6"}, {"FromPort", "443"}, {"ToPort", "443"},
              {"CidrIp", "10.0.0.0/8"}});
  json group = world.call("ec2", "DescribeSecurityGroups", {{"GroupIds", {world.group()}}})["SecurityGroups"][0];
  ASSERT_EQ(group["IpPermissions"].size(), 1u);
  EXPECT_EQ(group["IpPermissions"][0]["IpRanges"].size(), 2u);
  EXPECT_EQ(group["IpPermissionsEgress"][0]["IpProtocol"], "-1");
  world.call("ec2", "RevokeSecurityGroupIngress", input);
  EXPECT_EQ(world.error("ec2", "RevokeSecurityGroupIngress", input),
            "InvalidPermission.NotFound: The specified rule does not exist in this security group.");
}

TEST(SecurityGroup, IsNotDeletedWhileAnotherGroupNamesIt) {
  TestWorld world;
  std::string other = world.call("ec2", "CreateSecurityGroup",
                                 {{"GroupName", "other"}, {"Description", "d"}, {"VpcId", world.vpc()}})["GroupId"];
  json rule{{"GroupId", other}, {"IpProtocol", "tcp"}, {"FromPort", 1}, {"ToPort", 2},
            {"SourceSecurityGroupId", world.group()}};
  world.call("ec2", "AuthorizeSecurityGroupIngress", rule);
  EXPECT_EQ(world.error("ec2", "DeleteSecurityGroup", {{"GroupId", world.group()}}),
            "DependencyViolation: resource " + world.group() + " has a dependent object");
  world.call("ec2", "DeleteSecurityGroup", {{"GroupId", other}});
  EXPECT_EQ(world.error("ec2", "DeleteSecurityGroup", {{"GroupId", world.group()}}), "no error");
}

TEST(RouteTable, TakesRoutesAndAssociations) {
  TestWorld world;
  std::string gateway =
      world.call("ec2", "CreateInternetGateway", json::object())["InternetGateway"]["InternetGatewayId"];
  world.call("ec2", "AttachInternetGateway", {{"InternetGatewayId", gateway}, {"VpcId", world.vpc()}});
  std::string table = world.call("ec2", "CreateRouteTable", {{"VpcId", world.vpc()}})["RouteTable"]["RouteTableId"];
  json route{{"RouteTableId", table}, {"DestinationCidrBlock", "0.0.0.0/0"}, {"GatewayId", gateway}};
  world.call("ec2", "CreateRoute", route);
  EXPECT_EQ(world.error("ec2", "CreateRoute", route),
            "RouteAlreadyExists: The route identified by 0.0.0.0/0 already exists.");
  json association =
      world.call("ec2", "AssociateRouteTable", {{"RouteTableId", table}, {"SubnetId", world.subnet('a')}});
  EXPECT_EQ(world.error("ec2", "DeleteRouteTable", {{"RouteTableId", table}}).substr(0, 19), "DependencyViolation");
  world.call("ec2", "DisassociateRouteTable", {{"AssociationId", association["AssociationId"]}});
  world.call("ec2", "DeleteRoute", {{"RouteTableId", table}, {"DestinationCidrBlock", "0.0.0.0/0"}});
  world.call("ec2", "DeleteRouteTable", {{"RouteTableId", table}});
  EXPECT_EQ(world.error("ec2", "DeleteInternetGateway", {{"InternetGatewayId", gateway}}).substr(0, 19),
            "DependencyViolation");
  world.call("ec2", "DetachInternetGateway", {{"InternetGatewayId", gateway}, {"VpcId", world.vpc()}});
  world.call("ec2", "DeleteInternetGateway", {{"InternetGatewayId", gateway}});
}

}  // namespace
}  // namespace weir::api
