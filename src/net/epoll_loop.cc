#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <mutex>
#include <set>
#include <vector>

#include "base/assert.h"
#include "net/loop.h"

namespace weir::net {

class EpollLoop final : public Loop {
 public:
  explicit EpollLoop(const Clock& clock) : Loop(now_), clock_(clock), now_(clock.now()) {
    epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
    wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    WEIR_ASSERT(epoll_fd_ >= 0 && wake_fd_ >= 0);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    WEIR_ASSERT(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event) == 0);
  }
  ~EpollLoop() override {
    for (Timer* timer : timers_) timer->loop_ = nullptr;
    close(wake_fd_);
    close(epoll_fd_);
  }

  void watch(int fd, uint32_t events, FdHandler* handler) override { control(EPOLL_CTL_ADD, fd, events, handler); }
  void rewatch(int fd, uint32_t events, FdHandler* handler) override {
    control(EPOLL_CTL_MOD, fd, events, handler);
  }
  void unwatch(int fd, FdHandler* handler) override {
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
    for (int i = 0; i < ready_count_; ++i) {
      if (ready_[i].data.ptr == handler) ready_[i].data.ptr = &gone_;
    }
  }

  void arm(Timer& timer, TimePoint due) override {
    if (timer.loop_ != nullptr) timers_.erase(&timer);
    timer.loop_ = this;
    timer.due_ = due;
    timer.sequence_ = ++sequence_;
    timers_.insert(&timer);
  }
  void disarm(Timer& timer) override {
    if (timer.loop_ == nullptr) return;
    timers_.erase(&timer);
    timer.loop_ = nullptr;
  }

  void post(std::move_only_function<void()> call) override {
    {
      std::lock_guard lock(mutex_);
      posted_.push_back(std::move(call));
    }
    wake();
  }
  void at_turn_end(std::function<void()> hook) override { hooks_.push_back(std::move(hook)); }
  void stop() override {
    stopping_.store(true, std::memory_order_release);
    wake();
  }

  void set_turn_gap(Duration gap) override { gap_ = gap; }

  void run() override {
    prctl(PR_SET_TIMERSLACK, kTimerSlackNs);  // of this thread; the default of 50 µs is as long as a gap
    while (!stopping_.load(std::memory_order_acquire)) turn();
  }

 private:
  struct Earlier {
    bool operator()(const Timer* a, const Timer* b) const {
      return a->due_ != b->due_ ? a->due_ < b->due_ : a->sequence_ < b->sequence_;
    }
  };
  static constexpr int kEventsMax = 256;
  static constexpr unsigned long kTimerSlackNs = 1000;

  void control(int operation, int fd, uint32_t events, FdHandler* handler) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = handler;
    WEIR_ASSERT(epoll_ctl(epoll_fd_, operation, fd, &event) == 0);
  }

  void wake() {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t written = write(wake_fd_, &one, sizeof one);
  }

  int timeout_ms() const {
    if (timers_.empty()) return -1;
    auto wait = (*timers_.begin())->due_ - clock_.now();
    if (wait <= Duration::zero()) return 0;
    auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
    return ms > 60000 ? 60000 : static_cast<int>(ms);
  }

  // Sleeps until the gap since the last turn's start is over.
  void keep_gap() {
    int64_t left = (now_ + gap_ - clock_.now()).count();
    if (left <= 0) return;
    timespec wait{0, static_cast<long>(left)};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, nullptr);
  }

  void turn() {
    if (gap_ > Duration::zero()) keep_gap();
    ready_count_ = epoll_wait(epoll_fd_, ready_, kEventsMax, timeout_ms());
    now_ = clock_.now();
    bool woken = false;
    for (int i = 0; i < ready_count_; ++i) {
      void* target = ready_[i].data.ptr;
      if (target == nullptr) {
        woken = true;
      } else if (target != &gone_) {
        static_cast<FdHandler*>(target)->on_ready(ready_[i].events);
      }
    }
    ready_count_ = 0;
    run_timers();
    if (woken) run_posted();
    for (auto& hook : hooks_) hook();
  }

  void run_timers() {
    while (!timers_.empty() && (*timers_.begin())->due_ <= now_) {
      Timer* timer = *timers_.begin();
      timers_.erase(timers_.begin());
      timer->loop_ = nullptr;
      timer->callback_();
    }
  }

  void run_posted() {
    uint64_t count = 0;
    [[maybe_unused]] ssize_t got = read(wake_fd_, &count, sizeof count);
    std::vector<std::move_only_function<void()>> calls;
    {
      std::lock_guard lock(mutex_);
      calls.swap(posted_);
    }
    for (auto& call : calls) call();
  }

  const Clock& clock_;
  TimePoint now_;
  Duration gap_{};
  int epoll_fd_;
  int wake_fd_;
  char gone_ = 0;  // its address marks events of handlers unwatched in this turn
  epoll_event ready_[kEventsMax];
  int ready_count_ = 0;
  std::set<Timer*, Earlier> timers_;
  uint64_t sequence_ = 0;
  std::vector<std::function<void()>> hooks_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<std::move_only_function<void()>> posted_;
};

void Timer::cancel() {
  if (loop_ != nullptr) loop_->disarm(*this);
}

std::unique_ptr<Loop> make_epoll_loop(const Clock& clock) { return std::make_unique<EpollLoop>(clock); }

}  // namespace weir::net
