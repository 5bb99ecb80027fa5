// One load balancer: a process with N workers, its listeners, and the link to the control plane. It keeps
// serving when the control plane is gone.
//
// Lives on the main thread's loop: accepts connections and places each on the least loaded worker, spreads
// snapshots and health, collects acknowledgements. Workers never wait for it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "net/message_socket.h"
#include "proxy/health.h"
#include "proxy/log_writer.h"
#include "proxy/target_judge.h"
#include "proxy/tls_contexts.h"
#include "proxy/worker.h"

namespace weir::proxy {

struct LoadBalancerOptions {
  int workers = 1;
  std::string link_path;  // unix socket to listen on; empty: no control plane (static configuration)
  uint32_t link_uid = 0;  // who may connect besides root
  bool link_reads_only = false;  // over the link one may look, and change nothing
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
  // The counters of all workers in Prometheus' format; `done` is called on the main loop, later.
  void metrics_page(std::move_only_function<void(std::string)> done);
  // The latest frame headers of all workers, to standard error.
  void dump_frames();

 private:
  struct WorkerThread {
    WorkerLoad load;
    std::unique_ptr<Worker> worker;
    uint64_t changes = 0;  // the number of the latest one it has; on its thread
    std::unique_ptr<HealthChecker> health;  // on the first worker only
    std::thread thread;
  };
  struct ListenSocket;
  void accept_some(ListenSocket& listener);
  void tell_full(const std::string& why);
  bool admits(const ListenSocket& listener, const std::string& address);
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
  // load_balancer_health.cc
  TargetJudge::Events judge_events();
  void on_ejected(const TargetName& target, const OutlierJudge::Ejection& ejection, uint32_t failures);
  void on_taken_back(const TargetName& target);
  void on_weighed(const TargetName& target, const AnomalyDetector::Verdict& verdict);
  void forget_notes(const std::vector<model::TargetGroup>& groups);
  model::TargetHealth health_shown(const model::TargetHealth& checked) const;
  void tell_health(const TargetName& target);

  // `change`: the last one that the worker had when it reported.
  void on_drained(const model::Drained& target, int worker, uint64_t change);
  // load_balancer_report.cc
  template <class T>
  void gather(std::function<void(Worker&, T&, std::move_only_function<void()>)> ask,
              std::move_only_function<void(T&)> done);
  static void merge_part(model::Streams& into, model::Streams& part);
  static void merge_part(model::Frames& into, model::Frames& part);
  void gather_stats(std::move_only_function<void(model::Stats&)> done);
  void add_own_stats(model::Stats& stats) const;
  void collect_stats();
  void report_streams(model::StreamsRequest request);
  void report_frames(model::FramesRequest request);
  void configure_logs();
  void check_shutdown();

  net::Loop& loop_;
  const Clock& clock_;
  Random random_;
  LoadBalancerOptions options_;
  LogWriter logs_;  // outlives the workers
  std::vector<std::unique_ptr<WorkerThread>> workers_;
  std::map<std::string, std::unique_ptr<ListenSocket>> listeners_;
  class LinkAcceptor;
  std::unique_ptr<LinkAcceptor> link_acceptor_;
  std::unique_ptr<net::MessageSocket> link_;
  model::SnapshotPtr snapshot_;                // the latest; its groups may have been updated since:
  std::map<std::string, model::TargetGroup> groups_;  // by ARN, as they are now
  TlsContexts tls_;
  Worker::SharedByTarget shared_;
  std::map<std::string, model::TargetHealth> health_;
  // A target that drains, since which change, and the workers that have nothing outstanding for it.
  struct Draining {
    uint64_t since;
    std::set<int> empty_workers;
  };
  bool is_drained(const Draining& draining) const;
  uint64_t changes_ = 0;  // that were spread over the workers
  std::map<std::string, Draining> draining_;  // by target_key
  TargetJudge judge_{loop_, shared_, judge_events()};
  std::map<TargetName, std::string> notes_;  // shown beside the health of ejected targets
  uint64_t generation_ = 0;
  net::Timer stats_timer_;
  net::Timer ticket_timer_;
  net::Timer shutdown_timer_;
  TimePoint shutdown_limit_{};
  bool shutting_down_ = false;
  TimePoint full_told_{};
  Defences defences_;  // the main thread's part
};

}  // namespace weir::proxy
