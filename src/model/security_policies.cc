#include "model/security_policies.h"

namespace weir::model {

namespace {

enum : uint32_t {
  kT13 = 1,       // TLS 1.3, without CHACHA20
  kChacha = 2,    // not in FIPS policies
  kGcm = 4,       // ECDHE with AEAD: all that HTTP/2 permits below TLS 1.3 (RFC 9113 appendix A)
  kCbc2 = 8,      // ECDHE, CBC with SHA-2
  kCbc1 = 16,     // ECDHE, CBC with SHA-1
  kRsaG = 32,     // RSA key exchange, SHA-2
  kRsa1 = 64,     // RSA key exchange, SHA-1
  kTriple = 128,  // 3DES
  kForward2 = kGcm | kCbc2,
  kForward = kForward2 | kCbc1,
  kAll12 = kForward | kRsaG | kRsa1,
};

struct Suite {
  std::string_view name;
  uint32_t set;
};
// In the order of preference that all policies share.
constexpr Suite kSuites[] = {
    {"TLS_AES_128_GCM_SHA256", kT13},
    {"TLS_AES_256_GCM_SHA384", kT13},
    {"TLS_CHACHA20_POLY1305_SHA256", kChacha},
    {"ECDHE-ECDSA-AES128-GCM-SHA256", kGcm},
    {"ECDHE-RSA-AES128-GCM-SHA256", kGcm},
    {"ECDHE-ECDSA-AES128-SHA256", kCbc2},
    {"ECDHE-RSA-AES128-SHA256", kCbc2},
    {"ECDHE-ECDSA-AES128-SHA", kCbc1},
    {"ECDHE-RSA-AES128-SHA", kCbc1},
    {"ECDHE-ECDSA-AES256-GCM-SHA384", kGcm},
    {"ECDHE-RSA-AES256-GCM-SHA384", kGcm},
    {"ECDHE-ECDSA-AES256-SHA384", kCbc2},
    {"ECDHE-RSA-AES256-SHA384", kCbc2},
    {"ECDHE-RSA-AES256-SHA", kCbc1},
    {"ECDHE-ECDSA-AES256-SHA", kCbc1},
    {"AES128-GCM-SHA256", kRsaG},
    {"AES128-SHA256", kRsaG},
    {"AES128-SHA", kRsa1},
    {"AES256-GCM-SHA384", kRsaG},
    {"AES256-SHA256", kRsaG},
    {"AES256-SHA", kRsa1},
    {"DES-CBC3-SHA", kTriple},
};

struct Row {
  std::string_view name;  // behind "ELBSecurityPolicy-"
  PolicyFamily family;
  TlsVersion lowest;
  TlsVersion highest;
  uint32_t sets;
};
using enum TlsVersion;
constexpr auto kPlain = PolicyFamily::Plain;
constexpr auto kPq = PolicyFamily::Pq;
constexpr auto kFips = PolicyFamily::Fips;
constexpr auto kFipsPq = PolicyFamily::FipsPq;
constexpr uint32_t kModern = kT13 | kChacha;

constexpr Row kRows[] = {
    {"TLS13-1-3-2021-06", kPlain, V13, V13, kModern},
    {"TLS13-1-2-Res-2021-06", kPlain, V12, V13, kModern | kGcm},
    {"TLS13-1-2-2021-06", kPlain, V12, V13, kModern | kForward2},
    {"TLS13-1-2-Ext1-2021-06", kPlain, V12, V13, kModern | kForward2 | kRsaG},
    {"TLS13-1-2-Ext2-2021-06", kPlain, V12, V13, kModern | kAll12},
    {"TLS13-1-1-2021-06", kPlain, V11, V13, kModern | kAll12},
    {"TLS13-1-0-2021-06", kPlain, V10, V13, kModern | kAll12},
    {"TLS13-1-3-PQ-2025-09", kPq, V13, V13, kModern},
    {"TLS13-1-2-Res-PQ-2025-09", kPq, V12, V13, kModern | kGcm},
    {"TLS13-1-2-PQ-2025-09", kPq, V12, V13, kModern | kForward2},
    {"TLS13-1-2-Ext1-PQ-2025-09", kPq, V12, V13, kModern | kForward2 | kRsaG},
    {"TLS13-1-2-Ext2-PQ-2025-09", kPq, V12, V13, kModern | kAll12},
    {"TLS13-1-0-PQ-2025-09", kPq, V10, V13, kModern | kAll12},
    {"TLS13-1-3-FIPS-2023-04", kFips, V13, V13, kT13},
    {"TLS13-1-2-Res-FIPS-2023-04", kFips, V12, V13, kT13 | kGcm},
    {"TLS13-1-2-FIPS-2023-04", kFips, V12, V13, kT13 | kForward2},
    {"TLS13-1-2-Ext0-FIPS-2023-04", kFips, V12, V13, kT13 | kForward},
    {"TLS13-1-2-Ext1-FIPS-2023-04", kFips, V12, V13, kT13 | kForward2 | kRsaG},
    {"TLS13-1-2-Ext2-FIPS-2023-04", kFips, V12, V13, kT13 | kAll12},
    {"TLS13-1-1-FIPS-2023-04", kFips, V11, V13, kT13 | kAll12},
    {"TLS13-1-0-FIPS-2023-04", kFips, V10, V13, kT13 | kAll12},
    {"TLS13-1-3-FIPS-PQ-2025-09", kFipsPq, V13, V13, kT13},
    {"TLS13-1-2-Res-FIPS-PQ-2025-09", kFipsPq, V12, V13, kT13 | kGcm},
    {"TLS13-1-2-FIPS-PQ-2025-09", kFipsPq, V12, V13, kT13 | kForward2},
    {"TLS13-1-2-Ext0-FIPS-PQ-2025-09", kFipsPq, V12, V13, kT13 | kForward},
    {"TLS13-1-2-Ext1-FIPS-PQ-2025-09", kFipsPq, V12, V13, kT13 | kForward2 | kRsaG},
    {"TLS13-1-2-Ext2-FIPS-PQ-2025-09", kFipsPq, V12, V13, kT13 | kAll12},
    {"TLS13-1-0-FIPS-PQ-2025-09", kFipsPq, V10, V13, kT13 | kAll12},
    {"2016-08", kPlain, V10, V12, kAll12},
    {"2015-05", kPlain, V10, V12, kAll12},
    {"TLS-1-2-2017-01", kPlain, V12, V12, kForward2 | kRsaG},
    {"TLS-1-2-Ext-2018-06", kPlain, V12, V12, kAll12},
    {"TLS-1-1-2017-01", kPlain, V11, V12, kAll12},
    {"TLS-1-0-2015-04", kPlain, V10, V12, kAll12 | kTriple},
    {"FS-1-2-Res-2020-10", kPlain, V12, V12, kGcm},
    {"FS-1-2-Res-2019-08", kPlain, V12, V12, kForward2},
    {"FS-1-2-2019-08", kPlain, V12, V12, kForward},
    {"FS-1-1-2019-08", kPlain, V11, V12, kForward},
    {"FS-2018-06", kPlain, V10, V12, kForward},
};

std::vector<SecurityPolicy> make_all() {
  std::vector<SecurityPolicy> all;
  for (const Row& row : kRows) {
    SecurityPolicy policy{"ELBSecurityPolicy-" + std::string(row.name), row.family, row.lowest, row.highest, {}};
    for (const Suite& suite : kSuites) {
      if (suite.set & row.sets) policy.ciphers.push_back(suite.name);
    }
    all.push_back(std::move(policy));
  }
  return all;
}

}  // namespace

std::string_view to_string(TlsVersion version) {
  switch (version) {
    case V10: return "TLSv1";
    case V11: return "TLSv1.1";
    case V12: return "TLSv1.2";
    case V13: return "TLSv1.3";
  }
  return "";
}

const std::vector<SecurityPolicy>& security_policies() {
  static const std::vector<SecurityPolicy> kAll = make_all();
  return kAll;
}

const SecurityPolicy* find_security_policy(std::string_view name) {
  for (const SecurityPolicy& policy : security_policies()) {
    if (policy.name == name) return &policy;
  }
  return nullptr;
}

bool compatible(const SecurityPolicy& a, const SecurityPolicy& b) {
  return (a.family == PolicyFamily::Plain) == (b.family == PolicyFamily::Plain);
}

std::string_view policy_towards_targets(const std::vector<std::string>& listener_policies) {
  bool seen[4] = {};
  bool tls13 = false;
  for (const std::string& name : listener_policies) {
    const SecurityPolicy* policy = find_security_policy(name);
    if (policy == nullptr) continue;
    seen[static_cast<size_t>(policy->family)] = true;
    tls13 = tls13 || policy->highest == V13;
  }
  if (seen[static_cast<size_t>(kFipsPq)]) return "ELBSecurityPolicy-TLS13-1-0-FIPS-PQ-2025-09";
  if (seen[static_cast<size_t>(kFips)]) return "ELBSecurityPolicy-TLS13-1-0-FIPS-2023-04";
  if (seen[static_cast<size_t>(kPq)]) return "ELBSecurityPolicy-TLS13-1-0-PQ-2025-09";
  return tls13 ? "ELBSecurityPolicy-TLS13-1-0-2021-06" : kDefaultSecurityPolicy;
}

}  // namespace weir::model
