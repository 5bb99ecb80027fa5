// Records of the main thread: workers and listening sockets. For load_balancer*.cc only.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include "proxy/limits.h"
#include "proxy/load_balancer.h"

namespace weir::proxy {

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

}  // namespace weir::proxy
