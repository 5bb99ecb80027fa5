#include "proxy/tls_contexts.h"

#include <algorithm>

#include "model/security_policies.h"

namespace weir::proxy {

namespace {

// Everything of it, so that any difference makes a new context.
std::string fingerprint(const model::Certificate& c) {
  std::string out = c.arn + "\n" + c.chain_pem + "\n" + c.key_pem;
  for (const std::string& name : c.names) out += "\n" + name;
  return out;
}

bool includes(const std::vector<std::string>& all, const std::vector<std::string>& some) {
  return std::all_of(some.begin(), some.end(), [&](const std::string& each) {
    return std::find(all.begin(), all.end(), each) != all.end();
  });
}

}  // namespace

net::TlsRules tls_rules(std::string_view name) {
  const model::SecurityPolicy* policy = model::find_security_policy(name);
  if (policy == nullptr) policy = model::find_security_policy(model::kDefaultSecurityPolicy);
  net::TlsRules rules;
  constexpr int kTls10 = 0x0301;
  rules.version_min = kTls10 + static_cast<int>(policy->lowest);
  rules.version_max = kTls10 + static_cast<int>(policy->highest);
  for (std::string_view cipher : policy->ciphers) {
    std::string& list = model::is_tls13_suite(cipher) ? rules.suites : rules.ciphers;
    if (!list.empty()) list += ':';
    list += cipher;
  }
  bool post_quantum = policy->family == model::PolicyFamily::Pq || policy->family == model::PolicyFamily::FipsPq;
  bool fips = policy->family == model::PolicyFamily::Fips || policy->family == model::PolicyFamily::FipsPq;
  if (post_quantum) rules.groups = {"X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024"};
  if (!fips) rules.groups.push_back("X25519");
  for (const char* group : {"P-256", "P-384", "P-521"}) rules.groups.push_back(group);
  return rules;
}

Result<void> TlsContexts::apply(const model::RoutingSnapshot& snapshot) {
  std::map<std::string, Listener> known;
  ByListener listeners;
  std::vector<std::string> policies;
  for (const model::Listener& l : snapshot.listeners) {
    if (!l.tls) continue;
    policies.push_back(l.ssl_policy);
    Listener now{l.ssl_policy, {}, nullptr};
    std::vector<net::TlsCertificate> certificates;
    for (const model::Certificate& c : l.certificates) {
      now.certificates.push_back(fingerprint(c));
      certificates.push_back({c.chain_pem, c.key_pem, c.names, c.arn});
    }
    auto before = known_.find(l.arn);
    bool same_policy = before != known_.end() && before->second.policy == now.policy;
    if (same_policy && includes(now.certificates, before->second.certificates)) now.tickets = before->second.tickets;
    if (now.tickets != nullptr && now.certificates == before->second.certificates) {
      listeners[l.arn] = listeners_[l.arn];
    } else {
      if (now.tickets == nullptr) now.tickets = std::make_shared<net::TlsTicketKeys>();
      auto made = net::TlsServerContext::make(certificates, tls_rules(l.ssl_policy), clock_, now.tickets);
      if (!made) return fail("listener " + l.arn + ": " + made.error().message);
      listeners[l.arn] = *made;
    }
    known[l.arn] = std::move(now);
  }
  std::string target_policy(model::policy_towards_targets(policies));
  if (targets_ == nullptr || target_policy != target_policy_) {
    WEIR_TRY_ASSIGN(targets_, net::TlsClientContext::make(tls_rules(target_policy)));
    target_policy_ = std::move(target_policy);
  }
  known_ = std::move(known);
  listeners_ = std::move(listeners);
  return {};
}

void TlsContexts::rotate_tickets() {
  for (auto& [arn, listener] : known_) listener.tickets->rotate();
}

}  // namespace weir::proxy
