#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cfn/provider.h"

namespace weir::cfn {
namespace {

using nlohmann::json;

// A listener's list of certificates behind the operations that change it.
struct CertificateList : testing::Test {
  CertificateList() {
    dispatcher.add("elbv2", "DescribeListenerCertificates", [this](const json&) {
      check();
      json out = json::array({{{"CertificateArn", "default"}, {"IsDefault", true}}});
      for (const std::string& arn : held) out.push_back({{"CertificateArn", arn}, {"IsDefault", false}});
      return json{{"Certificates", out}};
    });
    dispatcher.add("elbv2", "AddListenerCertificates", [this](const json& in) {
      check();
      EXPECT_EQ(in["Certificates"].size(), 1u);
      held.push_back(in["Certificates"][0]["CertificateArn"]);
      return json::object();
    });
    dispatcher.add("elbv2", "RemoveListenerCertificates", [this](const json& in) {
      check();
      std::string arn = in["Certificates"][0]["CertificateArn"];
      EXPECT_EQ(std::erase(held, arn), 1u) << arn;
      return json::object();
    });
  }
  void check() const {
    if (gone) throw api::ApiError{"ListenerNotFound", "One or more listeners not found", 400};
  }
  static json properties(const std::vector<std::string>& arns) {
    json out{{"ListenerArn", "arn:listener"}, {"Certificates", json::array()}};
    for (const std::string& arn : arns) out["Certificates"].push_back({{"CertificateArn", arn}});
    return out;
  }
  ResourceCall call(const json& now, const json& before) {
    return {dispatcher, "us-east-1", "0", "id", "stack", "Extra", "", "", now, before, tags, not_these};
  }

  const Provider& provider = *find_provider("AWS::ElasticLoadBalancingV2::ListenerCertificate");
  api::Dispatcher dispatcher;
  std::vector<std::string> held{"of somebody else"};
  bool gone = false;
  const json tags = json::array();
  const json none = json::object();
  std::vector<std::string> not_these;
};

TEST_F(CertificateList, IsExtendedChangedAndCleanedUpWithoutTouchingWhatOthersAdded) {
  json first = properties({"a", "b"});
  EXPECT_EQ(provider.find(call(first, none)), "");
  std::string id = provider.create(call(first, none));
  EXPECT_EQ(held, (std::vector<std::string>{"of somebody else", "a", "b"}));
  EXPECT_EQ(provider.find(call(first, none)), id) << "after a crash";
  json second = properties({"b", "c"});
  provider.update(call(second, first));
  EXPECT_EQ(held, (std::vector<std::string>{"of somebody else", "b", "c"}));
  provider.update(call(second, first));
  EXPECT_EQ(held, (std::vector<std::string>{"of somebody else", "b", "c"})) << "again changes nothing";
  provider.remove(call(second, none));
  provider.remove(call(second, none));
  EXPECT_EQ(held, (std::vector<std::string>{"of somebody else"}));
}

TEST_F(CertificateList, OfAListenerThatIsGoneIsGone) {
  gone = true;
  provider.remove(call(properties({"a"}), none));
}

}  // namespace
}  // namespace weir::cfn
