// One load balancer: a process with N workers, its listeners, and the link to the control plane. It keeps
// serving when the control plane is gone.
//
// Lives on the main thread's loop: accepts connections and places each on the least loaded worker, spreads
// snapshots and health, collects acknowledgements. Workers never wait for it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net/message_socket.h"
#include "proxy/health.h"
#include "proxy/worker.h"

namespace weir::proxy {

struct LoadBalancerOptions {
  int workers = 1;
  std::string link_path;  // unix socket to listen on; empty: no control plane (static configuration)
  uint32_t link_uid = 0;  // who may connect besides root
  size_t clients_max = 1u << 20;  // client connections; more are closed at accept
  WorkerOptions worker;
};

class LoadBalancer {
 public:
  LoadBalancer(net::Loop& loop, const Clock& clock, Random random, LoadBalancerOptions options);
  ~LoadBalancer();  // stops the workers
  LoadBalancer(const LoadBalancer&) = delete;
  LoadBalancer& operator=(const LoadBalancer&) = delete;

  Result<void> start();
  // Takes `fd` over: a listening socket for `socket.listener_arn`.
  void add_listener(const model::ListenerSocket& socket, int fd);
  // A snapshot whose certificates do not load is refused whole; the one in force stays.
  Result<void> apply(model::SnapshotPtr snapshot);
  // GOAWAY to all clients, no new connections; stops the loop when all are gone or after `limit`.
  void shutdown(Duration limit);

 private:
  struct WorkerThread;
  struct ListenSocket;
  void accept_some(ListenSocket& listener);
  WorkerThread& least_loaded();
  size_t connections() const;
  bool snapshot_has(const std::string& listener_arn) const;
  void accept_link();
  void on_message(model::Message message, std::vector<int> fds);
  void welcome();
  void send(const model::Message& message, std::vector<int> fds = {});
  void apply_group(uint64_t generation, const model::TargetGroup& group);
  void spread(uint64_t generation, std::function<void(Worker&)> change);
  void forget_targets(const std::vector<model::TargetGroup>& groups, bool whole);
  void remember_targets(const std::vector<model::TargetGroup>& groups);
  void on_health(const model::TargetHealth& health);
  void on_drained(const std::string& group, const std::string& address, uint16_t port);
  void collect_stats();
  void check_shutdown();

  net::Loop& loop_;
  const Clock& clock_;
  Random random_;
  LoadBalancerOptions options_;
  std::vector<std::unique_ptr<WorkerThread>> workers_;
  std::map<std::string, std::unique_ptr<ListenSocket>> listeners_;
  class LinkAcceptor;
  std::unique_ptr<LinkAcceptor> link_acceptor_;
  std::unique_ptr<net::MessageSocket> link_;
  model::SnapshotPtr snapshot_;
  Worker::TlsByListener tls_;
  std::map<std::string, std::string> tls_fingerprints_;
  Worker::SharedByTarget shared_;
  std::map<std::string, model::TargetHealth> health_;
  std::map<std::string, int> drained_by_;  // target_key → workers that have nothing outstanding
  uint64_t generation_ = 0;
  net::Timer stats_timer_;
  net::Timer shutdown_timer_;
  TimePoint shutdown_limit_{};
  bool shutting_down_ = false;
  bool full_told_ = false;
};

}  // namespace weir::proxy
