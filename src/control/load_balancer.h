// Load balancers: their network interfaces, process, listener sockets, link and state.
//
//   provisioning ── process linked, sockets bound, snapshot acknowledged ──▶ active
//        │  ▲                                                                  │
//        └──┴── a socket cannot be bound (State.Reason says why; retried) ◀────┘   = failed
//
// A process that dies is started again with the sockets kept here and the last known health in its first
// snapshot. After our own restart a living process is adopted: its sockets come back over the link, and
// nothing is bound before that. See docs/store-documents.md: elbv2.load-balancer.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/balancer_link.h"
#include "control/balancer_process.h"
#include "control/balancer_queries.h"
#include "control/context.h"
#include "control/firewall.h"
#include "control/work_queue.h"

namespace weir::control {

class LoadBalancers {
 public:
  LoadBalancers(Context& context, BalancerProcesses& processes);
  ~LoadBalancers();
  LoadBalancers(const LoadBalancers&) = delete;
  LoadBalancers& operator=(const LoadBalancers&) = delete;

  StepResult step(const std::string& arn);
  void wake_all();
  void security_groups_changed() { firewalls_.invalidate(); }
  // Ends processes whose load balancer document is gone (left by a crash).
  void remove_leftovers();

  // See Controller::deregistration_applied, for one target.
  bool target_inactive(const std::string& group_arn, const std::string& address, uint16_t port);
  // No process can hold a stream to a target of this group: there is no balancer, or it is dead.
  bool dead(const std::string& group_arn);
  bool settled() const;
  const model::Stats* stats(const std::string& arn) const;
  int pid(const std::string& arn) const;
  struct OpenSocket {
    model::ListenerSocket socket;
    int fd = -1;
  };
  std::vector<model::ListenerSocket> sockets(const std::string& arn) const;
  // Asks the balancer; nullopt when there is none, or it does not answer.
  void streams(const std::string& arn, model::StreamsRequest request, BalancerQueries::Done<model::Streams> done);
  void frames(const std::string& arn, model::FramesRequest request, BalancerQueries::Done<model::Frames> done);

 private:
  struct Balancer;
  class PidWatch;

  Balancer& balancer(const std::string& arn);
  BalancerSpec spec_of(const std::string& arn, const std::string& netns) const;
  // Each answers a result when the step must end there, nullopt to go on.
  std::optional<StepResult> ensure_address(const std::string& arn, nlohmann::json& document);
  std::optional<StepResult> ensure_interfaces(const std::string& arn, const nlohmann::json& document, Balancer& b);
  std::optional<StepResult> ensure_process(const std::string& arn, Balancer& b);
  std::optional<StepResult> ensure_link(const std::string& arn, Balancer& b);
  Result<void> create_interfaces(const std::string& arn, const nlohmann::json& document,
                                 const std::vector<std::string>& subnets);
  void make_log_folders(Balancer& b, const model::RoutingSnapshot& snapshot);
  void ensure_sockets(const std::string& arn, const nlohmann::json& document, Balancer& b);
  void bind_vpc_socket(const std::string& arn, Balancer& b, const model::ListenerSocket& wanted);
  void announce_sockets(Balancer& b);
  StepResult write_state(const std::string& arn, const Balancer& b, const std::string& snapshot_error);
  StepResult remove(const std::string& arn);
  Result<bool> end_process(const std::string& arn, Balancer& b);
  Result<bool> remove_interfaces(const std::string& arn);
  void note_death(const std::string& arn, Balancer& b);
  void adopt(const std::string& arn, Balancer& b, BalancerProcess process);
  BalancerLink::Events link_events(const std::string& arn);
  void on_welcome(const std::string& arn, const model::Welcome& welcome, std::vector<int> fds);
  void on_drained(const model::Drained& drained);
  void on_stats(const std::string& arn, const model::Stats& stats);
  void wake_targets(const std::string& arn);
  void wake(const std::string& arn) { context_.wake(Queue::Balancer, arn); }

  Context& context_;
  BalancerProcesses& processes_;
  Firewalls firewalls_;
  BalancerQueries queries_;
  std::map<std::string, std::unique_ptr<Balancer>> balancers_;
};

}  // namespace weir::control
