#include "proxy/load_balancer.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <set>

#include "base/assert.h"
#include "base/log.h"
#include "proxy/router.h"

namespace weir::proxy {

namespace {
constexpr int kAcceptsPerTurn = 32;
constexpr Duration kStatsInterval = std::chrono::seconds(1);
constexpr Duration kAcceptPause = std::chrono::milliseconds(100);

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

struct LoadBalancer::WorkerThread {
  WorkerLoad load;
  std::unique_ptr<Worker> worker;
  std::unique_ptr<HealthChecker> health;  // on the first worker only
  std::thread thread;
};

struct LoadBalancer::ListenSocket final : net::FdHandler {
  ListenSocket(LoadBalancer& owner_in, model::ListenerSocket socket_in, int fd_in)
      : owner(owner_in), socket(std::move(socket_in)), fd(fd_in), pause([this] {
          owner.loop_.rewatch(fd, known ? static_cast<uint32_t>(EPOLLIN) : 0u, this);
        }) {
    owner.loop_.watch(fd, 0, this);
  }
  // Clients are accepted while the snapshot in force has the listener; before that they wait in the backlog.
  void set_known(bool value) {
    known = value;
    if (!pause.armed()) owner.loop_.rewatch(fd, known ? static_cast<uint32_t>(EPOLLIN) : 0u, this);
  }
  ~ListenSocket() {
    owner.loop_.unwatch(fd, this);
    close(fd);
  }
  void on_ready(uint32_t) override { owner.accept_some(*this); }
  // Descriptors or memory are short: the backlog waits a little, instead of spinning.
  void rest() {
    if (pause.armed()) return;
    owner.loop_.rewatch(fd, 0, this);
    owner.loop_.arm(pause, owner.loop_.now() + kAcceptPause);
  }
  LoadBalancer& owner;
  model::ListenerSocket socket;
  int fd;
  bool known = false;
  net::Timer pause;
};

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
      snapshot_(std::make_shared<model::RoutingSnapshot>()),
      stats_timer_([this] { collect_stats(); }),
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
    WorkerEvents events;
    events.drained = [this](const std::string& group, const std::string& address, uint16_t port) {
      loop_.post([this, group, address, port] { on_drained(group, address, port); });
    };
    w->worker =
        std::make_unique<Worker>(worker_options, clock_, Random(random_.next()), w->load, std::move(events));
    if (i == 0) {
      w->health = std::make_unique<HealthChecker>(
          w->worker->loop(), w->worker->h2_shared(),
          [this](const model::TargetHealth& health) { loop_.post([this, health] { on_health(health); }); });
    }
    w->thread = std::thread([raw = w.get()] {
      raw->worker->run();
      raw->health.reset();
    });
    workers_.push_back(std::move(w));
  }
  loop_.arm(stats_timer_, loop_.now() + kStatsInterval);
  return {};
}

void LoadBalancer::add_listener(const model::ListenerSocket& socket, int fd) {
  auto& slot = listeners_[listener_key(socket)];
  slot = std::make_unique<ListenSocket>(*this, socket, fd);
  slot->set_known(snapshot_has(socket.listener_arn));
}

bool LoadBalancer::snapshot_has(const std::string& listener_arn) const {
  auto same = [&](const model::Listener& l) { return l.arn == listener_arn; };
  return std::any_of(snapshot_->listeners.begin(), snapshot_->listeners.end(), same);
}

size_t LoadBalancer::connections() const {
  size_t sum = 0;
  for (const auto& w : workers_) sum += w->load.connections.load(std::memory_order_relaxed);
  return sum;
}

LoadBalancer::WorkerThread& LoadBalancer::least_loaded() {
  auto less = [](const auto& a, const auto& b) {
    return a->load.connections.load(std::memory_order_relaxed) <
           b->load.connections.load(std::memory_order_relaxed);
  };
  return **std::min_element(workers_.begin(), workers_.end(), less);
}

void LoadBalancer::accept_some(ListenSocket& listener) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    int fd = accept4(listener.fd, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return;
      log_warning("accept failed errno=" + std::to_string(errno));
      return listener.rest();
    }
    if (connections() >= options_.clients_max) {  // the rest of the descriptors is for targets
      close(fd);
      if (!full_told_) log_warning("client connections refused: there are " + std::to_string(options_.clients_max));
      full_told_ = true;
      continue;
    }
    full_told_ = false;
    std::string address = peer_text(peer);
    if (snapshot_->ingress_checked && !listener.socket.vpc_side) {
      auto allowed = std::any_of(snapshot_->ingress.begin(), snapshot_->ingress.end(), [&](const auto& rule) {
        auto of_listener = [&](const model::Listener& l) { return l.arn == listener.socket.listener_arn; };
        auto l = std::find_if(snapshot_->listeners.begin(), snapshot_->listeners.end(), of_listener);
        bool port_fits =
            l == snapshot_->listeners.end() || (l->port >= rule.from_port && l->port <= rule.to_port);
        return port_fits && address_in_cidr(address, rule.cidr);
      });
      if (!allowed) {
        close(fd);
        continue;
      }
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    WorkerThread& w = least_loaded();
    w.load.connections.fetch_add(1, std::memory_order_relaxed);  // corrected by the worker itself
    w.worker->loop().post([worker = w.worker.get(), fd, address, arn = listener.socket.listener_arn] {
      worker->add_client(fd, address, arn);
    });
  }
}

Result<void> LoadBalancer::apply(model::SnapshotPtr snapshot) {
  Worker::TlsByListener tls;
  std::map<std::string, std::string> fingerprints;
  for (const model::Listener& l : snapshot->listeners) {
    if (!l.tls) continue;
    std::vector<net::TlsCertificate> certificates;
    std::string fingerprint = l.ssl_policy;
    for (const model::Certificate& c : l.certificates) {
      certificates.push_back({c.chain_pem, c.key_pem, c.names});
      fingerprint += "\n" + c.arn + c.chain_pem + c.key_pem;
      for (const std::string& name : c.names) fingerprint += "," + name;
    }
    auto known = tls_fingerprints_.find(l.arn);
    if (known != tls_fingerprints_.end() && known->second == fingerprint) {
      tls[l.arn] = tls_[l.arn];  // unchanged: tickets stay valid
    } else {
      auto made = net::TlsServerContext::make(certificates, l.ssl_policy);
      if (!made) return fail("listener " + l.arn + ": " + made.error().message);
      tls[l.arn] = *made;
    }
    fingerprints[l.arn] = std::move(fingerprint);
  }
  tls_ = std::move(tls);
  tls_fingerprints_ = std::move(fingerprints);
  snapshot_ = std::move(snapshot);
  forget_targets(snapshot_->groups, true);
  remember_targets(snapshot_->groups);
  spread(snapshot_->generation,
         [s = snapshot_, tls = tls_, shared = shared_](Worker& w) { w.apply(s, tls, shared); });
  workers_[0]->worker->loop().post([h = workers_[0]->health.get(), s = snapshot_] { h->apply(s->groups); });
  for (auto& [key, l] : listeners_) l->set_known(snapshot_has(l->socket.listener_arn));
  return {};
}

void LoadBalancer::apply_group(uint64_t generation, const model::TargetGroup& group) {
  forget_targets({group}, false);
  remember_targets({group});
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
  std::erase_if(drained_by_, [&](const auto& e) { return of_named(e.first) && !kept.contains(e.first); });
  std::erase_if(shared_, [&](const auto& e) { return of_named(e.first) && !kept.contains(e.first); });
}

void LoadBalancer::remember_targets(const std::vector<model::TargetGroup>& groups) {
  for (const model::TargetGroup& g : groups) {
    for (const model::Target& t : g.targets) {
      std::string key = target_key(g.arn, t.address, t.port);
      if (!t.draining) drained_by_.erase(key);
      auto& cell = shared_[key];
      if (cell == nullptr) cell = std::make_shared<SharedOutstanding>();
    }
  }
}

// Applies a change on every worker; the control plane hears Applied when the last one has it.
void LoadBalancer::spread(uint64_t generation, std::function<void(Worker&)> change) {
  auto left = std::make_shared<std::atomic<int>>(static_cast<int>(workers_.size()));
  for (auto& w : workers_) {
    w->worker->loop().post([this, generation, left, change, worker = w->worker.get()] {
      change(*worker);
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
  send(model::Health{{health}});
}

void LoadBalancer::on_drained(const std::string& group, const std::string& address, uint16_t port) {
  int& workers = drained_by_[target_key(group, address, port)];
  if (++workers >= static_cast<int>(workers_.size())) send(model::Drained{group, address, port});
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
                                 [](const std::string& why) { log_info("link closed: " + why); }});
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
  for (const auto& [key, h] : health_) all.targets.push_back(h);
  send(all);
  for (const auto& g : snapshot_->groups) {
    for (const auto& t : g.targets) {
      auto found = drained_by_.find(target_key(g.arn, t.address, t.port));
      bool drained = found != drained_by_.end() && found->second >= static_cast<int>(workers_.size());
      if (t.draining && drained) send(model::Drained{g.arn, t.address, t.port});
    }
  }
}

void LoadBalancer::on_message(model::Message message, std::vector<int> fds) {
  if (std::holds_alternative<model::Hello>(message)) {
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

void LoadBalancer::collect_stats() {
  loop_.arm(stats_timer_, loop_.now() + kStatsInterval);
  if (link_ == nullptr || link_->closed()) return;
  struct Gather {
    std::mutex mutex;
    model::Stats stats;
    size_t left;
  };
  auto gather = std::make_shared<Gather>();
  gather->left = workers_.size();
  for (auto& w : workers_) {
    w->worker->loop().post([this, gather, worker = w->worker.get()] {
      std::lock_guard lock(gather->mutex);
      worker->add_stats(gather->stats);
      if (--gather->left == 0) loop_.post([this, gather] { send(gather->stats); });
    });
  }
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
