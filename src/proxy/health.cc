#include "proxy/health.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "grpc/status.h"
#include "net/transport.h"
#include "proxy/worker.h"

namespace weir::proxy {

using http::Field;
using http::h2::ErrorCode;
using model::HealthReason;
using model::TargetState;

namespace {
constexpr std::string_view kStandardPath = "/grpc.health.v1.Health/Check";
constexpr Duration kEarlyRepeat = std::chrono::milliseconds(250);
constexpr size_t kPayloadBytesMax = 4096;

Field field(std::string_view name, std::string_view value) {
  return {name, value, 0, http::token_of(name), false};
}

int connect_to(const std::string& address, uint16_t port) {
  sockaddr_storage storage{};
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  socklen_t size = sizeof *v4;
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
  } else if (inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    size = sizeof *v6;
  } else {
    return -1;
  }
  int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  connect(fd, reinterpret_cast<sockaddr*>(&storage), size);
  return fd;
}
}  // namespace

struct HealthChecker::Check {
  explicit Check(std::function<void()> due) : timer(std::move(due)) {}
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
};

// One check: connect, call, judge.
class HealthChecker::Probe final : public net::FdHandler, public http::h2::Sink {
 public:
  Probe(HealthChecker& owner, Check& check)
      : owner_(owner),
        check_(check),
        connection_(client_options(), owner.shared_, *this),
        timeout_([this] { time_out(); }) {}
  ~Probe() {
    if (transport_ != nullptr) owner_.loop_.unwatch(transport_->fd(), this);
  }

  bool start() {
    uint16_t port = check_.config.port != 0 ? check_.config.port : check_.port;
    int fd = connect_to(check_.address, port);
    if (fd < 0) return false;
    transport_ = std::make_unique<net::Transport>(owner_.shared_.buffers, fd);
    owner_.loop_.watch(fd, EPOLLOUT, this);
    owner_.loop_.arm(timeout_, owner_.loop_.now() + std::chrono::milliseconds(check_.config.timeout_ms));
    connection_.start();
    std::string authority = check_.address + ":" + std::to_string(port);
    bool is_grpc = check_.config.http_codes.empty();
    std::array head{field(":method", is_grpc ? "POST" : "GET"),
                    field(":scheme", "http"),
                    field(":path", check_.config.path),
                    field(":authority", authority),
                    field("user-agent", "ELB-HealthChecker/2.0"),
                    field("te", "trailers"),
                    field("content-type", "application/grpc")};
    http::h2::StreamHandle stream = connection_.open_stream(0);
    connection_.send_headers(stream, std::span(head).first(is_grpc ? head.size() : 5), !is_grpc);
    if (!is_grpc) return true;
    std::string request = grpc::health_request("");
    connection_.send_data(stream, {reinterpret_cast<const uint8_t*>(request.data()), request.size()}, true);
    return true;
  }

 private:
  static http::h2::ConnectionOptions client_options() {
    http::h2::ConnectionOptions o;
    o.role = http::h2::Role::Client;
    o.stream_window_bytes = 65535;
    o.connection_window_bytes = 65535;
    return o;
  }

  void on_ready(uint32_t events) override {
    if (!connected_) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(transport_->fd(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return finish({false, HealthReason::FailedHealthChecks, "Health checks failed"});
      connected_ = true;
      owner_.loop_.rewatch(transport_->fd(), EPOLLIN, this);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
      net::Io io = transport_->read(scratch_, bytes_);
      bool alive = bytes_.empty() || connection_.receive(bytes_, owner_.loop_.now());
      if (over_) return judge();
      if (!alive || io == net::Io::Closed || io == net::Io::Failed) {
        return finish({false, HealthReason::FailedHealthChecks, "Health checks failed"});
      }
    }
    transport_->write(connection_.output());
    connection_.output_flushed();
  }

  void on_headers(http::h2::StreamHandle, http::h2::Stream&, const http::h2::HeadersEvent& event) override {
    if (event.kind == http::h2::HeadersEvent::Kind::Head) http_status_ = event.head.status;
    if (const Field* f = event.list.find(http::Token::GrpcStatus)) {
      int code = -1;
      std::from_chars(f->value.data(), f->value.data() + f->value.size(), code);
      grpc_status_ = code;
    }
    over_ = over_ || event.end_stream;
  }
  void on_data(http::h2::StreamHandle, http::h2::Stream&, std::span<const uint8_t> bytes, bool end) override {
    if (payload_.size() < kPayloadBytesMax)
      payload_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    over_ = over_ || end;
  }
  void on_reset(http::h2::StreamHandle, http::h2::Stream&, ErrorCode, ResetBy) override { over_ = reset_ = true; }
  void on_sent(http::h2::StreamHandle, http::h2::Stream&, size_t) override {}
  void on_goaway(uint32_t, ErrorCode) override {}
  void on_settings() override {}
  void on_output() override {}

  void judge_http() {
    if (reset_ || http_status_ == 0) return finish({false, HealthReason::FailedHealthChecks, "Health checks failed"});
    if (grpc::matches_codes(check_.config.http_codes, http_status_)) return finish({true, HealthReason::None, ""});
    finish({false, HealthReason::ResponseCodeMismatch,
            "Health checks failed with these codes: [" + std::to_string(http_status_) + "]"});
  }

  void judge() {
    if (!check_.config.http_codes.empty()) return judge_http();
    if (reset_ || (http_status_ == 200 && grpc_status_ < 0)) {
      return finish({false, HealthReason::FailedHealthChecks, "Health checks failed"});
    }
    if (http_status_ != 200 && grpc_status_ < 0) {
      return finish({false, HealthReason::ResponseCodeMismatch,
                     "Health checks failed with these codes: [" + std::to_string(http_status_) + "]"});
    }
    if (!grpc::matches_codes(check_.config.grpc_codes, grpc_status_)) {
      return finish({false, HealthReason::ResponseCodeMismatch,
                     "Health checks failed with these codes: [" + std::to_string(grpc_status_) + "]"});
    }
    if (check_.config.evaluate_payload && check_.config.path == kStandardPath && grpc_status_ == 0) {
      auto status = grpc::parse_health_response(payload_);
      if (status != grpc::ServingStatus::Serving) {
        return finish({false, HealthReason::ResponseCodeMismatch,
                       "Health checks failed with these codes: [0] (the service is not SERVING)"});
      }
    }
    finish({true, HealthReason::None, ""});
  }

  void time_out() { finish({false, HealthReason::Timeout, "Request timed out"}); }

  // Destroys this probe.
  void finish(const Outcome& outcome) {
    HealthChecker& owner = owner_;
    Check& check = check_;
    Outcome copy = outcome;
    check.probe.reset();
    owner.finish_probe(check, copy);
  }

  HealthChecker& owner_;
  Check& check_;
  http::h2::Connection connection_;
  std::unique_ptr<net::Transport> transport_;
  net::ReadScratch scratch_;
  std::span<const uint8_t> bytes_;
  net::Timer timeout_;
  bool connected_ = false;
  bool over_ = false;
  bool reset_ = false;
  int http_status_ = 0;
  int grpc_status_ = -1;
  std::string payload_;
};

HealthChecker::HealthChecker(net::Loop& loop, http::h2::Shared shared, Report report)
    : loop_(loop), shared_(shared), report_(std::move(report)) {}
HealthChecker::~HealthChecker() = default;

void HealthChecker::apply(const std::vector<model::TargetGroup>& groups) {
  std::set<std::string> kept;
  for (const model::TargetGroup& g : groups) {
    kept.insert(g.arn);
    apply_group(g);
  }
  std::erase_if(checks_, [&](const auto& entry) { return !kept.contains(entry.second->group_arn); });
}

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
}

void HealthChecker::stop(Check& check, TargetState state, HealthReason reason) {
  check.probe.reset();
  check.timer.cancel();
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
    report_({check.group_arn, check.address, check.port, check.state, check.reason, check.description});
  } else {
    check.successes = check.failures = 0;
    set_state(check, TargetState::Initial,
              {false, HealthReason::InitialHealthChecking, "Initial health checks in progress"});
  }
  if (check.in_use) loop_.arm(check.timer, loop_.now());
}

void HealthChecker::start_probe(Check& check) {
  check.started = loop_.now();
  check.probe = std::make_unique<Probe>(*this, check);
  if (!check.probe->start()) {
    check.probe.reset();
    finish_probe(check,
                 {false, HealthReason::InternalError, "Health checks failed due to an internal error"});
  }
}

void HealthChecker::finish_probe(Check& check, const Outcome& outcome) {
  Duration interval = std::chrono::milliseconds(check.config.interval_ms);
  TimePoint next = check.started + interval;
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

void HealthChecker::set_state(Check& check, TargetState state, const Outcome& outcome) {
  if (check.state == state && check.reason == outcome.reason && check.description == outcome.description)
    return;
  check.state = state;
  check.reason = outcome.reason;
  check.description = outcome.description;
  report_({check.group_arn, check.address, check.port, state, outcome.reason, outcome.description});
}

std::vector<model::TargetHealth> HealthChecker::all() const {
  std::vector<model::TargetHealth> out;
  for (const auto& [key, c] : checks_)
    out.push_back({c->group_arn, c->address, c->port, c->state, c->reason, c->description});
  return out;
}

}  // namespace weir::proxy
