// The event loop: one per thread. A turn is: read the clock once, collect readiness, timers and posted
// calls, run them, then the turn-end hooks (flush what became dirty), then the turn ends.
//
// Handlers are borrowed: unwatch() before destroying one. Everything but post() and stop() belongs to the
// loop's thread. Handlers may watch, unwatch and set timers from inside callbacks; an unwatched handler is
// not called any more, not even for readiness collected before.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "net/sockets.h"

namespace weir::net {

class FdHandler {
 public:
  // events: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP as epoll(7) reports them.
  virtual void on_ready(uint32_t events) = 0;

 protected:
  ~FdHandler() = default;
};

class Loop;

// A timer is a member of its owner; destroying it cancels it. Not copyable, not movable.
class Timer {
 public:
  explicit Timer(std::function<void()> callback) : callback_(std::move(callback)) {}
  ~Timer() { cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  void cancel();
  bool armed() const { return loop_ != nullptr; }

 private:
  friend class Loop;
  friend class EpollLoop;
  std::function<void()> callback_;
  Loop* loop_ = nullptr;
  TimePoint due_{};
  uint64_t sequence_ = 0;
};

class Loop {
 public:
  virtual ~Loop() = default;
  // The world whose descriptors this loop watches.
  Sockets& sockets() const { return sockets_; }
  // Time of this turn; it stands still within a turn.
  TimePoint now() const { return now_; }
  // events: as those of epoll(7). With EPOLLET the handler is told once of what has come, and of what is there when
  // rewatch() is called, whether that changes something or not; nobody looks at the socket a second time then.
  virtual void watch(int fd, uint32_t events, FdHandler* handler) = 0;
  virtual void rewatch(int fd, uint32_t events, FdHandler* handler) = 0;
  virtual void unwatch(int fd, FdHandler* handler) = 0;
  // Arms (or re-arms) the timer; due at the first turn at or after `due`.
  virtual void arm(Timer& timer, TimePoint due) = 0;
  virtual void disarm(Timer& timer) = 0;
  // Runs `call` on the loop's thread in a later turn, in order of posting. Any thread.
  virtual void post(std::move_only_function<void()> call) = 0;
  // Called at the end of each turn, in order of adding; for the life of the loop.
  virtual void at_turn_end(std::function<void()> hook) = 0;
  // While it is not zero, turns start at least this long after one another; readiness collects meanwhile.
  // For some hundred microseconds at most: a wait is not cut short by anything.
  virtual void set_turn_gap(Duration gap) = 0;
  // run() returns after the current turn. Any thread; safe in a signal handler's self-pipe reader.
  virtual void stop() = 0;
  virtual void run() = 0;

 protected:
  // `now`: where the implementation keeps the time. Read often, so not behind a virtual call.
  explicit Loop(const TimePoint& now, Sockets& sockets = system_sockets()) : now_(now), sockets_(sockets) {}
  // For implementations: a timer's state belongs to the loop it is armed on.
  static Loop*& loop_of(Timer& timer) { return timer.loop_; }
  static TimePoint& due_of(Timer& timer) { return timer.due_; }
  static void fire(Timer& timer) { timer.callback_(); }

 private:
  const TimePoint& now_;
  Sockets& sockets_;
};

std::unique_ptr<Loop> make_epoll_loop(const Clock& clock);

}  // namespace weir::net
