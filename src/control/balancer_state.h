// What is known in memory of one load balancer. Private to load_balancer*.cc.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "control/load_balancer.h"

namespace weir::control {

// Wakes the balancer's key when its process ends.
class LoadBalancers::PidWatch final : public net::FdHandler {
 public:
  PidWatch(net::Loop& loop, int pidfd, std::function<void()> on_end)
      : loop_(loop), pidfd_(pidfd), on_end_(std::move(on_end)) {
    loop_.watch(pidfd_, EPOLLIN, this);
  }
  ~PidWatch() { stop(); }
  void on_ready(uint32_t) override {
    stop();  // level-triggered: it would stay ready
    on_end_();
  }

 private:
  void stop() {
    if (pidfd_ >= 0) loop_.unwatch(pidfd_, this);
    pidfd_ = -1;
  }
  net::Loop& loop_;
  int pidfd_;
  std::function<void()> on_end_;
};

using SocketKey = std::tuple<std::string, std::string, uint16_t, bool>;
inline SocketKey key_of(const model::ListenerSocket& s) {
  return {s.listener_arn, s.address, s.bound_port, s.vpc_side};
}

struct LoadBalancers::Balancer {
  struct Open {
    model::ListenerSocket socket;
    int fd = -1;
    bool announced = false;  // the linked process has it
  };
  struct Idle {  // a draining target in successive reports
    int reports = 0;
  };

  ~Balancer() {
    for (auto& [key, open] : sockets) close(open.fd);
  }

  bool looked_for = false;  // find() has answered: `process` is the truth
  BalancerProcess process;
  std::unique_ptr<PidWatch> pid_watch;
  std::unique_ptr<BalancerLink> link;
  TimePoint linked_at{};
  std::string netns;            // empty: the host's
  std::string primary_eni;
  std::vector<std::string> vpc_addresses;
  std::map<SocketKey, Open> sockets;
  std::map<SocketKey, std::string> bind_errors;  // wanted sockets that could not be opened
  std::set<std::string> bind_jobs;
  uint64_t generation = 0;
  std::set<std::string> log_folders;  // made since we started
  bool ready_once = false;      // the process that runs has acknowledged a snapshot
  TimePoint started_at{};
  int early_deaths = 0;
  TimePoint restart_at{};
  bool has_stats = false;
  model::Stats stats;
  std::map<std::string, int> idle_reports;  // draining target id -> reports without outstanding streams
  std::optional<TimePoint> shutdown_at;
  bool shutdown_sent = false;
  bool killed = false;
};

}  // namespace weir::control
