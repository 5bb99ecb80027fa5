// The TLS contexts of a load balancer, made from snapshots: one per HTTPS listener, one towards targets. Main thread;
// the contexts are shared by the workers and outlive a change as long as connections use them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/snapshot.h"
#include "net/tls.h"

namespace weir::proxy {

class TlsContexts {
 public:
  using ByListener = std::map<std::string, std::shared_ptr<const net::TlsServerContext>>;

  explicit TlsContexts(const Clock& clock) : clock_(clock) {}
  // Makes what `snapshot` needs. A listener whose policy and certificates stay keeps its context; session tickets stay
  // valid while the policy stays and no certificate goes. On failure everything stays as it was.
  Result<void> apply(const model::RoutingSnapshot& snapshot);
  const ByListener& listeners() const { return listeners_; }
  const std::shared_ptr<const net::TlsClientContext>& targets() const { return targets_; }
  // To be called every kTicketKeyLife: tickets are opened for one to two such times.
  void rotate_tickets();
  static constexpr Duration kTicketKeyLife = std::chrono::hours(2);  // that of a session, too

 private:
  struct Listener {
    std::string policy;
    std::vector<std::string> certificates;  // all that makes each one what it is, in order
    std::shared_ptr<net::TlsTicketKeys> tickets;
  };
  const Clock& clock_;
  std::map<std::string, Listener> known_;
  ByListener listeners_;
  std::string target_policy_;
  std::shared_ptr<const net::TlsClientContext> targets_;
};

// What the named policy means to the TLS library; an unknown name means the default policy.
net::TlsRules tls_rules(std::string_view policy);

}  // namespace weir::proxy
