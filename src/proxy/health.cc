#include "proxy/health.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "grpc/status.h"
#include "proxy/health_log.h"
#include "proxy/health_watch.h"
#include "proxy/target_name.h"

namespace weir::proxy {

using model::HealthReason;
using model::TargetState;

namespace {
constexpr Duration kEarlyRepeat = std::chrono::milliseconds(250);
}  // namespace

struct HealthChecker::Check {
  explicit Check(std::function<void()> due);
  ~Check();
  std::string group_arn;
  std::string address;
  uint16_t port = 0;
  bool draining = false;
  bool in_use = true;
  model::HealthCheck config;
  TargetState state = TargetState::Initial;
  HealthReason reason = HealthReason::InitialHealthChecking;
  std::string description = "Initial health checks in progress";
  uint32_t successes = 0;
  uint32_t failures = 0;
  TimePoint registered{};
  TimePoint started{};
  net::Timer timer;
  std::unique_ptr<Probe> probe;
  std::unique_ptr<HealthWatch> watch;
  std::optional<grpc::ServingStatus> watched;  // what the Watch says; nullopt: nothing
  model::TargetHealth told;                    // what was reported last
  uint16_t check_port() const { return config.port != 0 ? config.port : port; }
};

// One check: connect, call, judge.
class HealthChecker::Probe final : public net::FdHandler {
 public:
  Probe(HealthChecker& owner, Check& check)
      : owner_(owner),
        check_(check),
        call_(check.config, HealthCall::Kind::Check, owner.context_->shared),
        timeout_([this] {
          bool asked = connected_ && transport_->handshake_done();
          HealthFault fault = asked ? HealthFault::RequestTimedOut : HealthFault::ConnectionTimedOut;
          finish({false, HealthReason::Timeout, "Request timed out", fault});
        }) {}
  ~Probe() {
    if (transport_ != nullptr) owner_.context_->loop.unwatch(transport_->fd(), this);
  }

  bool start() {
    net::Loop& loop = owner_.context_->loop;
    transport_ = dial(*owner_.context_, check_.address, check_.check_port(), check_.config.tls);
    if (transport_ == nullptr) return false;
    loop.watch(transport_->fd(), EPOLLOUT, this);
    loop.arm(timeout_, loop.now() + std::chrono::milliseconds(check_.config.timeout_ms));
    call_.start(check_.address + ":" + std::to_string(check_.check_port()));
    return true;
  }

 private:
  void on_ready(uint32_t events) override {
    net::Loop& loop = owner_.context_->loop;
    if (!connected_) {
      if (int error = loop.sockets().connect_error(transport_->fd()); error != 0) {
        return finish(failed_check(std::string("connect: ") + std::strerror(error), HealthFault::ConnectionReset));
      }
      connected_ = true;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
      std::span<const uint8_t> bytes;
      net::Io io = transport_->read(owner_.context_->scratch, bytes);
      bool alive = bytes.empty() || call_.receive(bytes, loop.now());
      bool ended = io == net::Io::Closed || io == net::Io::Failed;
      if (!call_.over() && ended && !transport_->handshake_done()) {
        std::string why = io == net::Io::Closed ? "closed by the target" : transport_->error();
        auto fault = io == net::Io::Closed ? HealthFault::ConnectionReset : HealthFault::TargetError;
        return finish(failed_check("TLS handshake: " + why, fault));
      }
      if (call_.over() || !alive || ended) return finish(call_.outcome());
    }
    transport_->write(call_.connection().output());
    call_.connection().output_flushed();
    loop.rewatch(transport_->fd(), transport_->wants_write() ? EPOLLIN | EPOLLOUT : EPOLLIN, this);
  }

  // Destroys this probe.
  void finish(HealthOutcome outcome) {
    HealthChecker& owner = owner_;
    Check& check = check_;
    check.probe.reset();
    owner.finish_probe(check, outcome);
  }

  HealthChecker& owner_;
  Check& check_;
  HealthCall call_;
  std::unique_ptr<net::Transport> transport_;
  net::Timer timeout_;
  bool connected_ = false;
};

HealthChecker::Check::Check(std::function<void()> due) : timer(std::move(due)) {}
HealthChecker::Check::~Check() = default;

HealthChecker::HealthChecker(net::Loop& loop, http::h2::Shared shared, Report report, Random random)
    : loop_(loop),
      report_(std::move(report)),
      context_(new HealthContext{loop, shared, nullptr, {}, random}) {}
HealthChecker::~HealthChecker() = default;

void HealthChecker::set_tls(std::shared_ptr<const net::TlsClientContext> tls) { context_->tls = std::move(tls); }

void HealthChecker::apply(const std::vector<model::TargetGroup>& groups) {
  std::set<std::string> kept;
  for (const model::TargetGroup& g : groups) {
    kept.insert(g.arn);
    apply_group(g);
  }
  std::erase_if(checks_, [&](const auto& entry) { return !kept.contains(entry.second->group_arn); });
}

namespace {
bool same_watch(const model::HealthCheck& a, const model::HealthCheck& b) {
  auto same = [](const model::NameValue& x, const model::NameValue& y) {
    return x.name == y.name && x.value == y.value;
  };
  return a.port == b.port && a.tls == b.tls && a.service == b.service &&
         std::equal(a.metadata.begin(), a.metadata.end(), b.metadata.begin(), b.metadata.end(), same);
}
}  // namespace

void HealthChecker::apply_group(const model::TargetGroup& group) {
  std::set<std::string> kept;
  for (const model::Target& t : group.targets) {
    kept.insert(target_key(group.arn, t.address, t.port));
    update(group, t);
  }
  std::erase_if(checks_, [&](const auto& entry) {
    return entry.second->group_arn == group.arn && !kept.contains(entry.first);
  });
}

void HealthChecker::update(const model::TargetGroup& group, const model::Target& target) {
  std::string key = target_key(group.arn, target.address, target.port);
  std::unique_ptr<Check>& slot = checks_[key];
  bool fresh = slot == nullptr;
  if (fresh) {
    slot = std::make_unique<Check>([this, key] {
      auto found = checks_.find(key);
      if (found != checks_.end()) start_probe(*found->second);
    });
    slot->group_arn = group.arn;
    slot->address = target.address;
    slot->port = target.port;
    if (target.last_state == TargetState::Healthy) {
      slot->state = TargetState::Healthy;
      slot->reason = HealthReason::None;
      slot->description.clear();
    } else if (target.last_state == TargetState::Unhealthy) {
      slot->state = TargetState::Unhealthy;
      slot->reason = HealthReason::FailedHealthChecks;
      slot->description = "Health checks failed";
    }
  }
  Check& check = *slot;
  bool was_draining = check.draining;
  bool was_in_use = check.in_use;
  check.config = group.health_check;
  check.in_use = group.in_use;
  check.draining = target.draining;
  if (check.draining) {
    if (!was_draining) stop(check, TargetState::Draining, HealthReason::DeregistrationInProgress);
  } else if (fresh || was_draining || check.in_use != was_in_use) {
    begin(check, fresh);
  }
  update_watch(check);
}

void HealthChecker::stop(Check& check, TargetState state, HealthReason reason) {
  check.probe.reset();
  check.timer.cancel();
  check.watch.reset();
  check.watched.reset();
  set_state(check, state,
            {false, reason,
             reason == HealthReason::NotInUse
                 ? "Target group is not configured to receive traffic from the load balancer"
                 : "Target deregistration is in progress"});
}

// fresh: the state known from before counts on; else the target starts again.
void HealthChecker::begin(Check& check, bool fresh) {
  // Not checked and healthy: static targets without health checks.
  bool unused = !check.in_use && !(fresh && check.state == TargetState::Healthy);
  if (unused) return stop(check, TargetState::Unused, HealthReason::NotInUse);
  check.registered = loop_.now();
  if (fresh) {
    tell(check);
  } else {
    check.successes = check.failures = 0;
    set_state(check, TargetState::Initial,
              {false, HealthReason::InitialHealthChecking, "Initial health checks in progress"});
  }
  if (check.in_use) loop_.arm(check.timer, loop_.now());
}

// Keeps a Watch stream while the target is checked and its group wants one.
void HealthChecker::update_watch(Check& check) {
  const model::HealthCheck& config = check.config;
  bool wanted = config.watch && check.in_use && !check.draining && config.http_codes.empty();
  bool same = check.watch != nullptr && same_watch(check.watch->config(), config);
  if (wanted && same) return;
  check.watch.reset();
  if (check.watched) {
    check.watched.reset();
    tell(check);
  }
  if (!wanted) return;
  check.watch = std::make_unique<HealthWatch>(*context_, config, check.address, check.check_port(),
                                              [this, &check](std::optional<grpc::ServingStatus> status) {
                                                check.watched = status;
                                                tell(check);
                                              });
}

void HealthChecker::start_probe(Check& check) {
  check.started = loop_.now();
  check.probe = std::make_unique<Probe>(*this, check);
  if (!check.probe->start()) {
    check.probe.reset();
    finish_probe(check,
                 {false, HealthReason::InternalError, "Health checks failed due to an internal error",
                  HealthFault::InternalError});
  }
}

void HealthChecker::finish_probe(Check& check, const HealthOutcome& outcome) {
  Duration interval = std::chrono::milliseconds(check.config.interval_ms);
  TimePoint next = check.started + interval;
  if (log_ != nullptr) {
    bool is_grpc = check.config.http_codes.empty();
    write_health(*log_, {is_grpc, check.address, check.port, check.group_arn, check.started, loop_.now()}, outcome);
  }
  if (outcome.passed) {
    check.failures = 0;
    ++check.successes;
    bool enough = check.state == TargetState::Initial || check.successes >= check.config.healthy_threshold;
    if (check.state != TargetState::Healthy && enough) set_state(check, TargetState::Healthy, outcome);
  } else if (check.state == TargetState::Initial && loop_.now() - check.registered < interval) {
    next = loop_.now() + kEarlyRepeat;
  } else {
    check.successes = 0;
    ++check.failures;
    if (check.failures >= check.config.unhealthy_threshold) set_state(check, TargetState::Unhealthy, outcome);
  }
  loop_.arm(check.timer, std::max(next, loop_.now()));
}

void HealthChecker::set_state(Check& check, TargetState state, const HealthOutcome& outcome) {
  check.state = state;
  check.reason = outcome.reason;
  check.description = outcome.description;
  tell(check);
}

// The checks' state, unless the target's Watch takes a healthy one out.
model::TargetHealth HealthChecker::shown(const Check& c) {
  bool out = c.state == TargetState::Healthy && c.watched && *c.watched != grpc::ServingStatus::Serving;
  if (!out) return {c.group_arn, c.address, c.port, c.state, c.reason, c.description};
  return {c.group_arn, c.address, c.port, TargetState::Unhealthy, HealthReason::ResponseCodeMismatch,
          "Health checks failed (Watch: " + std::string(grpc::to_string(*c.watched)) + ")"};
}

void HealthChecker::tell(Check& check) {
  model::TargetHealth now = shown(check);
  const model::TargetHealth& told = check.told;
  bool same = !told.address.empty() && told.state == now.state && told.reason == now.reason &&
              told.description == now.description;
  if (same) return;
  check.told = now;
  report_(now);
}

std::vector<model::TargetHealth> HealthChecker::all() const {
  std::vector<model::TargetHealth> out;
  for (const auto& [key, c] : checks_) out.push_back(shown(*c));
  return out;
}

}  // namespace weir::proxy
