// The named security policies of ELB listeners: the one table, for the API that shows them and for the data plane
// that applies them. Source: Application Load Balancers guide, "Security policies for your ALB".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weir::model {

enum class TlsVersion : uint8_t { V10, V11, V12, V13 };
std::string_view to_string(TlsVersion version);  // "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3", as DescribeSSLPolicies

// Which policies may stand beside each other on the listeners of one load balancer, see compatible().
enum class PolicyFamily : uint8_t { Plain, Pq, Fips, FipsPq };

struct SecurityPolicy {
  std::string name;  // "ELBSecurityPolicy-2016-08"
  PolicyFamily family = PolicyFamily::Plain;
  TlsVersion lowest = TlsVersion::V12;
  TlsVersion highest = TlsVersion::V13;
  std::vector<std::string_view> ciphers;  // OpenSSL's names in order of preference; those of TLS 1.3 first
};

inline constexpr std::string_view kDefaultSecurityPolicy = "ELBSecurityPolicy-2016-08";

// All of them, in the order in which they are shown.
const std::vector<SecurityPolicy>& security_policies();
// Null when there is no policy of this name.
const SecurityPolicy* find_security_policy(std::string_view name);
// Listeners of one load balancer may have both: PQ, FIPS and FIPS-PQ mix, plain policies keep to themselves.
bool compatible(const SecurityPolicy& a, const SecurityPolicy& b);
// The policy towards HTTPS targets, which follows from those of the listeners; names nobody knows are ignored.
std::string_view policy_towards_targets(const std::vector<std::string>& listener_policies);

// A suite of TLS 1.3 ("TLS_…"), not of the versions below.
inline bool is_tls13_suite(std::string_view cipher) { return cipher.starts_with("TLS_"); }

}  // namespace weir::model
