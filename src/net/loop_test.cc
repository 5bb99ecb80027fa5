#include "net/loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "net/blocking_pool.h"

namespace weir::net {
namespace {

using std::chrono::milliseconds;

class ManualClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  int64_t unix_ms() const override { return 0; }
  TimePoint now_{std::chrono::seconds(100)};
};

// Runs one turn: what was posted before it, and everything that is due.
void turn(Loop& loop) {
  loop.post([&loop] { loop.stop(); });
  loop.run();
}

class Counter final : public FdHandler {
 public:
  explicit Counter(std::function<void()> action = {}) : action_(std::move(action)) {}
  void on_ready(uint32_t) override {
    ++calls;
    if (action_) action_();
  }
  int calls = 0;

 private:
  std::function<void()> action_;
};

// An eventfd that is readable from the start.
class ReadyFd {
 public:
  ReadyFd() : fd_(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~ReadyFd() { close(fd_); }
  int get() const { return fd_; }

 private:
  int fd_;
};

TEST(Loop, RunsTimersInTheOrderOfTheirTimesAndEqualOnesInTheOrderOfArming) {
  ManualClock clock;
  auto loop = make_epoll_loop(clock);
  std::string order;
  Timer a([&] { order += 'a'; }), b([&] { order += 'b'; }), c([&] { order += 'c'; }), late([&] { order += 'l'; });
  loop->arm(late, clock.now() + milliseconds(11));
  loop->arm(b, clock.now() + milliseconds(10));
  loop->arm(c, clock.now() + milliseconds(10));
  loop->arm(a, clock.now() + milliseconds(5));
  clock.now_ += milliseconds(10);
  loop->post([&] { loop->stop(); });
  loop->run();
  EXPECT_EQ(order, "abc");
  EXPECT_TRUE(late.armed());
  EXPECT_FALSE(a.armed());
}

TEST(Loop, ATimerThatWasCancelledReArmedOrDestroyedFiresAccordingly) {
  ManualClock clock;
  auto loop = make_epoll_loop(clock);
  std::string order;
  Timer cancelled([&] { order += 'c'; }), moved([&] { order += 'm'; });
  {
    Timer destroyed([&] { order += 'd'; });
    loop->arm(destroyed, clock.now());
  }
  loop->arm(cancelled, clock.now());
  cancelled.cancel();
  loop->arm(moved, clock.now());
  loop->arm(moved, clock.now() + milliseconds(50));
  loop->post([&] { loop->stop(); });
  loop->run();
  EXPECT_EQ(order, "");
  EXPECT_TRUE(moved.armed());
}

TEST(Loop, ATimerMayArmItselfAgainAndCancelAnotherOneThatIsDue) {
  ManualClock clock;
  auto loop = make_epoll_loop(clock);
  int runs = 0;
  Timer victim([&] { FAIL() << "was cancelled before it ran"; });
  Timer* self = nullptr;
  Timer again([&] {
    ++runs;
    victim.cancel();
    loop->arm(*self, clock.now() + milliseconds(5));
  });
  self = &again;
  loop->arm(again, clock.now());
  loop->arm(victim, clock.now());
  loop->post([&] { loop->stop(); });
  loop->run();
  EXPECT_EQ(runs, 1);
  EXPECT_TRUE(again.armed());
}

TEST(Loop, PostedCallsRunInOrderAndWhatTheyPostRunsInALaterTurn) {
  ManualClock clock;
  auto loop = make_epoll_loop(clock);
  std::string order;
  int turns = 0;
  loop->at_turn_end([&] {
    ++turns;
    order += '|';
  });
  loop->post([&] {
    order += '1';
    loop->post([&] {
      order += '3';
      loop->stop();
    });
  });
  loop->post([&] { order += '2'; });
  loop->run();
  EXPECT_EQ(order, "12|3|");
}

TEST(Loop, RunsCallsPostedByOtherThreads) {
  SystemClock clock;
  auto loop = make_epoll_loop(clock);
  int seen = 0;
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) {
      loop->post([&] {
        if (++seen == 1000) loop->stop();
      });
    }
  });
  loop->run();
  other.join();
  EXPECT_EQ(seen, 1000);
}

TEST(Loop, DoesNotCallAHandlerThatWasUnwatchedEarlierInTheSameTurn) {
  ManualClock clock;
  auto loop = make_epoll_loop(clock);
  ReadyFd one, two;
  Counter* other_of_first = nullptr;
  Counter* other_of_second = nullptr;
  Counter first([&] { loop->unwatch(two.get(), other_of_first); });
  Counter second([&] { loop->unwatch(one.get(), other_of_second); });
  other_of_first = &second;
  other_of_second = &first;
  loop->watch(one.get(), EPOLLIN, &first);
  loop->watch(two.get(), EPOLLIN, &second);
  loop->post([&] { loop->stop(); });
  loop->run();
  EXPECT_EQ(first.calls + second.calls, 1);
  loop->unwatch(one.get(), &first);
  loop->unwatch(two.get(), &second);
}

TEST(Loop, AnEdgeTriggeredHandlerIsToldOnceAndAgainWhenItAsks) {
  ManualClock clock;
  auto loop = make_epoll_loop(clock);
  ReadyFd fd;
  Counter counter;
  std::vector<int> calls;  // turn by turn
  std::function<void()> look = [&] {
    calls.push_back(counter.calls);
    if (calls.size() == 2) loop->rewatch(fd.get(), EPOLLIN | EPOLLET, &counter);
    if (calls.size() == 4) loop->rewatch(fd.get(), EPOLLIN, &counter);
    if (calls.size() == 6) return loop->stop();
    loop->post([&] { look(); });
  };
  loop->watch(fd.get(), EPOLLIN | EPOLLET, &counter);
  loop->post([&] { look(); });
  loop->run();
  EXPECT_EQ(calls, (std::vector<int>{1, 1, 2, 2, 3, 4}));
  loop->unwatch(fd.get(), &counter);
}

TEST(Loop, AHandlerMayUnwatchAndDestroyItself) {
  ManualClock clock;
  auto loop = make_epoll_loop(clock);
  ReadyFd fd;
  std::unique_ptr<Counter> owned;
  owned = std::make_unique<Counter>([&] {
    loop->unwatch(fd.get(), owned.get());
    loop->post([&] { owned.reset(); });
  });
  loop->watch(fd.get(), EPOLLIN, owned.get());
  turn(*loop);
  loop->post([&] { loop->stop(); });
  EXPECT_TRUE(owned == nullptr || owned->calls == 1);
}

TEST(Loop, TimeStandsStillWithinATurn) {
  ManualClock clock;
  auto loop = make_epoll_loop(clock);
  TimePoint before, after;
  loop->post([&] {
    before = loop->now();
    clock.now_ += milliseconds(500);
    after = loop->now();
    loop->stop();
  });
  loop->run();
  EXPECT_EQ(before, after);
}

TEST(BlockingPool, RunsTheJobElsewhereAndItsCompletionOnTheLoop) {
  SystemClock clock;
  auto loop = make_epoll_loop(clock);
  BlockingPool pool(*loop, 2);
  std::thread::id job_thread, done_thread;
  pool.run([&] { job_thread = std::this_thread::get_id(); },
           [&] {
             done_thread = std::this_thread::get_id();
             loop->stop();
           });
  loop->run();
  EXPECT_EQ(done_thread, std::this_thread::get_id());
  EXPECT_NE(job_thread, std::this_thread::get_id());
}

TEST(BlockingPool, RunsQueuedJobsInOrderOnOneThread) {
  SystemClock clock;
  auto loop = make_epoll_loop(clock);
  BlockingPool pool(*loop, 1);
  std::string order;
  for (char c = 'a'; c <= 'e'; ++c) {
    pool.run([&order, c] { order += c; }, [&loop, c] {
      if (c == 'e') loop->stop();
    });
  }
  loop->run();
  EXPECT_EQ(order, "abcde");
}

TEST(BlockingPool, DropsCompletionsThatTheLoopHasNotRunWhenItIsDestroyed) {
  SystemClock clock;
  auto loop = make_epoll_loop(clock);
  std::atomic<bool> worked = false;
  bool told = false;
  {
    BlockingPool pool(*loop, 1);
    pool.run([&] { worked = true; }, [&] { told = true; });
    while (!worked) std::this_thread::yield();
    pool.run([] {}, [] {});
  }
  turn(*loop);
  EXPECT_FALSE(told);
}

}  // namespace
}  // namespace weir::net
