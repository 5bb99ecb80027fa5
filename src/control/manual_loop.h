// For tests: an event loop and a clock that stand still until told to go on. Descriptors are real (poll).
#pragma once

#include <poll.h>
#include <sys/epoll.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "net/loop.h"

namespace weir::control {

class ManualClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  const TimePoint& time() const { return now_; }
  int64_t unix_ms() const override {
    return 1'763'850'000'000 + std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch()).count();
  }
  void advance(Duration d) { now_ += d; }

 private:
  TimePoint now_{std::chrono::hours(1)};
};

class ManualLoop final : public net::Loop {
 public:
  explicit ManualLoop(const ManualClock& clock) : Loop(clock.time()) {}
  ~ManualLoop() override {
    for (net::Timer* timer : timers_) loop_of(*timer) = nullptr;
  }

  void watch(int fd, uint32_t events, net::FdHandler* handler) override { watched_[fd] = {events, handler}; }
  void rewatch(int fd, uint32_t events, net::FdHandler* handler) override { watched_[fd] = {events, handler}; }
  void unwatch(int fd, net::FdHandler*) override { watched_.erase(fd); }
  void arm(net::Timer& timer, TimePoint due) override {
    disarm(timer);
    loop_of(timer) = this;
    due_of(timer) = due;
    timers_.push_back(&timer);
  }
  void disarm(net::Timer& timer) override {
    std::erase(timers_, &timer);
    loop_of(timer) = nullptr;
  }
  void post(std::move_only_function<void()> call) override {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(call));
    changed_.notify_all();
  }
  void at_turn_end(std::function<void()> hook) override { hooks_.push_back(std::move(hook)); }
  void set_turn_gap(Duration) override {}
  void stop() override {}
  void run() override {}

  // Runs what is due now: posted calls, ready descriptors, timers. False when there was nothing.
  bool turn() {
    bool worked = run_posted();
    worked |= run_ready();
    worked |= run_timers();
    for (auto& hook : hooks_) hook();
    return worked;
  }
  // Waits for another thread to post (a job of the pool); false after a second.
  bool wait_posted() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(1), [&] { return !posted_.empty(); });
  }
  std::optional<TimePoint> next_timer() {
    std::optional<TimePoint> next;
    for (net::Timer* timer : timers_) {
      if (!next || due_of(*timer) < *next) next = due_of(*timer);
    }
    return next;
  }

 private:
  struct Watched {
    uint32_t events;
    net::FdHandler* handler;
  };
  bool run_posted() {
    std::vector<std::move_only_function<void()>> calls;
    {
      std::lock_guard lock(mutex_);
      calls.swap(posted_);
    }
    for (auto& call : calls) call();
    return !calls.empty();
  }
  bool run_ready() {
    std::vector<pollfd> polls;
    for (const auto& [fd, watched] : watched_) {
      short events = static_cast<short>(watched.events & (EPOLLIN | EPOLLOUT));
      polls.push_back({fd, events, 0});
    }
    if (poll(polls.data(), polls.size(), 0) <= 0) return false;
    for (const pollfd& ready : polls) {
      auto found = watched_.find(ready.fd);  // a handler before may have unwatched it
      if (ready.revents != 0 && found != watched_.end()) {
        found->second.handler->on_ready(static_cast<uint32_t>(ready.revents));
      }
    }
    return true;
  }
  bool run_timers() {
    bool worked = false;
    while (true) {
      net::Timer* due = nullptr;
      for (net::Timer* timer : timers_) {
        if (due_of(*timer) <= now() && (due == nullptr || due_of(*timer) < due_of(*due))) due = timer;
      }
      if (due == nullptr) return worked;
      disarm(*due);
      fire(*due);
      worked = true;
    }
  }

  std::map<int, Watched> watched_;
  std::vector<net::Timer*> timers_;
  std::vector<std::function<void()>> hooks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::move_only_function<void()>> posted_;
};

}  // namespace weir::control
