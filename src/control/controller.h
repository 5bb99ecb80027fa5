// The control plane's reconcilers behind one door. Watches the store, wakes the reconciler of each changed
// document, and makes what the documents say real through the drivers and the load balancer processes.
//
// Thread: everything is called and calls back on the loop's thread. Work that blocks goes to the pool.
// Order of life: make the loop, store, drivers and pool; make the Controller; start(); run the loop.
// Destroying it stops nothing outside: tasks and load balancers go on, and the next Controller over the
// same store and state directory takes them over.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "control/health_view.h"
#include "control/options.h"
#include "model/link.h"
#include "net/blocking_pool.h"
#include "net/loop.h"
#include "runtime/driver.h"
#include "store/store.h"

namespace weir::control {

class BalancerProcesses;

// A socket on which a load balancer accepts.
struct Endpoint {
  std::string listener_arn;
  std::string address;
  uint16_t port = 0;      // as bound, after the port map
  bool vpc_side = false;  // bound inside the VPC's namespace
};

class Controller {
 public:
  // Borrows everything; the references must outlive the pool's jobs, so destroy the pool before the drivers.
  // `processes` starts and finds load balancer processes; nullptr: real ones (tests give their own).
  Controller(net::Loop& loop, const Clock& clock, Random& random, store::Store& store,
             runtime::NetworkDriver& network, runtime::ContainerDriver& containers, net::BlockingPool& pool,
             ControllerOptions options, BalancerProcesses* processes = nullptr);
  ~Controller();
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // Adopts what runs, removes what no document explains, and begins to reconcile.
  void start();

  // --- what the API asks ---------------------------------------------------------------------------------
  // DescribeTargetHealth: one row per registered target of the group.
  std::vector<TargetHealthRow> target_health(const std::string& group_arn) const;
  // A registered target (id "GROUPARN|IP|PORT") with weir.deregistering_since: true when every worker of
  // its load balancer has acknowledged that it gets no new stream, or when no balancer process lives.
  // Also true for a target that is not registered any more.
  bool deregistration_applied(const std::string& target_id) const;
  // Calls `done(applied)` once deregistration_applied() is true for all of them, or with false after
  // options.barrier_bound; at once (in this call) when it is true already. Call it after the commit.
  void when_deregistered(std::vector<std::string> target_ids, std::move_only_function<void(bool)> done);
  // Sockets of a load balancer that are open now. Empty while it is provisioning or failed.
  std::vector<Endpoint> endpoints(const std::string& load_balancer_arn) const;
  // Counters of the balancer as of its last report (once a second); nullopt while no process is linked.
  std::optional<model::Stats> stats(const std::string& load_balancer_arn) const;
  // The balancer's open streams, and its latest frame headers. `done` hears nullopt when no balancer answers within
  // BalancerQueries::kAnswerBound; it may be called inside this call.
  void streams(const std::string& load_balancer_arn, const model::StreamsRequest& request,
               std::move_only_function<void(std::optional<model::Streams>)> done);
  void frames(const std::string& load_balancer_arn, const model::FramesRequest& request,
              std::move_only_function<void(std::optional<model::Frames>)> done);
  // Pid of the balancer's process; 0 when none lives.
  int balancer_pid(const std::string& load_balancer_arn) const;

  // Nothing is ready to run, no job is at work and no balancer owes an acknowledgement. Timers may be armed.
  bool quiescent() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::control
