#include "model/security_policies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace weir::model {
namespace {

std::string joined(std::string_view policy) {
  std::string out;
  for (std::string_view cipher : find_security_policy(policy)->ciphers) out += std::string(cipher) + " ";
  return out;
}

TEST(SecurityPolicies, AreTheThirtyNineOfTheGuideEachOnce) {
  std::set<std::string> names;
  for (const SecurityPolicy& policy : security_policies()) {
    names.insert(policy.name);
    EXPECT_FALSE(policy.ciphers.empty()) << policy.name;
    EXPECT_LE(policy.lowest, policy.highest);
    bool has13 = std::any_of(policy.ciphers.begin(), policy.ciphers.end(), is_tls13_suite);
    EXPECT_EQ(has13, policy.highest == TlsVersion::V13) << policy.name;
  }
  EXPECT_EQ(names.size(), 39u);
  EXPECT_EQ(security_policies().size(), 39u);
  EXPECT_EQ(find_security_policy("ELBSecurityPolicy-2016"), nullptr);
  EXPECT_EQ(find_security_policy("2016-08"), nullptr);
}

TEST(SecurityPolicies, TheDefaultOffersAllOfTls12InAwssOrder) {
  EXPECT_EQ(joined(kDefaultSecurityPolicy),
            "ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES128-SHA256 "
            "ECDHE-RSA-AES128-SHA256 ECDHE-ECDSA-AES128-SHA ECDHE-RSA-AES128-SHA ECDHE-ECDSA-AES256-GCM-SHA384 "
            "ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-AES256-SHA384 ECDHE-RSA-AES256-SHA384 ECDHE-RSA-AES256-SHA "
            "ECDHE-ECDSA-AES256-SHA AES128-GCM-SHA256 AES128-SHA256 AES128-SHA AES256-GCM-SHA384 AES256-SHA256 "
            "AES256-SHA ");
  const SecurityPolicy& policy = *find_security_policy(kDefaultSecurityPolicy);
  EXPECT_EQ(policy.lowest, TlsVersion::V10);
  EXPECT_EQ(policy.highest, TlsVersion::V12) << "no TLS 1.3";
}

TEST(SecurityPolicies, DifferInTheSetsTheirNamesStandFor) {
  EXPECT_EQ(joined("ELBSecurityPolicy-TLS13-1-2-Res-2021-06"),
            "TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256 "
            "ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384 "
            "ECDHE-RSA-AES256-GCM-SHA384 ");
  EXPECT_EQ(joined("ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04"), "TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 ");
  EXPECT_EQ(joined("ELBSecurityPolicy-TLS13-1-2-PQ-2025-09"), joined("ELBSecurityPolicy-TLS13-1-2-2021-06"));
  EXPECT_EQ(joined("ELBSecurityPolicy-TLS-1-0-2015-04"), joined(kDefaultSecurityPolicy) + "DES-CBC3-SHA ");
  EXPECT_EQ(joined("ELBSecurityPolicy-TLS-1-2-2017-01").find("SHA "), std::string::npos) << "no SHA-1";
}

TEST(SecurityPolicies, MixOnOneLoadBalancerByFamily) {
  auto policy = [](const char* name) { return *find_security_policy(std::string("ELBSecurityPolicy-") + name); };
  EXPECT_TRUE(compatible(policy("2016-08"), policy("TLS13-1-3-2021-06")));
  EXPECT_TRUE(compatible(policy("TLS13-1-3-FIPS-2023-04"), policy("TLS13-1-2-FIPS-PQ-2025-09")));
  EXPECT_TRUE(compatible(policy("TLS13-1-3-PQ-2025-09"), policy("TLS13-1-2-FIPS-2023-04")));
  EXPECT_FALSE(compatible(policy("TLS13-1-3-PQ-2025-09"), policy("TLS13-1-3-2021-06")));
  EXPECT_FALSE(compatible(policy("2016-08"), policy("TLS13-1-0-FIPS-2023-04")));
}

TEST(SecurityPolicies, TheOneTowardsTargetsFollowsFromTheListeners) {
  auto towards = [](std::vector<std::string> names) {
    for (std::string& name : names) name = "ELBSecurityPolicy-" + name;
    return policy_towards_targets(names).substr(std::string_view("ELBSecurityPolicy-").size());
  };
  EXPECT_EQ(towards({}), "2016-08");
  EXPECT_EQ(towards({"2016-08", "FS-2018-06"}), "2016-08");
  EXPECT_EQ(towards({"2016-08", "TLS13-1-3-2021-06"}), "TLS13-1-0-2021-06");
  EXPECT_EQ(towards({"TLS13-1-2-PQ-2025-09"}), "TLS13-1-0-PQ-2025-09");
  EXPECT_EQ(towards({"TLS13-1-2-PQ-2025-09", "TLS13-1-2-FIPS-2023-04"}), "TLS13-1-0-FIPS-2023-04");
  EXPECT_EQ(towards({"TLS13-1-2-FIPS-PQ-2025-09", "TLS13-1-2-FIPS-2023-04"}), "TLS13-1-0-FIPS-PQ-2025-09");
}

}  // namespace
}  // namespace weir::model
