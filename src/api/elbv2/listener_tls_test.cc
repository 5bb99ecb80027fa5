#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "api/test_world.h"

namespace weir::api {
namespace {

using nlohmann::json;

struct ListenerTls : testing::Test {
  TestWorld world;
  std::string listener = world.listener();

  std::string certificate(const std::string& domain) {
    return world.call("acm", "RequestCertificate", {{"DomainName", domain}})["CertificateArn"];
  }
  json of_certificates(const std::vector<std::string>& arns) const {
    json list = json::array();
    for (const std::string& arn : arns) list.push_back({{"CertificateArn", arn}});
    return {{"ListenerArn", listener}, {"Certificates", list}};
  }
  // "arn default" for each that is listed.
  std::vector<std::string> listed() {
    std::vector<std::string> out;
    json answer = world.call("elbv2", "DescribeListenerCertificates", {{"ListenerArn", listener}});
    for (const json& c : answer["Certificates"]) {
      out.push_back(c["CertificateArn"].get<std::string>() + (c["IsDefault"].get<bool>() ? " default" : ""));
    }
    return out;
  }
};

TEST_F(ListenerTls, CertificatesAreAddedOnceListedBesideTheDefaultAndRemoved) {
  std::string extra = certificate("extra.example.com");
  json added = world.call("elbv2", "AddListenerCertificates", of_certificates({extra}));
  EXPECT_EQ(added["Certificates"], json::array({{{"CertificateArn", extra}, {"IsDefault", false}}}));
  EXPECT_EQ(world.error("elbv2", "AddListenerCertificates", of_certificates({extra})), "no error");
  std::string usual = world.certificate() + " default";
  EXPECT_EQ(listed(), (std::vector<std::string>{usual, extra}));
  world.call("elbv2", "AddListenerCertificates", of_certificates({world.certificate()}));
  EXPECT_EQ(listed(), (std::vector<std::string>{usual, extra, world.certificate()})) 
      << "the default may be there twice";
  json shown = world.call("elbv2", "DescribeListeners", {{"ListenerArns", {listener}}})["Listeners"][0];
  EXPECT_EQ(shown["Certificates"], json::array({{{"CertificateArn", world.certificate()}}}));
  EXPECT_NE(world.error("acm", "DeleteCertificate", {{"CertificateArn", extra}}).find("ResourceInUse"),
            std::string::npos);
  world.call("elbv2", "RemoveListenerCertificates", of_certificates({extra}));
  world.call("elbv2", "RemoveListenerCertificates", of_certificates({world.certificate()}));
  EXPECT_EQ(listed(), (std::vector<std::string>{usual}));
  EXPECT_EQ(world.error("elbv2", "RemoveListenerCertificates", of_certificates({extra})), "no error");
}

TEST_F(ListenerTls, RefusesWhatAwsRefuses) {
  std::string one = certificate("one.example.com");
  std::string two = certificate("two.example.com");
  EXPECT_EQ(world.error("elbv2", "AddListenerCertificates", of_certificates({"arn:none"})),
            "CertificateNotFound: Certificate 'arn:none' not found");
  EXPECT_EQ(world.error("elbv2", "AddListenerCertificates", of_certificates({one, two})),
            "ValidationError: Up to one certificate can be specified at the same time");
  json with_default = of_certificates({one});
  with_default["Certificates"][0]["IsDefault"] = true;
  EXPECT_EQ(world.error("elbv2", "AddListenerCertificates", with_default),
            "ValidationError: IsDefault cannot be set for a certificate");
  EXPECT_EQ(world.error("elbv2", "RemoveListenerCertificates", of_certificates({world.certificate()})),
            "OperationNotPermitted: The default certificate of a listener cannot be removed");
  listener = "arn:none";
  EXPECT_EQ(world.error("elbv2", "AddListenerCertificates", of_certificates({one})),
            "ListenerNotFound: One or more listeners not found");
}

TEST_F(ListenerTls, ALoadBalancerHasTwentyFiveBesideTheDefaults) {
  for (int i = 0; i < 25; ++i) {
    std::string arn = certificate("c" + std::to_string(i) + ".example.com");
    ASSERT_EQ(world.error("elbv2", "AddListenerCertificates", of_certificates({arn})), "no error") << i;
  }
  EXPECT_EQ(world.error("elbv2", "AddListenerCertificates", of_certificates({certificate("more.example.com")})),
            "TooManyCertificates: The quota of certificates per load balancer has been reached");
}

TEST_F(ListenerTls, PoliciesAreShownWithVersionsAndCiphersInOrder) {
  json all = world.call("elbv2", "DescribeSSLPolicies", json::object())["SslPolicies"];
  EXPECT_EQ(all.size(), 39u);
  json one = world.call("elbv2", "DescribeSSLPolicies", {{"Names", {"ELBSecurityPolicy-TLS13-1-2-Res-2021-06"}}});
  json policy = one["SslPolicies"][0];
  EXPECT_EQ(policy["SslProtocols"], (json{"TLSv1.3", "TLSv1.2"}));
  EXPECT_EQ(policy["Ciphers"][0], (json{{"Name", "TLS_AES_128_GCM_SHA256"}, {"Priority", 1}}));
  EXPECT_EQ(policy["Ciphers"].size(), 7u);
  EXPECT_EQ(world.error("elbv2", "DescribeSSLPolicies", {{"Names", {"ELBSecurityPolicy-1"}}}),
            "SSLPolicyNotFound: SSL policy 'ELBSecurityPolicy-1' not found");
}

TEST_F(ListenerTls, AListenerTakesKnownPoliciesOnlyAndFamiliesDoNotMix) {
  auto modify = [&](const char* policy) {
    return world.error("elbv2", "ModifyListener",
                       {{"ListenerArn", listener}, {"SslPolicy", std::string("ELBSecurityPolicy-") + policy}});
  };
  EXPECT_EQ(modify("2017-09"), "SSLPolicyNotFound: SSL policy 'ELBSecurityPolicy-2017-09' not found");
  EXPECT_EQ(modify("TLS13-1-2-FIPS-2023-04"), "no error");
  json second{{"LoadBalancerArn", world.balancer()},
              {"Protocol", "HTTPS"},
              {"Port", 8443},
              {"Certificates", {{{"CertificateArn", world.certificate()}}}},
              {"DefaultActions", {{{"Type", "forward"}, {"TargetGroupArn", world.target_group()}}}}};
  EXPECT_NE(world.error("elbv2", "CreateListener", second).find("InvalidConfigurationRequest"), std::string::npos)
      << "the default policy beside a FIPS policy";
  second["SslPolicy"] = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09";
  EXPECT_EQ(world.error("elbv2", "CreateListener", second), "no error");
}

TEST_F(ListenerTls, TargetGroupsMaySpeakTls) {
  json group = world.call("elbv2", "CreateTargetGroup",
                          {{"Name", "tls"},
                           {"Protocol", "HTTPS"},
                           {"ProtocolVersion", "GRPC"},
                           {"Port", 443},
                           {"VpcId", world.vpc()},
                           {"TargetType", "ip"}})["TargetGroups"][0];
  EXPECT_EQ(group["Protocol"], "HTTPS");
  EXPECT_EQ(group["HealthCheckProtocol"], "HTTP") << "as AWS: also for HTTPS groups";
}

}  // namespace
}  // namespace weir::api
