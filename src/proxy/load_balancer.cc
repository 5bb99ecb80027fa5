#include "proxy/load_balancer.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <tuple>

#include "base/assert.h"
#include "base/log.h"
#include "proxy/cidr.h"
#include "proxy/limits.h"
#include "proxy/load_balancer_state.h"

namespace weir::proxy {

namespace {
constexpr Duration kStatsInterval = std::chrono::seconds(1);

// Accepted sockets inherit these: no system call per connection.
void prepare_listening_socket(int fd) {
  int one = 1, idle = kKeepaliveIdleSeconds, interval = kKeepaliveIntervalSeconds, count = kKeepaliveCount;
  int unacknowledged_ms = kUnacknowledgedMsMax;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
}

std::string listener_key(const model::ListenerSocket& s) {
  return s.listener_arn + "|" + s.address + "|" + std::to_string(s.bound_port) +
         (s.vpc_side ? "|vpc" : "|host");
}

std::string peer_text(const sockaddr_storage& storage) {
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, text, sizeof text);
  } else {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr, text, sizeof text);
  }
  return text;
}
}  // namespace

class LoadBalancer::LinkAcceptor final : net::FdHandler {
 public:
  LinkAcceptor(LoadBalancer& owner, int fd) : owner_(owner), fd_(fd) {
    owner_.loop_.watch(fd_, EPOLLIN, this);
  }
  ~LinkAcceptor() {
    owner_.loop_.unwatch(fd_, this);
    close(fd_);
  }
  int fd() const { return fd_; }

 private:
  void on_ready(uint32_t) override { owner_.accept_link(); }
  LoadBalancer& owner_;
  int fd_;
};

LoadBalancer::LoadBalancer(net::Loop& loop, const Clock& clock, Random random, LoadBalancerOptions options)
    : loop_(loop),
      clock_(clock),
      random_(random),
      options_(std::move(options)),
      logs_(clock, Random(random.next()), options_.workers),
      snapshot_(std::make_shared<model::RoutingSnapshot>()),
      tls_(clock),
      stats_timer_([this] { collect_stats(); }),
      ticket_timer_([this] {
        tls_.rotate_tickets();
        loop_.arm(ticket_timer_, loop_.now() + TlsContexts::kTicketKeyLife);
      }),
      shutdown_timer_([this] { check_shutdown(); }) {}

LoadBalancer::~LoadBalancer() {
  link_.reset();
  link_acceptor_.reset();
  listeners_.clear();
  for (auto& w : workers_) {
    if (!w->thread.joinable()) continue;
    w->worker->loop().stop();
    w->thread.join();
  }
}

Result<void> LoadBalancer::start() {
  if (!options_.link_path.empty()) {
    WEIR_TRY_ASSIGN(int fd, net::listen_unix(options_.link_path));
    link_acceptor_ = std::make_unique<LinkAcceptor>(*this, fd);
  }
  for (int i = 0; i < options_.workers; ++i) {
    auto w = std::make_unique<WorkerThread>();
    WorkerOptions worker_options = options_.worker;
    worker_options.index = i;
    worker_options.log_ring = logs_.ring(i);
    worker_options.workers = options_.workers;
    WorkerEvents events;
    events.drained = [this, i, raw = w.get()](const std::string& group, const std::string& address, uint16_t port) {
      loop_.post([this, i, change = raw->changes, target = model::Drained{group, address, port}] {
        on_drained(target, i, change);
      });
    };
    events.logs_waiting = [this] { logs_.wake(); };
    events.failing = [this](const TargetName& target) { loop_.post([this, target] { judge_.failing(target); }); };
    w->worker = std::make_unique<Worker>(worker_options, clock_, Random(random_.next()), w->load, std::move(events),
                                         net::make_epoll_loop(clock_));
    judge_.add_worker(*w->worker);
    if (i == 0) {
      w->health = std::make_unique<HealthChecker>(
          w->worker->loop(), w->worker->h2_shared(),
          [this](const model::TargetHealth& health) { loop_.post([this, health] { on_health(health); }); },
          Random(random_.next()));
    }
    w->thread = std::thread([raw = w.get()] {
      raw->worker->run();
      raw->health.reset();
    });
    workers_.push_back(std::move(w));
  }
  loop_.arm(stats_timer_, loop_.now() + kStatsInterval);
  loop_.arm(ticket_timer_, loop_.now() + TlsContexts::kTicketKeyLife);
  return {};
}

void LoadBalancer::add_listener(const model::ListenerSocket& socket, int fd) {
  prepare_listening_socket(fd);
  auto& slot = listeners_[listener_key(socket)];
  slot = std::make_unique<ListenSocket>(*this, socket, fd);
  slot->set_known(snapshot_has(socket.listener_arn));
  configure_logs();  // files carry an address of ours
}

bool LoadBalancer::snapshot_has(const std::string& listener_arn) const {
  auto same = [&](const model::Listener& l) { return l.arn == listener_arn; };
  return std::any_of(snapshot_->listeners.begin(), snapshot_->listeners.end(), same);
}

size_t LoadBalancer::connections() const {
  size_t sum = 0;
  for (const auto& w : workers_) sum += w->load.connections();
  return sum;
}

LoadBalancer::WorkerThread& LoadBalancer::least_loaded() {
  auto less = [](const auto& a, const auto& b) { return a->load.connections() < b->load.connections(); };
  return **std::min_element(workers_.begin(), workers_.end(), less);
}

void LoadBalancer::accept_some(ListenSocket& listener) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    int fd = accept4(listener.fd, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return;
      ++defences_.accept_failures;
      tell_full("accept failed errno=" + std::to_string(errno));
      return listener.rest();
    }
    if (connections() >= options_.clients_max) {  // the rest of the descriptors is for targets
      close(fd);
      ++defences_.connections_over_limit;
      tell_full("client connections refused: there are " + std::to_string(options_.clients_max));
      continue;
    }
    std::string address = peer_text(peer);
    if (!admits(listener, address)) {
      close(fd);
      ++defences_.connections_not_allowed;
      continue;
    }
    uint16_t port = ntohs(peer.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&peer)->sin_port
                                                    : reinterpret_cast<sockaddr_in6*>(&peer)->sin6_port);
    WorkerThread& w = least_loaded();
    w.load.handed.fetch_add(1, std::memory_order_relaxed);
    w.worker->loop().post([worker = w.worker.get(), fd, client = ClientAddress(address, port),
                            arn = listener.socket.listener_arn] { worker->add_client(fd, client, arn);
    });
  }
}

// That clients find no place; once in a while.
void LoadBalancer::tell_full(const std::string& why) {
  if (full_told_ != TimePoint{} && loop_.now() - full_told_ <= kFullTold) return;
  full_told_ = loop_.now();
  log_warning(why);
}

// The security groups of the load balancer; inside the VPC its network sees to them.
bool LoadBalancer::admits(const ListenSocket& listener, const std::string& address) {
  if (!snapshot_->ingress_checked || listener.socket.vpc_side) return true;
  auto of_listener = [&](const model::Listener& l) { return l.arn == listener.socket.listener_arn; };
  auto l = std::find_if(snapshot_->listeners.begin(), snapshot_->listeners.end(), of_listener);
  return std::any_of(snapshot_->ingress.begin(), snapshot_->ingress.end(), [&](const auto& rule) {
    bool port_fits = l == snapshot_->listeners.end() || (l->port >= rule.from_port && l->port <= rule.to_port);
    return port_fits && address_in_cidr(address, rule.cidr);
  });
}

Result<void> LoadBalancer::apply(model::SnapshotPtr snapshot) {
  WEIR_TRY(tls_.apply(*snapshot));
  snapshot_ = std::move(snapshot);
  groups_.clear();
  for (const model::TargetGroup& g : snapshot_->groups) groups_[g.arn] = g;
  configure_logs();
  forget_targets(snapshot_->groups, true);
  remember_targets(snapshot_->groups);
  forget_notes(snapshot_->groups);
  judge_.apply(snapshot_->groups, true);
  auto change = [s = snapshot_, tls = tls_.listeners(), targets = tls_.targets(), shared = shared_](Worker& w) {
    w.set_target_tls(targets);
    w.apply(s, tls, shared);
  };
  spread(snapshot_->generation, change);
  LogRing* log = snapshot_->health_check_log.directory.empty() ? nullptr : logs_.ring(0);
  workers_[0]->worker->loop().post([h = workers_[0]->health.get(), s = snapshot_, targets = tls_.targets(), log] {
    h->set_log(log);
    h->set_tls(targets);
    h->apply(s->groups);
  });
  for (auto& [key, l] : listeners_) l->set_known(snapshot_has(l->socket.listener_arn));
  return {};
}

void LoadBalancer::apply_group(uint64_t generation, const model::TargetGroup& group) {
  groups_[group.arn] = group;
  forget_targets({group}, false);
  remember_targets({group});
  forget_notes({group});
  judge_.apply({group}, false);
  auto copy = std::make_shared<model::TargetGroup>(group);
  spread(generation, [copy, shared = shared_](Worker& w) { w.apply_group(*copy, shared); });
  workers_[0]->worker->loop().post([h = workers_[0]->health.get(), copy] { h->apply_group(*copy); });
}

// Health and drain state of targets that `groups` no longer have.
void LoadBalancer::forget_targets(const std::vector<model::TargetGroup>& groups, bool whole) {
  std::set<std::string> kept;
  std::set<std::string> named;
  for (const model::TargetGroup& g : groups) {
    named.insert(g.arn);
    for (const model::Target& t : g.targets) kept.insert(target_key(g.arn, t.address, t.port));
  }
  std::erase_if(health_, [&](const auto& entry) {
    return (whole || named.contains(entry.second.group_arn)) && !kept.contains(entry.first);
  });
  auto of_named = [&](const std::string& key) { return whole || named.contains(key.substr(0, key.find('|'))); };
  std::erase_if(draining_, [&](const auto& e) { return of_named(e.first) && !kept.contains(e.first); });
  std::erase_if(shared_, [&](const auto& e) { return of_named(e.first) && !kept.contains(e.first); });
  std::erase_if(notes_, [&](const auto& e) {
    return (whole || named.contains(e.first.group_arn)) &&
           !kept.contains(target_key(e.first.group_arn, e.first.address, e.first.port));
  });
}

void LoadBalancer::remember_targets(const std::vector<model::TargetGroup>& groups) {
  for (const model::TargetGroup& g : groups) {
    for (const model::Target& t : g.targets) {
      std::string key = target_key(g.arn, t.address, t.port);
      if (t.draining) {
        draining_.try_emplace(key, Draining{changes_ + 1, {}});
      } else {
        draining_.erase(key);
      }
      auto& cell = shared_[key];
      if (cell == nullptr) cell = std::make_shared<SharedTarget>();
    }
  }
}

// Applies a change on every worker; the control plane hears Applied when the last one has it.
void LoadBalancer::spread(uint64_t generation, std::function<void(Worker&)> change) {
  auto left = std::make_shared<std::atomic<int>>(static_cast<int>(workers_.size()));
  ++changes_;
  for (auto& w : workers_) {
    w->worker->loop().post([this, generation, left, change, number = changes_, thread = w.get()] {
      thread->changes = number;
      change(*thread->worker);
      if (left->fetch_sub(1) != 1) return;
      loop_.post([this, generation] {
        generation_ = std::max(generation_, generation);
        send(model::Applied{generation});
      });
    });
  }
}

void LoadBalancer::on_health(const model::TargetHealth& health) {
  health_[target_key(health.group_arn, health.address, health.port)] = health;
  log_info("target=" + health.address + ":" + std::to_string(health.port) +
           " state=" + std::string(model::to_string(health.state)) +
           (health.description.empty() ? "" : " " + health.description));
  for (auto& w : workers_) {
    w->worker->loop().post([worker = w->worker.get(), health] {
      worker->set_health(health.group_arn, health.address, health.port, health.state);
    });
  }
  send(model::Health{{health_shown(health)}});
}

// A report may be older than the drain that is under way: the target was registered again since.
void LoadBalancer::on_drained(const model::Drained& target, int worker, uint64_t change) {
  auto found = draining_.find(target_key(target.group_arn, target.address, target.port));
  if (found == draining_.end() || change < found->second.since) return;
  found->second.empty_workers.insert(worker);
  if (is_drained(found->second)) send(target);
}

bool LoadBalancer::is_drained(const Draining& draining) const {
  return draining.empty_workers.size() == workers_.size();
}

void LoadBalancer::accept_link() {
  int fd = accept4(link_acceptor_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  auto uid = net::peer_uid(fd);
  if (!uid || (*uid != 0 && *uid != options_.link_uid)) {
    log_warning("link refused: foreign user");
    close(fd);
    return;
  }
  // The newest control plane wins: its predecessor is dead or about to be.
  link_ = std::make_unique<net::MessageSocket>(
      loop_, fd, model::kLinkFrameBytesMax,
      net::MessageSocket::Events{[this](std::span<const uint8_t> frame, std::vector<int> fds) {
                                   auto message = model::decode(frame);
                                   if (message) return on_message(std::move(*message), std::move(fds));
                                   log_error(message.error().message);
                                   for (int each : fds) close(each);
                                 },
                                 [quiet = options_.link_reads_only](const std::string& why) {
                                   if (!quiet) log_info("link closed: " + why);
                                 }});
}

void LoadBalancer::send(const model::Message& message, std::vector<int> fds) {
  if (link_ != nullptr && !link_->closed()) link_->send(model::encode(message), std::move(fds));
}

void LoadBalancer::welcome() {
  model::Welcome w;
  w.pid = static_cast<uint32_t>(getpid());
  w.generation = generation_;
  std::vector<int> fds;
  for (const auto& [key, l] : listeners_) {
    w.listeners.push_back(l->socket);
    fds.push_back(l->fd);
  }
  send(w, std::move(fds));
  model::Health all;
  for (const auto& [key, h] : health_) all.targets.push_back(health_shown(h));
  send(all);
  for (const auto& [arn, g] : groups_) {
    for (const auto& t : g.targets) {
      auto found = draining_.find(target_key(arn, t.address, t.port));
      if (found != draining_.end() && is_drained(found->second)) send(model::Drained{arn, t.address, t.port});
    }
  }
}

void LoadBalancer::on_message(model::Message message, std::vector<int> fds) {
  if (auto* streams = std::get_if<model::StreamsRequest>(&message)) {
    report_streams(*streams);
  } else if (auto* frames = std::get_if<model::FramesRequest>(&message)) {
    report_frames(*frames);
  } else if (options_.link_reads_only) {
    log_warning("link refused: this balancer has no control plane");
  } else if (std::holds_alternative<model::Hello>(message)) {
    welcome();
  } else if (auto* open = std::get_if<model::OpenListener>(&message); open != nullptr && fds.size() == 1) {
    add_listener(open->socket, fds[0]);
    fds.clear();
  } else if (auto* gone = std::get_if<model::CloseListener>(&message)) {
    listeners_.erase(listener_key(gone->socket));
  } else if (auto* snapshot = std::get_if<model::Snapshot>(&message)) {
    if (auto done = apply(snapshot->snapshot); !done) log_error(done.error().message);
  } else if (auto* update = std::get_if<model::GroupUpdate>(&message)) {
    apply_group(update->generation, update->group);
  } else if (auto* end = std::get_if<model::Shutdown>(&message)) {
    shutdown(std::chrono::milliseconds(end->drain_ms));
  }
  for (int fd : fds) close(fd);
}

void LoadBalancer::shutdown(Duration limit) {
  if (shutting_down_) return;
  shutting_down_ = true;
  shutdown_limit_ = loop_.now() + limit;
  listeners_.clear();
  for (auto& w : workers_) {
    w->worker->loop().post([worker = w->worker.get()] { worker->drain_all(); });
  }
  loop_.arm(shutdown_timer_, loop_.now());
}

void LoadBalancer::check_shutdown() {
  if (connections() == 0 || loop_.now() >= shutdown_limit_) return loop_.stop();
  loop_.arm(shutdown_timer_, loop_.now() + std::chrono::milliseconds(50));
}

}  // namespace weir::proxy
