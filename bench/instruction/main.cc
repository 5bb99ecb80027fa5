// Drives a real worker through the simulated network with a fixed schedule of turns, for an instruction count that
// does not depend on the machine's speed: weir_instruction_count unary|pingpong DEPTH on|off [LOG_DIRECTORY]
//
// In each turn one of the client connections brings DEPTH requests (or messages) in one write, and the targets'
// answers to those of the turn before come in. Run by `bench/instructions` under callgrind, which counts from the
// worker's readiness handlers to the end of its turn, without what stands for the kernel. Prints the number of
// operations that were counted.
#include <valgrind/callgrind.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/log.h"
#include "instruction/peers.h"
#include "net/openssl_memory.h"
#include "proxy/tls_contexts.h"
#include "proxy/worker.h"

namespace weir::bench {

namespace {

constexpr int kUnaryClients = 10;
constexpr int kPingPongClients = 4;
constexpr uint16_t kPorts[] = {5001, 5002};
constexpr Duration kTurn = std::chrono::microseconds(50);

class Counter final : public sim::TurnObserver {
 public:
  void enter() override { CALLGRIND_TOGGLE_COLLECT; }
  void leave() override { CALLGRIND_TOGGLE_COLLECT; }
};

// The kernel's part is not counted.
class UncountedSockets final : public net::Sockets {
 public:
  explicit UncountedSockets(net::Sockets& real) : real_(real) {}
  ssize_t receive(int fd, void* out, size_t size) override {
    Pause pause;
    return real_.receive(fd, out, size);
  }
  ssize_t send(int fd, const void* bytes, size_t size) override {
    Pause pause;
    return real_.send(fd, bytes, size);
  }
  int connect(const sockaddr_storage& address, socklen_t size) override {
    Pause pause;
    return real_.connect(address, size);
  }
  int connect_error(int fd) override {
    Pause pause;
    return real_.connect_error(fd);
  }
  void shutdown_write(int fd) override { real_.shutdown_write(fd); }
  size_t unacknowledged(int fd) override { return real_.unacknowledged(fd); }
  void close(int fd) override { real_.close(fd); }

 private:
  struct Pause {
    Pause() { CALLGRIND_TOGGLE_COLLECT; }
    ~Pause() { CALLGRIND_TOGGLE_COLLECT; }
  };
  net::Sockets& real_;
};

struct Measurement {
  Kind kind;
  uint32_t depth;
  bool features;
  std::string log_directory;
};

model::SnapshotPtr snapshot_for(const Measurement& setting) {
  auto s = std::make_shared<model::RoutingSnapshot>();
  s->generation = 1;
  s->load_balancer_arn = "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/app/bench/1";
  s->requests_per_connection_max = 0;
  model::TargetGroup group;
  group.arn = "group";
  for (uint16_t port : kPorts) {
    model::Target target;
    target.address = "10.0.0.1";
    target.port = port;
    target.last_state = model::TargetState::Healthy;
    target.zone = "us-east-1a";
    group.targets.push_back(target);
  }
  model::Listener listener;
  listener.arn = "listener";
  listener.ssl_policy = "ELBSecurityPolicy-TLS13-1-2-2021-06";
  listener.default_action.groups.push_back({"group", 1});
  if (setting.features) {
    s->forwarded_for_port = s->tls_headers = s->drop_invalid_headers = s->ping_counts_as_life = true;
    s->adaptive_windows = s->record_frames = true;
    s->access_log = s->connection_log = {setting.log_directory, "bench"};
    group.retry.grpc_codes = 1u << 14;
    group.outlier.enabled = true;
    group.rebalancing.enabled = true;
    model::Rule other;
    other.priority = 1;
    other.conditions.push_back({model::Condition::Field::PathPattern, "", {"/other.Service/*"}});
    other.action.groups.push_back({"group", 1});
    listener.rules.push_back(other);
  } else {
    s->adaptive_windows = s->record_frames = false;
  }
  s->groups.push_back(group);
  s->listeners.push_back(listener);
  return s;
}

class Rig {
 public:
  explicit Rig(const Measurement& setting) : setting_(setting) {
    auto loop = std::make_unique<sim::Loop>(clock_, network_, sockets_, Random(2));
    worker_loop_ = loop.get();
    proxy::WorkerOptions options;
    if (setting.features) options.log_ring = &log_ring_;
    proxy::WorkerEvents events;
    events.drained = [](const std::string&, const std::string&, uint16_t) {};
    events.logs_waiting = [] {};
    events.failing = [](const proxy::TargetName&) {};
    worker_ = std::make_unique<proxy::Worker>(options, clock_, Random(3), load_, std::move(events), std::move(loop));
    for (uint16_t port : kPorts) {
      network_.listen(port, {.line = {}, .accepted = [this](int fd) {
                               targets_.push_back(std::make_unique<Target>(peers_loop_, network_, fd, tally_));
                             }});
    }
    model::SnapshotPtr snapshot = snapshot_for(setting);
    auto tls = net::TlsServerContext::make({sim::certificate()}, proxy::tls_rules(snapshot->listeners[0].ssl_policy),
                                           clock_, std::make_shared<net::TlsTicketKeys>());
    if (!tls) std::abort();
    worker_->apply(snapshot, {{"listener", *tls}}, {});
    int clients = setting.kind == Kind::Unary ? kUnaryClients : kPingPongClients;
    for (int i = 0; i < clients; ++i) {
      auto ends = network_.pair({});
      worker_->add_client(ends[1], {"10.0.0.9"}, "listener");
      clients_.push_back(std::make_unique<Client>(peers_loop_, network_, ends[0], setting.kind, tally_));
    }
    for (int i = 0; i < 20; ++i) turn();
  }

  void turn() {
    network_.deliver();
    worker_loop_->turn();
    log_ring_.drain([](const uint8_t*) {});  // what the writer's thread would do
    network_.deliver();
    while (peers_loop_.has_work()) {
      peers_loop_.turn();
      // What the peers sent in this turn arrives before the worker's next one.
    }
    clock_.advance(kTurn);
  }

  // Returns how many operations were done.
  uint64_t run(uint32_t turns) {
    uint64_t before = tally_.done;
    for (uint32_t i = 0; i < turns; ++i) {
      clients_[next_++ % clients_.size()]->issue(setting_.depth);
      turn();
    }
    return tally_.done - before;
  }

  void count(bool on) { worker_loop_->observe(on ? &counter_ : nullptr); }
  const Tally& tally() const { return tally_; }

 private:
  Measurement setting_;
  sim::Clock clock_;
  sim::Network network_{clock_, Random(1)};
  UncountedSockets sockets_{network_};
  sim::Loop peers_loop_{clock_, network_, network_, Random(4)};
  sim::Loop* worker_loop_ = nullptr;
  proxy::WorkerLoad load_;
  proxy::LogRing log_ring_;
  std::unique_ptr<proxy::Worker> worker_;
  Tally tally_;
  std::vector<std::unique_ptr<Target>> targets_;
  std::vector<std::unique_ptr<Client>> clients_;
  size_t next_ = 0;
  Counter counter_;
};

int run(const Measurement& setting) {
  Rig rig(setting);
  uint32_t turns = setting.depth == 1 ? 800 : setting.depth < 16 ? 400 : 100;
  rig.run(turns);  // warm: header tables, pools, every connection
  CALLGRIND_ZERO_STATS;
  rig.count(true);
  uint64_t done = rig.run(turns);
  rig.count(false);
  CALLGRIND_DUMP_STATS_AT("measured");
  if (rig.tally().wrong > 0) {
    std::fprintf(stderr, "%llu wrong answers, first: %s\n", static_cast<unsigned long long>(rig.tally().wrong),
                 rig.tally().first_error.c_str());
    return 1;
  }
  if (done != uint64_t{turns} * setting.depth) {
    std::fprintf(stderr, "%llu operations were done, %llu were asked for\n", static_cast<unsigned long long>(done),
                 static_cast<unsigned long long>(turns) * setting.depth);
    return 1;
  }
  std::printf("%llu\n", static_cast<unsigned long long>(done));
  return 0;
}

}  // namespace

}  // namespace weir::bench

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s unary|pingpong DEPTH on|off [LOG_DIRECTORY]\n", argv[0]);
    return 2;
  }
  weir::net::use_pooled_openssl_memory();
  weir::sim::seed_openssl(1);
  weir::set_log_level(weir::LogLevel::Error);
  weir::bench::Measurement setting{std::strcmp(argv[1], "unary") == 0 ? weir::bench::Kind::Unary
                                                                          : weir::bench::Kind::PingPong,
                               static_cast<uint32_t>(std::atoi(argv[2])), std::strcmp(argv[3], "on") == 0,
                               argc > 4 ? argv[4] : ""};
  return weir::bench::run(setting);
}
