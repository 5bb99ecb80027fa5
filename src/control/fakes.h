// For tests: drivers and load balancer processes that only remember. Every call leaves a line in a Journal
// that all fakes of a test share, so that a test can check orders across them.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "control/balancer_process.h"
#include "model/link.h"
#include "net/message_socket.h"
#include "runtime/driver.h"

namespace weir::control {

class Journal {
 public:
  void add(std::string line) {
    std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
  }
  std::vector<std::string> lines() const {
    std::lock_guard lock(mutex_);
    return lines_;
  }
  // Index of the first line from `start` on that begins with `prefix`; -1 when there is none.
  int find(const std::string& prefix, int start = 0) const {
    auto all = lines();
    for (size_t i = static_cast<size_t>(start); i < all.size(); ++i) {
      if (all[i].starts_with(prefix)) return static_cast<int>(i);
    }
    return -1;
  }
  int count(const std::string& prefix) const {
    auto all = lines();
    return static_cast<int>(std::count_if(all.begin(), all.end(), [&](auto& l) { return l.starts_with(prefix); }));
  }
  int size() const { return static_cast<int>(lines().size()); }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

class FakeNetwork final : public runtime::NetworkDriver {
 public:
  explicit FakeNetwork(Journal& journal) : journal_(journal) {}
  Result<void> ensure_fabric(const runtime::FabricSpec& spec) override {
    std::lock_guard lock(mutex_);
    if (fabrics.insert(spec.vpc_id).second) journal_.add("ensure_fabric " + spec.vpc_id);
    return {};
  }
  Result<void> remove_fabric(const std::string& vpc_id) override {
    std::lock_guard lock(mutex_);
    journal_.add("remove_fabric " + vpc_id);
    fabrics.erase(vpc_id);
    return {};
  }
  Result<runtime::EniInfo> ensure_eni(const runtime::EniSpec& spec) override {
    std::lock_guard lock(mutex_);
    if (!fabrics.contains(spec.vpc_id)) return fail("no fabric");
    journal_.add("ensure_eni " + spec.eni_id + " " + spec.address);
    enis[spec.eni_id] = {spec.address};
    firewalls[spec.eni_id] = spec.firewall;
    return runtime::EniInfo{"/run/netns/" + spec.eni_id};
  }
  Result<void> add_address(const std::string& eni_id, const std::string& address, int) override {
    std::lock_guard lock(mutex_);
    journal_.add("add_address " + eni_id + " " + address);
    enis[eni_id].push_back(address);
    return {};
  }
  Result<void> remove_eni(const std::string& eni_id) override {
    std::lock_guard lock(mutex_);
    journal_.add("remove_eni " + eni_id);
    enis.erase(eni_id);
    firewalls.erase(eni_id);
    return {};
  }
  Result<void> apply_firewall(const std::string& eni_id, const runtime::FirewallSpec& spec) override {
    std::lock_guard lock(mutex_);
    journal_.add("apply_firewall " + eni_id);
    firewalls[eni_id] = spec;
    return {};
  }
  Result<int> listen_in(const std::string& eni_id, const std::string& address, uint16_t port) override {
    journal_.add("listen_in " + eni_id + " " + address + ":" + std::to_string(port));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail_errno("socket", errno);
    return fd;
  }
  Result<std::vector<std::string>> list_enis() override {
    std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [id, addresses] : enis) out.push_back(id);
    return out;
  }
  Result<std::vector<std::string>> list_fabrics() override {
    std::lock_guard lock(mutex_);
    return std::vector<std::string>(fabrics.begin(), fabrics.end());
  }
  std::string enforcement() const override { return "kernel"; }

  // Read by tests while no job runs.
  std::set<std::string> fabrics;
  std::map<std::string, std::vector<std::string>> enis;
  std::map<std::string, runtime::FirewallSpec> firewalls;

 private:
  Journal& journal_;
  std::mutex mutex_;
};

class FakeContainers final : public runtime::ContainerDriver {
 public:
  using Status = runtime::ContainerStatus;
  explicit FakeContainers(Journal& journal) : journal_(journal) {}
  Result<void> ensure_image(const std::string& image) override {
    std::lock_guard lock(mutex_);
    if (missing_images.contains(image)) return fail("CannotPullContainerError: " + image + " is not here");
    return {};
  }
  Result<std::string> import_image(const std::string&, const std::string& name) override { return name; }
  Result<std::vector<std::string>> list_images() override { return std::vector<std::string>{}; }
  Result<void> start(const runtime::ContainerSpec& spec) override {
    std::lock_guard lock(mutex_);
    journal_.add("start " + spec.container_id);
    specs[spec.container_id] = spec;
    Status& status = containers[spec.container_id];
    status.state = crash_images.contains(spec.image) ? Status::State::Exited : Status::State::Running;
    status.exit_code = crash_images.contains(spec.image) ? 1 : 0;
    return {};
  }
  Result<Status> status(const std::string& id) override {
    std::lock_guard lock(mutex_);
    auto found = containers.find(id);
    return found == containers.end() ? Status{} : found->second;
  }
  Result<Status> wait(const std::string& id, int) override { return status(id); }
  Result<void> kill(const std::string& id, const std::string& signal) override {
    std::lock_guard lock(mutex_);
    journal_.add("kill " + id + " " + (signal.empty() ? "STOPSIGNAL" : signal));
    auto found = containers.find(id);
    if (found == containers.end()) return fail("no container " + id);
    if (ignore_term && signal != "SIGKILL") return {};
    found->second = {Status::State::Exited, 0, signal == "SIGKILL" ? 137 : 0, false};
    return {};
  }
  Result<void> remove(const std::string& id) override {
    std::lock_guard lock(mutex_);
    journal_.add("remove " + id);
    containers.erase(id);
    return {};
  }
  Result<std::vector<std::string>> list() override {
    std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [id, status] : containers) out.push_back(id);
    return out;
  }
  std::string log_path(const std::string& id) const override { return "/logs/" + id; }
  Result<void> remove_log(const std::string&) override { return {}; }

  void die(const std::string& id, int exit_code, bool oom = false) {
    std::lock_guard lock(mutex_);
    containers[id] = {Status::State::Exited, 0, exit_code, oom};
  }

  std::map<std::string, Status> containers;
  std::map<std::string, runtime::ContainerSpec> specs;
  std::set<std::string> missing_images;
  std::set<std::string> crash_images;
  bool ignore_term = false;

 private:
  Journal& journal_;
  std::mutex mutex_;
};

// A load balancer inside the test: speaks the link protocol at its socket path.
class FakeBalancer final : net::FdHandler {
 public:
  FakeBalancer(net::Loop& loop, Journal& journal, const std::string& link_path, int pid)
      : loop_(loop), journal_(journal), pid_(pid) {
    listen_fd_ = *net::listen_unix(link_path);
    loop_.watch(listen_fd_, EPOLLIN, this);
  }
  ~FakeBalancer() {
    socket.reset();
    loop_.unwatch(listen_fd_, this);
    close(listen_fd_);
    for (int fd : fds) close(fd);
  }
  void on_ready(uint32_t) override {
    int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    socket = std::make_unique<net::MessageSocket>(
        loop_, fd, model::kLinkFrameBytesMax,
        net::MessageSocket::Events{[this](auto frame, auto received) { on_frame(frame, received); },
                                   [](const std::string&) {}});
  }
  void send(const model::Message& message) { socket->send(model::encode(message)); }
  // Says the health of every active target of all groups; without this new targets stay initial.
  void report(model::TargetState state) {
    model::Health health;
    for (const auto& [arn, group] : groups) {
      for (const auto& target : group.targets) {
        if (target.draining) continue;
        health.targets.push_back({arn, target.address, target.port, state, {}, "Request timed out"});
      }
    }
    send(health);
  }

  std::unique_ptr<net::MessageSocket> socket;
  std::map<std::string, model::TargetGroup> groups;
  std::vector<model::ListenerSocket> listeners;
  std::vector<int> fds;
  model::SnapshotPtr snapshot;   // the last whole one
  uint64_t generation = 0;
  bool acknowledge = true;
  bool auto_answer = true;  // questions about streams and frames
  bool auto_health = true;       // new targets become healthy at once
  bool auto_drain = true;        // draining targets have no streams
  bool ended = false;
  uint32_t shutdown_ms = 0;

 private:
  void on_frame(std::span<const uint8_t> frame, const std::vector<int>& received) {
    auto message = model::decode(frame);
    if (std::holds_alternative<model::Hello>(*message)) {
      socket->send(model::encode(model::Welcome{static_cast<uint32_t>(pid_), generation, listeners}), fds);
    } else if (auto* open = std::get_if<model::OpenListener>(&*message)) {
      journal_.add("lb open " + open->socket.address + ":" + std::to_string(open->socket.bound_port));
      listeners.push_back(open->socket);
      fds.push_back(received.at(0));
    } else if (auto* closed = std::get_if<model::CloseListener>(&*message)) {
      journal_.add("lb close " + closed->socket.address + ":" + std::to_string(closed->socket.bound_port));
    } else if (auto* asked = std::get_if<model::StreamsRequest>(&*message)) {
      if (auto_answer) send(model::Streams{asked->id, 7, {}});
    } else if (auto* wanted = std::get_if<model::FramesRequest>(&*message)) {
      if (auto_answer) send(model::Frames{wanted->id, {"a frame"}});
    } else if (auto* whole = std::get_if<model::Snapshot>(&*message)) {
      snapshot = whole->snapshot;
      groups.clear();
      for (const auto& group : snapshot->groups) groups[group.arn] = group;
      applied(snapshot->generation);
    } else if (auto* update = std::get_if<model::GroupUpdate>(&*message)) {
      groups[update->group.arn] = update->group;
      applied(update->generation);
    } else if (auto* end = std::get_if<model::Shutdown>(&*message)) {
      journal_.add("lb shutdown");
      shutdown_ms = end->drain_ms;
      ended = true;
    }
  }
  void applied(uint64_t number) {
    generation = number;
    std::string draining;
    for (const auto& [arn, group] : groups) {
      for (const auto& target : group.targets) {
        if (target.draining) draining += " " + target.address;
      }
    }
    if (!acknowledge) return;
    journal_.add("lb applied draining" + draining);
    send(model::Applied{number});
    if (auto_health) report(model::TargetState::Healthy);
    if (auto_drain) drained();
  }

 public:
  void acknowledge_now() {
    acknowledge = true;
    applied(generation);
  }
  void drained() {
    for (const auto& [arn, group] : groups) {
      for (const auto& target : group.targets) {
        if (target.draining) send(model::Drained{arn, target.address, target.port});
      }
    }
  }

 private:
  net::Loop& loop_;
  Journal& journal_;
  int pid_;
  int listen_fd_;
};

class FakeProcesses final : public BalancerProcesses {
 public:
  FakeProcesses(net::Loop& loop, Journal& journal) : loop_(loop), journal_(journal) {}
  Result<BalancerProcess> start(const BalancerSpec& spec) override {
    int pid = next_pid_++;
    journal_.add("lb start " + std::to_string(pid) + " netns=" + spec.netns_path);
    commands.push_back(spec.command);
    living[pid] = std::make_unique<FakeBalancer>(loop_, journal_, spec.link_path, pid);
    living[pid]->acknowledge = acknowledge;
    living[pid]->auto_health = auto_health;
    pid_of_[spec.lock_path] = pid;
    return BalancerProcess{pid, -1};
  }
  Result<BalancerProcess> find(const BalancerSpec& spec) override {
    auto found = pid_of_.find(spec.lock_path);
    if (found == pid_of_.end() || !alive({found->second, -1})) return BalancerProcess{};
    return BalancerProcess{found->second, -1};
  }
  bool alive(const BalancerProcess& process) override {
    auto found = living.find(process.pid);
    return found != living.end() && !found->second->ended;
  }
  void kill(const BalancerProcess& process, int) override {
    journal_.add("lb kill " + std::to_string(process.pid));
    living.erase(process.pid);
  }
  void release(BalancerProcess& process) override { process = {}; }
  FakeBalancer& only() {
    for (auto& [pid, balancer] : living) {
      if (!balancer->ended) return *balancer;
    }
    std::abort();
  }
  void crash() { living.clear(); }

  std::map<int, std::unique_ptr<FakeBalancer>> living;
  std::vector<std::vector<std::string>> commands;
  bool acknowledge = true;
  bool auto_health = true;

 private:
  net::Loop& loop_;
  Journal& journal_;
  std::map<std::string, int> pid_of_;
  int next_pid_ = 1000;
};

}  // namespace weir::control
