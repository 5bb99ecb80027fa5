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
  const std::string routing = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.";
  const std::string dns = "target_group_health.dns_failover.minimum_healthy_targets.";
  EXPECT_EQ(modify({{{"Key", routing + "count"}, {"Value", "off"}}}).substr(0, 15), "ValidationError");
  EXPECT_EQ(modify({{{"Key", routing + "count"}, {"Value", "0"}}}).substr(0, 15), "ValidationError");
  EXPECT_EQ(modify({{{"Key", routing + "percentage"}, {"Value", "101"}}}).substr(0, 15), "ValidationError");
  EXPECT_EQ(modify({{{"Key", routing + "percentage"}, {"Value", "100"}}}), "no error");
  EXPECT_EQ(modify({{{"Key", routing + "count"}, {"Value", "2"}}}),
            "InvalidConfigurationRequest: The value of '" + dns +
                "count' must be greater than or equal to the value of '" + routing + "count'");
  EXPECT_EQ(modify({{{"Key", routing + "count"}, {"Value", "2"}}, {{"Key", dns + "count"}, {"Value", "off"}}}),
            "no error");
  EXPECT_EQ(modify({{{"Key", "load_balancing.algorithm.anomaly_mitigation"}, {"Value", "on"}}}),
            "InvalidConfigurationRequest: Anomaly mitigation can only be enabled with the 'weighted_random' algorithm");
  EXPECT_EQ(modify({{{"Key", "slow_start.duration_seconds"}, {"Value", "900"}}}), "no error");
  EXPECT_EQ(modify({{{"Key", "load_balancing.algorithm.type"}, {"Value", "least_outstanding_requests"}}}),
            "InvalidConfigurationRequest: Slow start mode can only be enabled with the 'round_robin' algorithm");
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

TEST(Rule, RefusesConditionsOutsideOfAlbsLimits) {
  TestWorld world;
  json rule{{"ListenerArn", world.listener()}, {"Priority", 1}};
  rule["Actions"] = {{{"Type", "forward"}, {"TargetGroupArn", world.target_group()}}};
  auto with = [&](const json& conditions) {
    rule["Conditions"] = conditions;
    return world.error("elbv2", "CreateRule", rule);
  };
  auto of = [](const char* field, const char* config, const json& values) {
    return json::array({{{"Field", field}, {config, {{"Values", values}}}}});
  };
  const std::string long_value(129, 'a');
  EXPECT_EQ(with(of("path-pattern", "PathPatternConfig", {"/" + long_value})),
            "ValidationError: The 'path-pattern' value is too long; the limit is '128'");
  EXPECT_EQ(with(of("path-pattern", "PathPatternConfig", {"/a b"})),
            "ValidationError: The 'path-pattern' value '/a b' contains invalid characters");
  EXPECT_EQ(with(of("host-header", "HostHeaderConfig", {"localhost"})),
            "ValidationError: The 'host-header' value 'localhost' must contain at least one '.'");
  EXPECT_EQ(with(of("host-header", "HostHeaderConfig", {"a.example.c0m"})),
            "ValidationError: The 'host-header' value 'a.example.c0m' can have only letters after the last '.'");
  EXPECT_EQ(with(of("http-request-method", "HttpRequestMethodConfig", {"get"})),
            "ValidationError: The 'http-request-method' value 'get' contains invalid characters");
  EXPECT_EQ(with(of("source-ip", "SourceIpConfig", {"255.255.255.255/32"})),
            "ValidationError: Condition value '255.255.255.255/32' must be a valid CIDR block");
  EXPECT_EQ(with(of("source-ip", "SourceIpConfig", {"2001:db8::/129"})),
            "ValidationError: Condition value '2001:db8::/129' must be a valid CIDR block");
  EXPECT_EQ(with(of("path-pattern", "PathPatternConfig", {"/1", "/2", "/3", "/4", "/5", "/6"})),
            "ValidationError: Rules can have a maximum of '5' condition values");
  EXPECT_EQ(with(of("path-pattern", "PathPatternConfig", {"/*/*/*/*/*/?"})),
            "ValidationError: Rules can have a maximum of '5' wildcards");
  json host = of("http-header", "HttpHeaderConfig", {"x"});
  host[0]["HttpHeaderConfig"]["HttpHeaderName"] = "Host";
  EXPECT_EQ(with(host), "ValidationError: Use the condition field 'host-header' for the header 'Host'");
  json query = of("query-string", "QueryStringConfig", {{{"Key", "a"}, {"Value", "\\*\\?*"}}});
  EXPECT_EQ(with(query), "no error");
}

TEST(Rule, KeepsRegularExpressionsForPathHostAndHeader) {
  TestWorld world;
  json rule{{"ListenerArn", world.listener()}, {"Priority", 1}};
  rule["Actions"] = {{{"Type", "forward"}, {"TargetGroupArn", world.target_group()}}};
  rule["Conditions"] = {{{"Field", "path-pattern"}, {"PathPatternConfig", {{"RegexValues", {"^/v[0-9]+/"}}}}}};
  json created = world.call("elbv2", "CreateRule", rule)["Rules"][0];
  EXPECT_EQ(created["Conditions"][0],
            json({{"Field", "path-pattern"}, {"PathPatternConfig", {{"RegexValues", {"^/v[0-9]+/"}}}}}));
  rule["Priority"] = 2;
  rule["Conditions"][0]["PathPatternConfig"]["RegexValues"] = {"(open"};
  EXPECT_EQ(world.error("elbv2", "CreateRule", rule).substr(0, 78),
            "ValidationError: The 'path-pattern' regular expression '(open' is not valid: m");
  rule["Conditions"] = {{{"Field", "source-ip"}, {"SourceIpConfig", {{"RegexValues", {"10"}}}}}};
  EXPECT_EQ(world.error("elbv2", "CreateRule", rule),
            "ValidationError: Regular expressions are not supported for the field 'source-ip'");
}

TEST(Listener, TakesHeadersForResponsesAndNamesForTlsHeaders) {
  TestWorld world;
  std::string arn = world.listener();
  auto modify = [&](const char* key, const std::string& value) {
    return world.error("elbv2", "ModifyListenerAttributes",
                       {{"ListenerArn", arn}, {"Attributes", {{{"Key", key}, {"Value", value}}}}});
  };
  constexpr const char* kFrame = "routing.http.response.x_frame_options.header_value";
  EXPECT_EQ(modify(kFrame, "DENY"), "no error");
  EXPECT_EQ(modify(kFrame, ""), "no error");
  EXPECT_EQ(modify(kFrame, "a\r\nb: c"),
            "ValidationError: '" + std::string(kFrame) + "' value 'a\r\nb: c' contains invalid characters");
  EXPECT_EQ(modify(kFrame, std::string(1025, 'a')), "ValidationError: '" + std::string(kFrame) + "' value is too long");
  constexpr const char* kVersion = "routing.http.request.x_amzn_tls_version.header_name";
  EXPECT_EQ(modify(kVersion, "X-My-Tls"), "no error");
  EXPECT_EQ(modify(kVersion, "no: name").substr(0, 15), "ValidationError");
}

TEST(FixedResponse, TakesAlbsContentTypesOnly) {
  TestWorld world;
  json rule{{"ListenerArn", world.listener()}, {"Priority", 1}};
  rule["Conditions"] = {{{"Field", "path-pattern"}, {"Values", {"/*"}}}};
  json config{{"StatusCode", "404"}, {"ContentType", "image/png"}, {"MessageBody", "x"}};
  rule["Actions"] = {{{"Type", "fixed-response"}, {"FixedResponseConfig", config}}};
  EXPECT_EQ(world.error("elbv2", "CreateRule", rule),
            "ValidationError: The content type 'image/png' must be one of '[text/plain,text/css,text/html,"
            "application/javascript,application/json]'");
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
  world.context->health = [](const std::string&) {
    return Context::HealthOfGroup{{{"10.0.0.9", 50051}, TargetHealth{"healthy", "", "", "anomalous", true}}};
  };
  EXPECT_FALSE(health()[0].contains("AnomalyDetection"));
  json with_anomalies{{"TargetGroupArn", group}, {"Include", {"AnomalyDetection"}}};
  json all = world.call("elbv2", "DescribeTargetHealth", with_anomalies);
  EXPECT_EQ(all["TargetHealthDescriptions"][0]["AnomalyDetection"],
            json({{"Result", "anomalous"}, {"MitigationInEffect", "yes"}}));
  world.call("elbv2", "DeregisterTargets", {{"TargetGroupArn", group}, {"Targets", {{{"Id", "10.0.0.9"}}}}});
  EXPECT_EQ(health()[0]["TargetHealth"]["Reason"], "Target.DeregistrationInProgress");
  EXPECT_EQ(
      world.error("elbv2", "RegisterTargets", {{"TargetGroupArn", group}, {"Targets", {{{"Id", "8.8.8.8"}}}}})
          .substr(0, 13),
      "InvalidTarget");
}

}  // namespace
}  // namespace weir::api
