// Wakes a task when one of its containers ends: a pidfd on the loop.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <functional>

#include "control/pidfd.h"
#include "control/task.h"

namespace weir::control {

class Tasks::ExitWatch final : public net::FdHandler {
 public:
  // pid is that of a container that the driver has just called running; should it have ended and the pid
  // belong to another process by now, the slow poll finds out.
  ExitWatch(net::Loop& loop, int pid, std::function<void()> on_exit)
      : loop_(loop), pidfd_(pidfd_open(pid, 0)), on_exit_(std::move(on_exit)) {
    if (pidfd_ >= 0) loop_.watch(pidfd_, EPOLLIN, this);
  }
  ~ExitWatch() { close_fd(); }
  ExitWatch(const ExitWatch&) = delete;
  ExitWatch& operator=(const ExitWatch&) = delete;
  bool active() const { return pidfd_ >= 0; }
  void on_ready(uint32_t) override {
    close_fd();
    on_exit_();
  }

 private:
  void close_fd() {
    if (pidfd_ < 0) return;
    loop_.unwatch(pidfd_, this);
    close(pidfd_);
    pidfd_ = -1;
  }
  net::Loop& loop_;
  int pidfd_;
  std::function<void()> on_exit_;
};

}  // namespace weir::control
