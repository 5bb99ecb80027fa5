// Listener sockets of load balancers: which are wanted, binding, handing over.
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/balancer_state.h"
#include "control/documents.h"

namespace weir::control {

namespace {

uint16_t mapped_port(const Json& balancer, int64_t port) {
  const Json& map = member(weir_of(balancer), "port_map");
  return static_cast<uint16_t>(integer(map, std::to_string(port), port));
}

std::map<SocketKey, model::ListenerSocket> wanted_sockets(store::Store& store, const std::string& arn,
                                                          const Json& balancer,
                                                          const std::vector<std::string>& vpc_addresses) {
  std::map<SocketKey, model::ListenerSocket> wanted;
  auto add = [&](model::ListenerSocket socket) { wanted[key_of(socket)] = std::move(socket); };
  for (const auto& [listener, document] : load_where(store, kind::kListener, "LoadBalancerArn", arn)) {
    int64_t port = integer(document, "Port");
    add({listener, text(weir_of(balancer), "address"), mapped_port(balancer, port), false});
    for (const std::string& address : vpc_addresses) add({listener, address, static_cast<uint16_t>(port), true});
  }
  return wanted;
}

std::string bind_problem(const model::ListenerSocket& socket, const Error& error) {
  std::string port = std::to_string(socket.bound_port);
  std::string instead = port + "=" + std::to_string(socket.bound_port < 1024 ? socket.bound_port + 8000
                                                                             : socket.bound_port + 1000);
  std::string place = "port " + port + " on " + socket.address;
  if (socket.vpc_side) return place + " (in the VPC) cannot be opened: " + error.message;
  if (error.code == EADDRINUSE) return place + " is taken by another program; use --map " + instead;
  if (error.code == EACCES || error.code == EPERM) {
    return place + " needs more rights than this user has; use --map " + instead + " or run as root";
  }
  return place + " cannot be opened: " + error.message;
}

}  // namespace

void LoadBalancers::ensure_sockets(const std::string& arn, const Json& document, Balancer& b) {
  auto wanted = wanted_sockets(context_.store, arn, document, b.vpc_addresses);
  for (auto it = b.sockets.begin(); it != b.sockets.end();) {
    if (wanted.contains(it->first)) {
      ++it;
      continue;
    }
    if (it->second.announced) b.link->close_listener(it->second.socket);
    close(it->second.fd);
    it = b.sockets.erase(it);
  }
  std::erase_if(b.bind_errors, [&](const auto& error) { return !wanted.contains(error.first); });
  for (const auto& [key, socket] : wanted) {
    if (b.sockets.contains(key)) continue;
    if (socket.vpc_side) {
      bind_vpc_socket(arn, b, socket);
      continue;
    }
    auto fd = net::listen_tcp(socket.address, socket.bound_port);
    if (fd) {
      b.sockets[key] = {socket, *fd, false};
      b.bind_errors.erase(key);
    } else {
      b.bind_errors[key] = bind_problem(socket, fd.error());
    }
  }
}

void LoadBalancers::bind_vpc_socket(const std::string& arn, Balancer& b, const model::ListenerSocket& wanted) {
  std::string job = "listen|" + arn + "|" + wanted.listener_arn + "|" + wanted.address + "|" +
                    std::to_string(wanted.bound_port);
  if (context_.jobs.running(job)) return;
  if (auto error = context_.jobs.take_error(job)) {
    b.bind_jobs.erase(job);
    b.bind_errors[key_of(wanted)] = bind_problem(wanted, {0, *error});
    return;  // the requeue after a failure tries again
  }
  b.bind_jobs.insert(job);
  context_.jobs.run<int>(
      job,
      [driver = &context_.network, eni = b.primary_eni, wanted] {
        return driver->listen_in(eni, wanted.address, wanted.bound_port);
      },
      [this, arn, wanted, job](int fd) {
        Balancer& owner = balancer(arn);
        owner.bind_jobs.erase(job);
        owner.bind_errors.erase(key_of(wanted));
        auto [slot, added] = owner.sockets.try_emplace(key_of(wanted), Balancer::Open{wanted, fd, false});
        if (!added) close(fd);
      },
      [this, arn] { wake(arn); });
}

// A balancer hears of a socket only after the snapshot that explains its listener.
void LoadBalancers::announce_sockets(Balancer& b) {
  for (auto& [key, open] : b.sockets) {
    if (open.announced || !b.link->knows_listener(open.socket.listener_arn)) continue;
    b.link->open_listener(open.socket, open.fd);
    open.announced = true;
  }
}

void LoadBalancers::on_welcome(const std::string& arn, const model::Welcome& welcome, std::vector<int> fds) {
  Balancer& b = balancer(arn);
  for (size_t i = 0; i < fds.size(); ++i) {
    if (i >= welcome.listeners.size()) {
      close(fds[i]);
      continue;
    }
    auto [slot, added] = b.sockets.try_emplace(key_of(welcome.listeners[i]),
                                               Balancer::Open{welcome.listeners[i], fds[i], true});
    if (!added) close(fds[i]);
    slot->second.announced = true;
  }
  wake(arn);
}

std::vector<model::ListenerSocket> LoadBalancers::sockets(const std::string& arn) const {
  std::vector<model::ListenerSocket> out;
  auto found = balancers_.find(arn);
  if (found == balancers_.end()) return out;
  for (const auto& [key, open] : found->second->sockets) out.push_back(open.socket);
  return out;
}

}  // namespace weir::control
