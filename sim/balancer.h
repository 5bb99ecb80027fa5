// The real data plane in one thread: workers and health checker as LoadBalancer puts them together, on simulated loops.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/health.h"
#include "proxy/log_ring.h"
#include "proxy/target_judge.h"
#include "proxy/tls_contexts.h"
#include "proxy/worker.h"
#include "sim/h2_endpoint.h"
#include "sim/ledger.h"
#include "sim/loop.h"

namespace weir::sim {

class Balancer {
 public:
  // main_loop: that of the process' main thread.
  Balancer(const Mix& mix, Clock& clock, Network& network, Loop& main_loop, Random& random, Ledger& ledger);
  ~Balancer();

  void apply(model::SnapshotPtr snapshot);
  // One group alone, as a GroupUpdate of the link.
  void apply_group(const model::TargetGroup& group);
  // A new connection at the listener; returns the client's end.
  int dial(const Line& line);
  void drain_all();
  std::vector<Loop*> loops();
  // Nothing outstanding on a draining target any more, on no worker, at this port.
  bool drained(uint16_t port) const;
  // It is registered again.
  void forget_drained(uint16_t port) { drained_.erase(port); }
  // Asks every worker for its open streams, and looks at the answers.
  void ask_streams();
  model::TargetState health(int group, uint16_t port) const;
  std::optional<TimePoint> ejected(int group, uint16_t port) const;  // since then

  // Calls f(AccessRecord, texts) for what was logged since the last call.
  template <class F>
  void take_records(F&& f) {
    for (auto& m : members_) {
      m->ring.drain([&](const uint8_t* bytes) {
        proxy::AccessRecord record;
        std::memcpy(&record, bytes, sizeof record);
        if (record.kind == proxy::RecordKind::Access) f(record, reinterpret_cast<const char*>(bytes) + sizeof record);
      });
    }
  }
  // Of all workers, rows merged.
  model::Stats stats();
  proxy::WorkerCounters counters();

  size_t streams() const;
  size_t clients() const;
  size_t buffered_bytes() const;
  // Problems with what must be so at any time / when nothing goes on / when all peers are gone.
  void check_running(size_t bytes_max);
  void check_quiet();
  void check_empty();

 private:
  struct Member {
    proxy::WorkerLoad load;
    Loop* loop = nullptr;
    proxy::LogRing ring;
    std::unique_ptr<proxy::Worker> worker;
  };
  void remember_targets(const std::vector<model::TargetGroup>& groups);
  static std::string key(int group, uint16_t port);
  void on_health(const model::TargetHealth& health);
  proxy::TargetJudge::Events judge_events();

  const Mix& mix_;
  Clock& clock_;
  Network& network_;
  Ledger& ledger_;
  Loop& main_loop_;
  proxy::TlsContexts tls_;
  proxy::Worker::SharedByTarget shared_;
  std::vector<std::unique_ptr<Member>> members_;
  std::unique_ptr<proxy::HealthChecker> health_;
  proxy::TargetJudge judge_;
  std::map<proxy::TargetName, TimePoint> ejected_since_;
  std::map<std::string, model::TargetState> states_;  // by target_key(), as reported
  std::map<uint16_t, std::set<int>> drained_;  // by port: the workers that said so
  size_t next_ = 0;
};

}  // namespace weir::sim
