#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "api/test_world.h"

namespace weir::api {
namespace {

using nlohmann::json;

TEST(LoadBalancer, IsProvisioningWithANameThatEndsInLocalhost) {
  TestWorld world;
  json subnets = {world.subnet('a'), world.subnet('b')};
  json balancer =
      world.call("elbv2", "CreateLoadBalancer", {{"Name", "demo"}, {"Subnets", subnets}})["LoadBalancers"][0];
  std::string arn = balancer["LoadBalancerArn"];
  std::string id = arn.substr(arn.rfind('/') + 1);
  EXPECT_EQ(arn, "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/demo/" + id);
  EXPECT_EQ(id.size(), 16u);
  EXPECT_EQ(balancer["DNSName"], "demo-" + id + ".us-east-1.elb.localhost");
  EXPECT_EQ(balancer["State"]["Code"], "provisioning");
  EXPECT_FALSE(balancer.contains("weir"));
  json again = world.call("elbv2", "CreateLoadBalancer", {{"Name", "demo"}, {"Subnets", subnets}})["LoadBalancers"][0];
  EXPECT_EQ(again["LoadBalancerArn"], arn);
}

TEST(LoadBalancer, GetsALoopbackAddressOfItsOwn) {
  TestWorld world;
  json subnets = {world.subnet('a'), world.subnet('b')};
  for (const char* name : {"one", "two"})
    world.call("elbv2", "CreateLoadBalancer", {{"Name", name}, {"Subnets", subnets}});
  std::vector<std::string> addresses;
  for (const auto& document : world.store->list("elbv2.load-balancer")) {
    addresses.push_back(json::parse(document.body)["weir"]["address"]);
  }
  std::sort(addresses.begin(), addresses.end());
  EXPECT_EQ(addresses, (std::vector<std::string>{"127.0.0.1", "127.0.0.2"}));
}

TEST(LoadBalancer, RefusesBadInputsInAwsWords) {
  TestWorld world;
  json both = {world.subnet('a'), world.subnet('b')};
  json one = {world.subnet('a')};
  struct Case {
    json input;
    std::string error;
  };
  const Case cases[] = {
      {{{"Name", std::string(33, 'x')}, {"Subnets", both}},
       "ValidationError: The load balancer name '" + std::string(33, 'x') + "' cannot be longer than '32' characters"},
      {{{"Name", "-x"}, {"Subnets", both}},
       "ValidationError: The load balancer name '-x' cannot begin or end with '-'"},
      {{{"Name", "internal-x"}, {"Subnets", both}},
       "ValidationError: The load balancer name 'internal-x' cannot begin with 'internal-'"},
      {{{"Name", "x"}, {"Subnets", one}},
       "ValidationError: At least two subnets in two different Availability Zones must be specified"},
      {{{"Name", "x"}, {"Subnets", {world.subnet('a'), world.subnet('a')}}},
       "InvalidConfigurationRequest: A load balancer cannot be attached to multiple subnets in the same Availability "
       "Zone"},
      {{{"Name", "x"}, {"Subnets", {"subnet-0", "subnet-1"}}},
       "SubnetNotFound: The subnet ID 'subnet-0' does not exist"},
  };
  for (const auto& c : cases) EXPECT_EQ(world.error("elbv2", "CreateLoadBalancer", c.input), c.error);
  EXPECT_EQ(world.error("elbv2", "DescribeLoadBalancers", {{"Names", {"nope"}}}),
            "LoadBalancerNotFound: Load balancers '[nope]' not found");
}

TEST(LoadBalancer, IsDeletedWithItsListenersUnlessProtected) {
  TestWorld world;
  world.listener();
  std::string arn = world.balancer();
  world.call("elbv2", "ModifyLoadBalancerAttributes",
             {{"LoadBalancerArn", arn}, {"Attributes", {{{"Key", "deletion_protection.enabled"}, {"Value", "true"}}}}});
  EXPECT_EQ(world.error("elbv2", "DeleteLoadBalancer", {{"LoadBalancerArn", arn}}),
            "OperationNotPermitted: Load balancer '" + arn +
                "' cannot be deleted because deletion protection is enabled");
  world.call("elbv2", "ModifyLoadBalancerAttributes",
             {{"LoadBalancerArn", arn},
              {"Attributes", {{{"Key", "deletion_protection.enabled"}, {"Value", "false"}}}}});
  world.call("elbv2", "DeleteLoadBalancer", {{"LoadBalancerArn", arn}});
  EXPECT_TRUE(world.store->list("elbv2.listener").empty());
  EXPECT_TRUE(json::parse(world.store->get("elbv2.load-balancer", arn)->body)["weir"]["deleting"]);
}

TEST(LoadBalancer, RefusesAttributesOutOfRange) {
  TestWorld world;
  std::string arn = world.balancer();
  auto modify = [&](const char* key, const char* value) {
    return world.error("elbv2", "ModifyLoadBalancerAttributes",
                       {{"LoadBalancerArn", arn}, {"Attributes", {{{"Key", key}, {"Value", value}}}}});
  };
  EXPECT_EQ(modify("idle_timeout.timeout_seconds", "4001"),
            "ValidationError: 'idle_timeout.timeout_seconds' value '4001' must be between '1-4000' inclusive");
  EXPECT_EQ(modify("idle_timeout.timeout_seconds", "4000"), "no error");
  EXPECT_EQ(modify("nope", "1"), "ValidationError: Load balancer attribute key 'nope' is not recognized");
}

TEST(TargetGroup, HasTheGrpcDefaults) {
  TestWorld world;
  std::string arn = world.target_group();
  json group = world.call("elbv2", "DescribeTargetGroups", {{"TargetGroupArns", {arn}}})["TargetGroups"][0];
  EXPECT_EQ(group["HealthCheckPath"], "/AWS.ALB/healthcheck");
  EXPECT_EQ(group["Matcher"], json({{"GrpcCode", "12"}}));
  EXPECT_EQ(group["HealthCheckProtocol"], "HTTP");
  EXPECT_EQ(group["HealthCheckPort"], "traffic-port");
  EXPECT_EQ(group["HealthCheckIntervalSeconds"], 30);
  EXPECT_EQ(group["HealthCheckTimeoutSeconds"], 5);
  EXPECT_EQ(group["HealthyThresholdCount"], 5);
  EXPECT_EQ(group["UnhealthyThresholdCount"], 2);
  EXPECT_TRUE(group["LoadBalancerArns"].empty());
}

TEST(TargetGroup, RefusesBadInputsInAwsWords) {
  TestWorld world;
  json good{{"Name", "g"}, {"Protocol", "HTTP"}, {"ProtocolVersion", "GRPC"}, {"Port", 50051},
            {"VpcId", world.vpc()}, {"TargetType", "ip"}};
  struct Case {
    json change;
    std::string error;
  };
  const Case cases[] = {
      {{{"Matcher", {{"GrpcCode", "200"}}}},
       "ValidationError: Health check matcher GRPC code '200' must be within '0-99' inclusive"},
      {{{"Matcher", {{"HttpCode", "200"}}}},
       "ValidationError: Health check matcher GRPC code '200' must be within '0-99' inclusive"},
      {{{"Matcher", json::object()}}, "ValidationError: Health check matcher GRPC code can not be empty"},
      {{{"Matcher", {{"GrpcCode", "5-1"}}}},
       "ValidationError: Health check matcher GRPC code '5-1' must be within '0-99' inclusive"},
      {{{"HealthCheckTimeoutSeconds", 10}, {"HealthCheckIntervalSeconds", 10}},
       "ValidationError: Health check timeout '10' must be smaller than the interval '10'"},
      {{{"Name", "-g"}}, "ValidationError: Target group name '-g' cannot begin or end with '-'"},
      {{{"Port", nullptr}}, "ValidationError: A port must be specified"},
      {{{"Protocol", nullptr}}, "ValidationError: A protocol must be specified"},
      {{{"VpcId", "vpc-0"}}, "ValidationError: The VPC ID 'vpc-0' is not found"},
      {{{"Protocol", "TCP"}},
       "ValidationError: 1 validation error detected: Value 'TCP' at 'protocol' failed to satisfy constraint: Member "
       "must satisfy enum value set: [HTTP, HTTPS]"},
  };
  for (const auto& c : cases) {
    json input = good;
    input.update(c.change);
    EXPECT_EQ(world.error("elbv2", "CreateTargetGroup", input), c.error) << c.change;
  }
  for (const char* codes : {"0", "0,1", "0-99", "0-5,12"}) {
    json input = good;
    input["Matcher"] = {{"GrpcCode", codes}};
    input["Name"] = "ok" + std::to_string(std::string_view(codes).size() * 10 + static_cast<size_t>(codes[0]));
    EXPECT_EQ(world.error("elbv2", "CreateTargetGroup", input), "no error") << codes;
  }
  EXPECT_EQ(world.error("elbv2", "CreateTargetGroup", good), "no error");
  json other = good;
  other["Port"] = 50052;
  EXPECT_EQ(world.error("elbv2", "CreateTargetGroup", other),
            "DuplicateTargetGroupName: A target group with the same name 'g' exists, but with different settings");
}

TEST(TargetGroup, RefusesAttributesThatExcludeEachOther) {
  TestWorld world;
  std::string arn = world.target_group();
  auto modify = [&](const json& attributes) {
    return world.error("elbv2", "ModifyTargetGroupAttributes", {{"TargetGroupArn", arn}, {"Attributes", attributes}});
  };
  EXPECT_EQ(modify({{{"Key", "deregistration_delay.timeout_seconds"}, {"Value", "3601"}}}),
            "ValidationError: 'deregistration_delay.timeout_seconds' value '3601' must be between '0-3600' inclusive");
  EXPECT_EQ(modify({{{"Key", "stickiness.enabled"}, {"Value", "true"}},
                    {{"Key", "stickiness.type"}, {"Value", "app_cookie"}}}),
            "InvalidConfigurationRequest: You must set an application cookie name to enable stickiness of type "
            "'app_cookie'");
  EXPECT_EQ(modify({{{"Key", "slow_start.duration_seconds"}, {"Value", "30"}},
                    {{"Key", "load_balancing.algorithm.type"}, {"Value", "weighted_random"}}}),
            "InvalidConfigurationRequest: Slow start mode can only be enabled with the 'round_robin' algorithm");
  EXPECT_EQ(modify({{{"Key", "slow_start.duration_seconds"}, {"Value", "29"}}}),
            "ValidationError: 'slow_start.duration_seconds' value '29' must be between '30-900' inclusive");
  EXPECT_EQ(modify({{{"Key", "proxy_protocol_v2.enabled"}, {"Value", "true"}}}),
            "ValidationError: Target group attribute key 'proxy_protocol_v2.enabled' is not recognized");
}

TEST(TargetGroup, IsNotDeletedWhileAListenerForwardsToIt) {
  TestWorld world;
  world.listener();
  std::string arn = world.target_group();
  EXPECT_EQ(world.error("elbv2", "DeleteTargetGroup", {{"TargetGroupArn", arn}}),
            "ResourceInUse: Target group '" + arn + "' is currently in use by a listener or a rule");
  world.call("elbv2", "DeleteListener", {{"ListenerArn", world.listener()}});
  EXPECT_EQ(world.error("elbv2", "DeleteTargetGroup", {{"TargetGroupArn", arn}}), "no error");
}

TEST(Listener, NeedsHttpsForAGrpcGroup) {
  TestWorld world;
  json actions = {{{"Type", "forward"}, {"TargetGroupArn", world.target_group()}}};
  json http{{"LoadBalancerArn", world.balancer()}, {"Protocol", "HTTP"}, {"Port", 80}, {"DefaultActions", actions}};
  EXPECT_EQ(world.error("elbv2", "CreateListener", http),
            "InvalidLoadBalancerAction: Listener protocol 'HTTP' is not supported with a target group with the "
            "protocol-version 'GRPC'");
  json https = http;
  https["Protocol"] = "HTTPS";
  EXPECT_EQ(world.error("elbv2", "CreateListener", https),
            "ValidationError: A certificate must be specified for HTTPS listeners");
  https["Certificates"] = {{{"CertificateArn", "arn:x"}}};
  EXPECT_EQ(world.error("elbv2", "CreateListener", https), "CertificateNotFound: Certificate 'arn:x' not found");
  https["Certificates"] = {{{"CertificateArn", world.certificate()}}};
  https["DefaultActions"][0]["TargetGroupArn"] = "arn:aws:elasticloadbalancing:us-east-1:0:targetgroup/x/1";
  EXPECT_EQ(world.error("elbv2", "CreateListener", https),
            "TargetGroupNotFound: Target group 'arn:aws:elasticloadbalancing:us-east-1:0:targetgroup/x/1' not found");
}

TEST(Listener, ShowsASingleForwardInBothForms) {
  TestWorld world;
  std::string arn = world.listener();
  json listener = world.call("elbv2", "DescribeListeners", {{"ListenerArns", {arn}}})["Listeners"][0];
  std::string group = world.target_group();
  EXPECT_EQ(listener["SslPolicy"], "ELBSecurityPolicy-2016-08");
  EXPECT_EQ(listener["DefaultActions"][0]["TargetGroupArn"], group);
  EXPECT_EQ(listener["DefaultActions"][0]["ForwardConfig"]["TargetGroups"],
            json::array({{{"TargetGroupArn", group}, {"Weight", 1}}}));
  json groups = world.call("elbv2", "DescribeTargetGroups", {{"TargetGroupArns", {group}}});
  EXPECT_EQ(groups["TargetGroups"][0]["LoadBalancerArns"], json::array({world.balancer()}));
  json changed{{"LoadBalancerArn", world.balancer()}, {"Protocol", "HTTP"}, {"Port", 443}};
  changed["DefaultActions"] = {{{"Type", "fixed-response"}, {"FixedResponseConfig", {{"StatusCode", "404"}}}}};
  EXPECT_EQ(world.error("elbv2", "CreateListener", changed),
            "DuplicateListener: A listener already exists on this port for this load balancer '" +
                world.balancer() + "'");
}

TEST(Rule, KeepsPrioritiesUniqueAndTheDefaultRuleLast) {
  TestWorld world;
  json rule{{"ListenerArn", world.listener()}, {"Priority", "10"}};
  rule["Conditions"] = {{{"Field", "path-pattern"}, {"Values", {"/chat.Chat/*"}}}};
  rule["Actions"] = {{{"Type", "forward"}, {"TargetGroupArn", world.target_group()}}};
  json created = world.call("elbv2", "CreateRule", rule)["Rules"][0];
  EXPECT_EQ(created["Priority"], "10");
  EXPECT_EQ(created["Conditions"][0]["PathPatternConfig"]["Values"], json({"/chat.Chat/*"}));
  EXPECT_EQ(world.error("elbv2", "CreateRule", rule), "PriorityInUse: Priority '10' is currently in use");
  rule["Priority"] = 9;
  rule["Conditions"][0]["Field"] = "nope";
  EXPECT_EQ(world.error("elbv2", "CreateRule", rule),
            "ValidationError: Condition field 'nope' must be one of '[path-pattern,host-header,http-header,"
            "http-request-method,query-string,source-ip]'");
  json rules = world.call("elbv2", "DescribeRules", {{"ListenerArn", world.listener()}})["Rules"];
  ASSERT_EQ(rules.size(), 2u);
  EXPECT_EQ(rules[1]["Priority"], "default");
  EXPECT_EQ(rules[1]["IsDefault"], true);
  EXPECT_EQ(world.error("elbv2", "DeleteRule", {{"RuleArn", rules[1]["RuleArn"]}}).substr(0, 21),
            "OperationNotPermitted");
}

TEST(Targets, DrainWhenDeregisteredAndAreUnusedWithoutAListener) {
  TestWorld world;
  std::string group = world.target_group();
  world.subnet('a');
  auto health = [&] {
    return world.call("elbv2", "DescribeTargetHealth", {{"TargetGroupArn", group}})["TargetHealthDescriptions"];
  };
  world.call("elbv2", "RegisterTargets", {{"TargetGroupArn", group}, {"Targets", {{{"Id", "10.0.0.9"}}}}});
  EXPECT_EQ(health()[0]["TargetHealth"]["Reason"], "Target.NotInUse");
  EXPECT_EQ(health()[0]["Target"], json({{"Id", "10.0.0.9"}, {"Port", 50051}, {"AvailabilityZone", "us-east-1a"}}));
  world.listener();
  EXPECT_EQ(health()[0]["TargetHealth"]["State"], "initial");
  world.context->health = [](const std::string&) {
    return Context::HealthOfGroup{{{"10.0.0.9", 50051}, TargetHealth{"healthy", "", ""}}};
  };
  EXPECT_EQ(health()[0]["TargetHealth"], json({{"State", "healthy"}}));
  world.call("elbv2", "DeregisterTargets", {{"TargetGroupArn", group}, {"Targets", {{{"Id", "10.0.0.9"}}}}});
  EXPECT_EQ(health()[0]["TargetHealth"]["Reason"], "Target.DeregistrationInProgress");
  EXPECT_EQ(
      world.error("elbv2", "RegisterTargets", {{"TargetGroupArn", group}, {"Targets", {{{"Id", "8.8.8.8"}}}}})
          .substr(0, 13),
      "InvalidTarget");
}

}  // namespace
}  // namespace weir::api
