#include "sim/loop.h"

#include <sys/epoll.h>

#include <utility>

#include "base/assert.h"

namespace weir::sim {

Loop::~Loop() {
  for (auto& [key, timer] : timers_) loop_of(*timer) = nullptr;
}

void Loop::watch(int fd, uint32_t events, net::FdHandler* handler) {
  WEIR_ASSERT(!watched_.contains(fd));
  watched_[fd] = {events, handler};
}

void Loop::rewatch(int fd, uint32_t events, net::FdHandler* handler) {
  auto found = watched_.find(fd);
  WEIR_ASSERT(found != watched_.end() && found->second.handler == handler);
  found->second.events = events;
  found->second.again = true;
}

void Loop::unwatch(int fd, net::FdHandler* handler) {
  watched_.erase(fd);
  for (Ready& r : ready_) {
    if (r.handler == handler) r.handler = nullptr;
  }
}

void Loop::arm(net::Timer& timer, TimePoint due) {
  disarm(timer);
  Key key{due, ++sequence_};
  loop_of(timer) = this;
  due_of(timer) = due;
  timers_[key] = &timer;
  keys_[&timer] = key;
}

void Loop::disarm(net::Timer& timer) {
  auto found = keys_.find(&timer);
  if (found == keys_.end()) return;
  timers_.erase(found->second);
  keys_.erase(found);
  loop_of(timer) = nullptr;
}

uint32_t Loop::events_of(int fd, const Watched& w) const {
  if ((w.events & EPOLLET) && !w.again && !network_.has_edge(fd)) return 0;
  return network_.readiness(fd) & (w.events | EPOLLERR | EPOLLHUP);
}

bool Loop::has_work() const {
  if (!posted_.empty()) return true;
  if (!timers_.empty() && timers_.begin()->first.due <= clock_.now()) return true;
  for (const auto& [fd, w] : watched_) {
    if (events_of(fd, w) != 0) return true;
  }
  return false;
}

std::optional<TimePoint> Loop::next_timer() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first.due;
}

void Loop::collect() {
  ready_.clear();
  for (auto& [fd, w] : watched_) {
    if (uint32_t events = events_of(fd, w); events != 0) ready_.push_back({w.handler, events});
    w.again = false;
    network_.take_edge(fd);
  }
  for (size_t i = ready_.size(); i > 1; --i) std::swap(ready_[i - 1], ready_[random_.below(i)]);
}

void Loop::turn() {
  now_ = clock_.now();
  collect();
  if (observer_ != nullptr) observer_->enter();
  for (size_t i = 0; i < ready_.size(); ++i) {
    if (ready_[i].handler != nullptr) ready_[i].handler->on_ready(ready_[i].events);
  }
  ready_.clear();
  while (!timers_.empty() && timers_.begin()->first.due <= now_) {
    net::Timer* timer = timers_.begin()->second;
    disarm(*timer);
    fire(*timer);
  }
  std::vector<std::move_only_function<void()>> calls;
  calls.swap(posted_);
  for (auto& call : calls) call();
  for (auto& hook : hooks_) hook();
  if (observer_ != nullptr) observer_->leave();
}

}  // namespace weir::sim
