#include "sim/balancer.h"

#include "base/assert.h"
#include "sim/config.h"

namespace weir::sim {

namespace {
constexpr const char* kAddress = "10.0.0.1";
}

Balancer::Balancer(const Mix& mix, Clock& clock, Network& network, Loop& main_loop, Random& random, Ledger& ledger)
    : mix_(mix), clock_(clock), network_(network), ledger_(ledger), main_loop_(main_loop), tls_(clock),
      judge_(main_loop, shared_, judge_events()) {
  for (int i = 0; i < mix.workers; ++i) {
    auto member = std::make_unique<Member>();
    auto loop = std::make_unique<Loop>(clock, network, network, Random(random.next()));
    member->loop = loop.get();
    proxy::WorkerOptions options;
    options.index = i;
    options.workers = mix.workers;
    options.stream_window_bytes = mix.stream_window_bytes;
    options.stream_window_bytes_max = mix.stream_window_bytes_max;
    options.connections_per_target_max = mix.connections_per_target;
    options.connection_window_bytes = mix.connection_window_bytes;
    options.buffered_bytes_max = mix.buffered_bytes_max;
    options.log_ring = &member->ring;
    proxy::WorkerEvents events;
    events.drained = [this, i](const std::string&, const std::string&, uint16_t port) { drained_[port].insert(i); };
    events.logs_waiting = [] {};
    events.failing = [this](const proxy::TargetName& target) {
      main_loop_.post([this, target] { judge_.failing(target); });
    };
    member->worker = std::make_unique<proxy::Worker>(options, clock, Random(random.next()), member->load,
                                                     std::move(events), std::move(loop));
    judge_.add_worker(*member->worker);
    members_.push_back(std::move(member));
  }
  proxy::Worker& first = *members_[0]->worker;
  health_ = std::make_unique<proxy::HealthChecker>(first.loop(), first.h2_shared(),
                                                   [this](const model::TargetHealth& h) { on_health(h); },
                                                   Random(1));
}

Balancer::~Balancer() { health_.reset(); }

proxy::TargetJudge::Events Balancer::judge_events() {
  proxy::TargetJudge::Events events;
  events.ejected = [this](const proxy::TargetName& target, const auto&, uint32_t) {
    ledger_.note(clock_.now(), "target " + std::to_string(target.port) + " is ejected");
    ++ledger_.happened["target ejected"];
    ejected_since_[target] = clock_.now();
  };
  events.taken_back = [this](const proxy::TargetName& target) {
    ledger_.note(clock_.now(), "target " + std::to_string(target.port) + " is back in");
    ejected_since_.erase(target);
  };
  events.weighed = [this](const proxy::TargetName& target, const proxy::AnomalyDetector::Verdict& verdict) {
    ledger_.note(clock_.now(), "target " + std::to_string(target.port) + " share " + std::to_string(verdict.share));
    ++ledger_.happened["share changed"];
  };
  return events;
}

void Balancer::on_health(const model::TargetHealth& health) {
  ledger_.note(clock_.now(), "health of " + std::to_string(health.port) + ": " +
                                 std::string(model::to_string(health.state)) + " " + health.description);
  states_[proxy::target_key(health.group_arn, health.address, health.port)] = health.state;
  for (auto& m : members_) {
    m->loop->post([worker = m->worker.get(), health] {
      worker->set_health(health.group_arn, health.address, health.port, health.state);
    });
  }
}

std::string Balancer::key(int group, uint16_t port) { return proxy::target_key(kGroupNames[group], kAddress, port); }

void Balancer::remember_targets(const std::vector<model::TargetGroup>& groups) {
  for (const model::TargetGroup& g : groups) {
    for (const model::Target& t : g.targets) {
      auto& cell = shared_[proxy::target_key(g.arn, t.address, t.port)];
      if (cell == nullptr) cell = std::make_shared<proxy::SharedTarget>();
    }
  }
}

void Balancer::apply(model::SnapshotPtr snapshot) {
  auto made = tls_.apply(*snapshot);
  WEIR_ASSERT(made.has_value());
  remember_targets(snapshot->groups);
  judge_.apply(snapshot->groups, true);
  for (auto& m : members_) {
    m->loop->post([worker = m->worker.get(), snapshot, tls = tls_.listeners(), targets = tls_.targets(),
                   shared = shared_] {
      worker->set_target_tls(targets);
      worker->apply(snapshot, tls, shared);
    });
  }
  members_[0]->loop->post([h = health_.get(), snapshot, targets = tls_.targets()] {
    h->set_tls(targets);
    h->apply(snapshot->groups);
  });
}

void Balancer::apply_group(const model::TargetGroup& group) {
  remember_targets({group});
  judge_.apply({group}, false);
  for (auto& m : members_) {
    m->loop->post([worker = m->worker.get(), group, shared = shared_] { worker->apply_group(group, shared); });
  }
  members_[0]->loop->post([h = health_.get(), group] { h->apply_group(group); });
}

int Balancer::dial(const Line& line) {
  auto ends = network_.pair(line);
  Member& m = *members_[next_++ % members_.size()];
  m.loop->post([worker = m.worker.get(), fd = ends[1]] { worker->add_client(fd, {"10.0.0.9"}, "listener"); });
  return ends[0];
}

void Balancer::drain_all() {
  for (auto& m : members_) {
    m->loop->post([worker = m->worker.get()] { worker->drain_all(); });
  }
}

std::vector<Loop*> Balancer::loops() {
  std::vector<Loop*> out;
  for (auto& m : members_) out.push_back(m->loop);
  return out;
}

bool Balancer::drained(uint16_t port) const {
  auto found = drained_.find(port);
  return found != drained_.end() && found->second.size() >= members_.size();
}

model::TargetState Balancer::health(int group, uint16_t port) const {
  auto found = states_.find(key(group, port));
  return found == states_.end() ? model::TargetState::Initial : found->second;
}

std::optional<TimePoint> Balancer::ejected(int group, uint16_t port) const {
  proxy::TargetName target{kGroupNames[group], kAddress, port};
  auto since = ejected_since_.find(target);
  return judge_.ejected(target) && since != ejected_since_.end() ? std::optional(since->second) : std::nullopt;
}

void Balancer::ask_streams() {
  for (auto& m : members_) {
    m->loop->post([this, worker = m->worker.get()] {
      model::StreamsRequest request;
      request.limit = 1000;
      worker->report_streams(request, [this](const model::Streams& told) {
        ++ledger_.happened["streams reported"];
        if (told.rows.size() != told.open) ledger_.violation("a report of the streams is not whole");
        for (const model::StreamRow& row : told.rows) {
          bool known = row.method == path_of(Lane::Default) || row.method == path_of(Lane::Other) ||
                       row.method == path_of(Lane::Fixed);
          if (!known || !row.is_grpc) ledger_.violation("a report shows the stream of no call: " + row.method);
        }
      });
    });
  }
}

model::Stats Balancer::stats() {
  model::Stats out;
  for (auto& m : members_) m->worker->add_stats(out);
  proxy::merge_rows(out);
  return out;
}

proxy::WorkerCounters Balancer::counters() {
  proxy::WorkerCounters sum;
  for (auto& m : members_) {
    const proxy::WorkerCounters& c = m->worker->counters();
    sum.requests += c.requests;
    sum.retries += c.retries;
    sum.policy_retries += c.policy_retries;
    sum.streams_moved += c.streams_moved;
    sum.tls_failed += c.tls_failed;
    sum.local_replies += c.local_replies;
  }
  return sum;
}

size_t Balancer::streams() const {
  size_t sum = 0;
  for (const auto& m : members_) sum += m->worker->stream_count();
  return sum;
}

size_t Balancer::clients() const {
  size_t sum = 0;
  for (const auto& m : members_) sum += m->worker->client_count();
  return sum;
}

size_t Balancer::buffered_bytes() const {
  size_t sum = 0;
  for (const auto& m : members_) sum += m->worker->buffers().bytes_in_use();
  return sum;
}

void Balancer::check_running(size_t bytes_max) {
  if (size_t bytes = buffered_bytes(); bytes > bytes_max) {
    ledger_.violation("the balancer holds " + std::to_string(bytes) + " bytes, expected are " +
                      std::to_string(bytes_max) + " at most");
  }
}

void Balancer::check_quiet() {
  if (streams() != 0) ledger_.violation(std::to_string(streams()) + " exchanges are left when all calls have ended");
  for (const model::TargetStats& t : stats().targets) {
    if (t.outstanding != 0) {
      ledger_.violation("target " + std::to_string(t.port) + " has " + std::to_string(t.outstanding) +
                        " outstanding requests when all calls have ended");
    }
  }
  for (const auto& [name, cell] : shared_) {
    uint32_t n = cell->outstanding.load();
    if (n != 0) {
      ledger_.violation("workers believe that others have " + std::to_string(static_cast<int32_t>(n)) +
                        " requests on " + name);
    }
  }
  for (auto& m : members_) {
    proxy::WorkerRecords r = m->worker->records();
    if (r.replays + r.tracks + r.notes != 0) {
      ledger_.violation("records are left of calls that have ended: " + std::to_string(r.replays) + " replays, " +
                        std::to_string(r.tracks) + " tracks, " + std::to_string(r.notes) + " notes");
    }
  }
}

void Balancer::check_empty() {
  if (clients() != 0) ledger_.violation(std::to_string(clients()) + " client connections are left");
  if (buffered_bytes() != 0) ledger_.violation(std::to_string(buffered_bytes()) + " buffered bytes are left");
  for (auto& m : members_) {
    proxy::WorkerRecords r = m->worker->records();
    if (r.streams + r.targets + r.upstreams != 0) {
      ledger_.violation("records are left of peers that have gone: " + std::to_string(r.streams) + " streams, " +
                        std::to_string(r.targets) + " targets, " + std::to_string(r.upstreams) + " connections");
    }
    if (m->loop->watched() != 0) {
      ledger_.violation(std::to_string(m->loop->watched()) + " descriptors are still watched");
    }
    if (m->loop->timers() > 1) ledger_.violation(std::to_string(m->loop->timers()) + " timers are still armed");
  }
}

}  // namespace weir::sim
