#include "proxy/deadline_wheel.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/random.h"

namespace weir::proxy {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

class DeadlineWheelTest : public testing::Test {
 protected:
  uint32_t add(TimePoint due) {
    uint32_t index = exchanges_.emplace().index;
    wheel_.set(index, due);
    due_[index] = due;
    return index;
  }
  void change(uint32_t index, TimePoint due) {
    wheel_.set(index, due);
    due_[index] = due;
  }
  void take_back(uint32_t index) {
    wheel_.clear(index);
    due_.erase(index);
  }
  // Advances and checks: never early, never more than a slot late (as seen by calls at least a slot apart).
  int advance(TimePoint now) {
    int fired = 0;
    wheel_.advance(now, [&](uint32_t index) {
      ++fired;
      ASSERT_TRUE(due_.contains(index)) << "fired although taken back or fired before";
      EXPECT_LE(due_[index], now) << "early";
      due_.erase(index);
    });
    for (auto [index, due] : due_) EXPECT_GT(due, now - DeadlineWheel::kSlot) << "late: " << index;
    return fired;
  }

  Slab<Exchange> exchanges_;
  DeadlineWheel wheel_{exchanges_};
  std::map<uint32_t, TimePoint> due_;
  TimePoint now_{hours(1000)};
};

TEST_F(DeadlineWheelTest, FiresAtMostASlotLateAndNeverEarly) {
  add(now_ + milliseconds(100));
  EXPECT_EQ(advance(now_ + milliseconds(99)), 0);
  EXPECT_EQ(advance(now_ + milliseconds(116)), 1);
  EXPECT_TRUE(wheel_.empty());
}

TEST_F(DeadlineWheelTest, WhatIsDueAlreadyFiresAtTheNextAdvance) {
  advance(now_);
  add(now_ - seconds(5));
  add(now_);
  EXPECT_EQ(advance(now_ + DeadlineWheel::kSlot), 2);
}

TEST_F(DeadlineWheelTest, DeadlinesFarBeyondOneRoundWaitForTheirRound) {
  add(now_ + hours(24));
  add(now_ + seconds(66));
  TimePoint t = now_;
  int fired = 0;
  while (t < now_ + seconds(70)) fired += advance(t += milliseconds(16));
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(advance(now_ + hours(24) - milliseconds(1)), 0);
  EXPECT_EQ(advance(now_ + hours(24) + milliseconds(16)), 1);
}

TEST_F(DeadlineWheelTest, ASleepOfManyRoundsLosesNothing) {
  advance(now_);
  for (int i = 0; i < 5000; ++i) add(now_ + milliseconds(37 * i));
  EXPECT_EQ(advance(now_ + hours(3)), 5000);
  EXPECT_TRUE(wheel_.empty());
}

TEST_F(DeadlineWheelTest, AnEntryMaySetItselfAgainWhileItFires) {
  uint32_t index = add(now_ + milliseconds(10));
  int rounds = 0;
  for (int i = 1; i <= 100; ++i) {
    TimePoint t = now_ + milliseconds(20 * i);
    wheel_.advance(t, [&](uint32_t fired) {
      EXPECT_EQ(fired, index);
      ++rounds;
      wheel_.set(index, t + milliseconds(1));
    });
  }
  EXPECT_GE(rounds, 50);
  EXPECT_FALSE(wheel_.empty());
}

TEST_F(DeadlineWheelTest, AnExchangeMayBeReleasedWhileItFires) {
  for (int i = 0; i < 10; ++i) add(now_ + milliseconds(10));
  int fired = 0;
  wheel_.advance(now_ + milliseconds(40), [&](uint32_t index) {
    ++fired;
    exchanges_.release(exchanges_.at(index));
  });
  EXPECT_EQ(fired, 10);
  EXPECT_EQ(exchanges_.size(), 0u);
}

TEST_F(DeadlineWheelTest, AgreesWithASortedReferenceUnderRandomUse) {
  Random random(1);
  std::vector<uint32_t> live;
  advance(now_);
  for (int step = 0; step < 20000; ++step) {
    auto ms = milliseconds(random.below(random.below(10) == 0 ? 400000 : 2000));
    switch (random.below(4)) {
      case 0:
      case 1:
        live.push_back(add(now_ + ms));
        break;
      case 2:
        if (live.empty()) break;
        if (uint32_t index = live[random.below(live.size())]; due_.contains(index)) change(index, now_ + ms);
        break;
      default:
        if (live.empty()) break;
        if (uint32_t index = live[random.below(live.size())]; due_.contains(index)) take_back(index);
    }
    if (random.below(5) == 0) now_ += milliseconds(random.below(1000) == 0 ? 100000 : random.below(40));
    advance(now_);
    if (HasFailure()) FAIL() << "at step " << step;
  }
  advance(now_ + seconds(500));
  EXPECT_TRUE(due_.empty());
  EXPECT_TRUE(wheel_.empty());
}

}  // namespace
}  // namespace weir::proxy
