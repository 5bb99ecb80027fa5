#include "sim/world.h"

#include <algorithm>

namespace weir::sim {

namespace {
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kFaultTime = seconds(6);     // faults happen that long
constexpr Duration kStartTime = seconds(10);    // calls are started so long after them
constexpr Duration kCallTimeMax = seconds(150); // then every call must have ended
constexpr Duration kHealthTime = seconds(60);   // until all targets are healthy again
constexpr Duration kSettle = seconds(4);
constexpr Duration kSlowLine = seconds(120);    // for what stands in the buffers of the slowest ones
}  // namespace

World::World(uint64_t seed, bool trace)
    : random_(Random(seed).next()),
      mix_(Mix::draw(random_)),
      ledger_(mix_),
      network_(clock_, Random(random_.next())),
      actors_(clock_, network_, network_, Random(random_.next())),
      stage_{mix_, clock_, network_, actors_, ledger_, random_},
      config_(mix_, random_),
      audit_(mix_, ledger_),
      control_timer_([this] { control_tick(); }) {
  seed_openssl(seed);
  ledger_.trace = trace;
  balancer_ = std::make_unique<Balancer>(mix_, clock_, network_, actors_, random_, ledger_);
  for (Loop* loop : balancer_->loops()) sleepers_.push_back({loop, {}});
  sleepers_.push_back({&actors_, {}});
  if (mix_.few_streams) ledger_.troubles.full = TimePoint::max();
  for (int i = 0; i < mix_.targets; ++i) add_target();
  apply_snapshot();
  for (int i = 0; i < mix_.clients; ++i) {
    clients_.push_back(std::make_unique<ClientDriver>(
        stage_, i, [this] { return balancer_->dial(draw_line()); }, calls_started_));
  }
  actors_.arm(control_timer_, clock_.now() + milliseconds(20));
}

Line World::draw_line() {
  Line line;
  line.latency = mix_.latency;
  line.jitter = mix_.latency / 2;
  if (!mix_.odd_io) return line;
  bool tiny = !mix_.large;  // pieces of a few bytes; large messages would take for ever
  if (random_.below(2) == 0) line.receive_max = 1 + random_.below(tiny && random_.below(2) == 0 ? 40 : 5000);
  if (random_.below(2) == 0) line.send_max = 1 + random_.below(tiny && random_.below(3) == 0 ? 200 : 20000);
  if (random_.below(2) == 0) line.capacity = 1000 + random_.below(60000);
  if (random_.below(2) == 0) line.clogged = microseconds(random_.below(3000));
  return line;
}

void World::add_target() {
  Member m;
  m.host = std::make_unique<ServerHost>(stage_, next_port_++, draw_line());
  targets_.push_back(std::move(m));
}

std::vector<Config::Registered> World::registered() const {
  std::vector<Config::Registered> out;
  for (const Member& m : targets_) {
    if (!m.gone) out.push_back({{m.host->port(0), m.host->port(1)}, m.draining});
  }
  return out;
}

void World::apply_snapshot() { balancer_->apply(config_.snapshot(registered())); }

// Other settings or weights: of all, or of one group.
void World::apply_change() {
  if (mix_.settings_churn && random_.below(2) == 0) config_.change_settings(ledger_);
  if (mix_.churn) config_.change_weights();
  if (random_.below(3) == 0) {
    for (int g = 0; g < kGroups; ++g) balancer_->apply_group(config_.group(g, registered()));
  } else {
    apply_snapshot();
  }
}

// What the control plane and fate do, every now and then.
void World::control_tick() {
  note_troubles();
  for (Member& m : targets_) {
    if (m.well_at != TimePoint{} && m.well_at <= clock_.now()) {
      m.well_at = {};
      m.host->recover();
      ledger_.note(clock_.now(), "target " + std::to_string(m.host->port()) + " is back");
    }
    if (m.draining && !m.gone && balancer_->drained(m.host->port(0)) && balancer_->drained(m.host->port(1))) {
      m.gone = true;
      m.removed_at = clock_.now();
      apply_snapshot();
    }
    if (m.gone && m.removed_at + seconds(3) < clock_.now()) m.host->retire();
  }
  balancer_->check_running(bytes_max());
  audit_.collect(*balancer_);
  check_ejected();
  check_watches();
  if (random_.below(10) == 0) balancer_->ask_streams();
  if (random_.below(3) == 0) check_windows();
  if (!faults_over_) {
    if (mix_.churn && random_.below(5) == 0) churn();
    if (mix_.settings_churn && random_.below(5) == 0) apply_change();
    if (mix_.listener_gaps && random_.below(config_.listening() ? 30 : 6) == 0) set_listening(!config_.listening());
    fault();
    if (mix_.drain_balancer && !drained_once_ && calls_started_ > static_cast<uint64_t>(mix_.calls) / 2) {
      drained_once_ = true;
      ledger_.note(clock_.now(), "GOAWAY to all clients");
      balancer_->drain_all();
    }
  }
  actors_.arm(control_timer_, clock_.now() + milliseconds(20 + random_.below(60)));
}

// Trouble of a target lasts longer than its cause: connects and handshakes that hang time out, bytes are still on their
// way.
void World::note_troubles() {
  for (const Member& m : targets_) {
    if (m.gone || m.host->well()) continue;
    bool hangs = m.host->silent() || m.host->tls_broken();
    ledger_.troubles.target = std::max(ledger_.troubles.target, clock_.now() + seconds(hangs ? 12 : 1));
  }
}

// Clients come to a closed door while there is no listener; streams that run are none of its business.
void World::set_listening(bool listening) {
  ledger_.note(clock_.now(), listening ? "the listener is back" : "the listener is deleted");
  if (!listening) ++ledger_.happened["listener deleted"];
  config_.set_listening(listening);
  apply_snapshot();
}

void World::churn() {
  size_t taking = 0;
  for (const Member& m : targets_) taking += !m.draining;
  switch (random_.below(4)) {
    case 3:  // back before it has gone
      for (Member& m : targets_) {
        if (!m.draining || m.gone) continue;
        m.draining = false;
        for (int g = 0; g < kGroups; ++g) balancer_->forget_drained(m.host->port(g));
        ++ledger_.happened["target registered again"];
        ledger_.note(clock_.now(), "target " + std::to_string(m.host->port()) + " is registered again");
        break;
      }
      break;
    case 0:
      if (targets_.size() >= 30) return;
      add_target();
      ledger_.note(clock_.now(), "a target is registered");
      break;
    case 1: {
      if (taking < 2) return;
      size_t n = random_.below(taking);
      for (Member& m : targets_) {
        if (m.draining || n-- != 0) continue;
        m.draining = true;
        if (mix_.drain_ms < 300000) ledger_.troubles.drained = clock_.now() + milliseconds(mix_.drain_ms) + seconds(10);
        ledger_.note(clock_.now(), "target " + std::to_string(m.host->port()) + " is deregistered");
        break;
      }
      break;
    }
    case 2:
      break;  // other weights
  }
  apply_change();
}

void World::fault() {
  Member& m = targets_[random_.below(targets_.size())];
  if (m.gone) return;
  std::string name = "target " + std::to_string(m.host->port());
  if (mix_.goaways && random_.below(15) == 0) {
    ledger_.note(clock_.now(), name + " says GOAWAY");
    m.host->goaway_all(random_.below(2) == 0);
  }
  if (mix_.health_flaps && random_.below(40) == 0) {
    m.host->set_healthy(!m.host->healthy());
    ledger_.note(clock_.now(), name + (m.host->healthy() ? " is healthy" : " is not healthy"));
  }
  if (!m.host->well()) return;
  if (mix_.target_cuts && random_.below(25) == 0) {
    ledger_.note(clock_.now(), name + " cuts a connection");
    m.host->cut_one(random_.below(2) == 0);
  }
  if (mix_.target_crashes && random_.below(50) == 0) {
    ledger_.note(clock_.now(), name + " crashes");
    m.host->crash();
    m.well_at = clock_.now() + milliseconds(random_.below(3000));
  } else if (mix_.target_silence && random_.below(80) == 0) {
    ledger_.note(clock_.now(), name + " falls silent");
    m.host->fall_silent();
    m.well_at = clock_.now() + milliseconds(random_.below(15000));
  } else if (mix_.tls_failures && (mix_.target_tls[0] || mix_.target_tls[1]) && random_.below(60) == 0) {
    ledger_.note(clock_.now(), name + " speaks no TLS");
    m.host->break_tls();
    m.well_at = clock_.now() + milliseconds(random_.below(3000));
  }
  note_troubles();
}

// An ejected target gets no requests while the group has others that surely take them.
void World::check_ejected() {
  if (!mix_.outliers) return;
  std::map<uint16_t, uint64_t> requests;
  for (const model::TargetStats& t : balancer_->stats().targets) requests[t.port] = t.requests;
  for (int g = 0; g < kGroups; ++g) {
    if (mix_.odd_io && mix_.target_tls[g]) continue;  // handshakes that take too long make targets unreachable
    auto takes = [&](const Member& m) {
      uint16_t port = m.host->port(g);
      return !m.draining && !m.gone && m.host->well() && m.host->well_since() + seconds(3) < clock_.now() &&
             balancer_->health(g, port) == model::TargetState::Healthy && !balancer_->ejected(g, port);
    };
    auto others = std::count_if(targets_.begin(), targets_.end(), takes);
    for (Member& m : targets_) {
      uint16_t port = m.host->port(g);
      Member::Ejected& e = m.ejected[g];
      auto since = balancer_->ejected(g, port);
      if (m.gone || m.draining || others == 0 || !since || *since + milliseconds(200) > clock_.now()) {
        e.ticks = 0;
        continue;
      }
      if (++e.ticks > 4 && requests[port] != e.requests) {
        ledger_.violation("target " + std::to_string(port) + " is ejected and gets requests");
      }
      e.requests = requests[port];
    }
  }
}

// What a target says in its Watch stream holds at once.
void World::check_watches() {
  if (!mix_.watch || mix_.odd_io) return;
  for (const Member& m : targets_) {
    const ServerHost& h = *m.host;
    if (m.gone || m.draining || h.healthy() || !h.well() || h.healthy_since() + seconds(1) > clock_.now()) continue;
    for (int g = 0; g < kGroups; ++g) {
      if (h.watched(g) && h.well_since() + seconds(1) < clock_.now() &&
          balancer_->health(g, h.port(g)) == model::TargetState::Healthy) {
        ledger_.violation("target " + std::to_string(h.port(g)) + " said that it does not serve, and is healthy");
      }
    }
  }
}

bool World::all_healthy() const {
  return std::all_of(targets_.begin(), targets_.end(), [this](const Member& m) {
    auto healthy = [&](int g) { return balancer_->health(g, m.host->port(g)) == model::TargetState::Healthy; };
    return m.gone || m.draining || (healthy(0) && healthy(1));
  });
}

void World::check_windows() {
  uint32_t most = mix_.adaptive_windows ? mix_.stream_window_bytes_max : mix_.stream_window_bytes;
  auto check = [&](H2Endpoint& e) {
    if (e.open() && e.stream_window() > mix_.stream_window_bytes) ++ledger_.happened["window grown"];
    if (e.open() && e.channel().resumed()) ++ledger_.happened["TLS session resumed"];
    if (e.open() && e.carried_calls() && (e.stream_window() > most || e.stream_window() < mix_.stream_window_bytes)) {
      ledger_.violation(e.name() + ": the stream window is " + std::to_string(e.stream_window()));
    }
  };
  for (auto& c : clients_) c->each_connection(check);
  for (Member& m : targets_) m.host->each_connection(check);
}

void World::recover_all() {
  faults_over_ = true;
  note_troubles();
  for (Member& m : targets_) {
    m.host->set_healthy(true);
    if (!m.host->well()) m.host->recover();
    m.well_at = {};
  }
  for (auto& c : clients_) c->calm();
  if (!config_.listening()) set_listening(true);
}

// What may stand in the balancer's buffers: both directions of every call within the windows, and outputs. Blocks
// are powers of two, which may double it.
size_t World::bytes_max() const {
  size_t connections = 8 + network_.open_ends();
  return 2 * (ledger_.open() * (2 * size_t{std::max(mix_.stream_window_bytes, mix_.stream_window_bytes_max)} + (128u << 10)) + connections * (3u << 20));
}

// Runs each loop that has work, in random order. False: nothing to do at this time.
bool World::step(TimePoint limit) {
  network_.deliver();
  bool worked = false;
  size_t first = random_.below(sleepers_.size());
  for (size_t i = 0; i < sleepers_.size(); ++i) {
    Sleeper& s = sleepers_[(first + i) % sleepers_.size()];
    if (s.wake_at > clock_.now() || !s.loop->has_work()) continue;
    s.loop->turn();
    ++turns_;
    worked = true;
    Duration pause = microseconds(1) + Duration(random_.below(static_cast<uint64_t>(mix_.turn_delay_max.count())));
    s.wake_at = std::max(clock_.now() + pause, s.loop->gap_end());
  }
  if (!worked) advance(limit);
  return worked;
}

void World::advance(TimePoint limit) {
  TimePoint next = limit;
  if (auto at = network_.next_arrival()) next = std::min(next, *at);
  for (const Sleeper& s : sleepers_) {
    // Those that may turn have nothing to do: step() has looked.
    if (s.wake_at > clock_.now() && s.wake_at < next && s.loop->has_work()) next = s.wake_at;
    if (auto at = s.loop->next_timer()) next = std::min(next, std::max(*at, s.wake_at));
  }
  clock_.advance_to(std::max(next, clock_.now() + Duration(1)));
}

void World::run_until(TimePoint limit, const std::function<bool()>& done) {
  while (clock_.now() < limit && !done()) {
    step(limit);
    if (turns_ > turns_max_) return ledger_.violation("the run is stuck: too many turns");
    if (ledger_.violations().size() >= 20) return;
  }
}

RunResult World::run(uint64_t steps_max) {
  turns_max_ = steps_max;
  auto all_ended = [this] { return calls_started_ >= static_cast<uint64_t>(mix_.calls) && ledger_.open() == 0; };
  run_until(clock_.now() + kFaultTime, all_ended);
  recover_all();
  run_until(clock_.now() + kStartTime, all_ended);
  mix_.calls = static_cast<int>(calls_started_);  // no more of them
  run_until(clock_.now() + kCallTimeMax * (mix_.odd_io ? 4 : 1), all_ended);
  if (!all_ended()) ledger_.violation(std::to_string(ledger_.open()) + " calls have not ended");
  if (ledger_.violations().empty()) wind_down();
  RunResult result;
  result.mix = mix_.text();
  result.violations = ledger_.violations();
  result.digest = ledger_.digest();
  result.turns = turns_;
  result.happened = ledger_.happened;
  result.calls = ledger_.size();
  std::copy(std::begin(ledger_.counts), std::end(ledger_.counts), std::begin(result.counts));
  return result;
}

// All calls are over: nothing may be left of them, then of the clients, then of the targets.
void World::wind_down() {
  auto never = [] { return false; };
  auto settled = [this] { return network_.quiet() && ledger_.servers_done() && balancer_->streams() == 0; };
  run_until(clock_.now() + kSlowLine, settled);
  run_until(clock_.now() + kSettle, never);
  run_until(clock_.now() + kSlowLine, settled);
  ledger_.check_all_over();
  balancer_->check_quiet();
  audit_.check(*balancer_);
  check_windows();
  if (!mix_.odd_io) {
    run_until(clock_.now() + kHealthTime, [this] { return all_healthy(); });
    if (!all_healthy()) ledger_.violation("targets that are well are not healthy");
  }
  int32_t least = static_cast<int32_t>(mix_.connection_window_bytes / 2);
  auto lacks_credit = [least](H2Endpoint& e) { return e.open() && e.carried_calls() && e.credit() < least; };
  auto all_have_credit = [&] {
    bool all = true;
    auto look = [&](H2Endpoint& e) { all = all && !lacks_credit(e); };
    for (auto& c : clients_) c->each_connection(look);
    for (Member& m : targets_) m.host->each_connection(look);
    return all;
  };
  // On a slow line a frame of a stream that is gone may still wait in its sender.
  if (mix_.odd_io) run_until(clock_.now() + kSlowLine, all_have_credit);
  auto check_credit = [&](H2Endpoint& e) {
    if (lacks_credit(e)) {
      ledger_.violation(e.name() + ": the connection has " + std::to_string(e.credit()) + " bytes of credit left of " +
                        std::to_string(mix_.connection_window_bytes) + " when nothing is on its way");
    }
  };
  for (auto& c : clients_) c->each_connection(check_credit);
  for (Member& m : targets_) m.host->each_connection(check_credit);
  for (auto& c : clients_) c->close_all();
  run_until(clock_.now() + kSettle, never);
  for (Member& m : targets_) m.gone = true;
  apply_snapshot();
  run_until(clock_.now() + kSlowLine, [this] { return network_.open_ends() == 0; });
  run_until(clock_.now() + kSettle, never);
  balancer_->check_empty();
  size_t left = 0;
  for (Member& m : targets_) left += m.host->open_connections();
  if (left > 0) ledger_.violation(std::to_string(left) + " connections to targets are left");
  if (network_.open_ends() != 0) ledger_.violation(std::to_string(network_.open_ends()) + " sockets are left");
}

}  // namespace weir::sim
