#include "proxy/slow_start.h"

#include <gtest/gtest.h>

namespace weir::proxy {
namespace {

using std::chrono::seconds;

TimePoint at_s(int s) { return TimePoint(seconds(5000 + s)); }

struct World {
  Slab<Target> targets;
  Group group;
  World() { group.slow_start_ms = 100000; }
  TargetHandle add(model::TargetState health = model::TargetState::Healthy) {
    TargetHandle h = targets.emplace();
    targets.resolve(h)->health = health;
    group.targets.push_back(h);
    return h;
  }
  Target& at(TargetHandle h) { return *targets.resolve(h); }
  void rise(TargetHandle h, int now_s) {
    at(h).health = model::TargetState::Healthy;
    enter_slow_start(group, targets, h, at_s(now_s));
  }
};

TEST(SlowStart, GrowsLinearlyToTheWholeShare) {
  World w;
  w.add();
  TargetHandle fresh = w.add(model::TargetState::Initial);
  w.rise(fresh, 0);
  EXPECT_EQ(w.at(fresh).share, 10u);  // the first of a hundred seconds
  for (auto [second, share] : {std::pair{1, 20u}, {49, 500u}, {98, 990u}, {99, 1000u}}) {
    advance_slow_start(w.group, w.targets, at_s(second));
    EXPECT_EQ(w.at(fresh).share, share) << second;
  }
  EXPECT_EQ(w.at(fresh).ramp_start, TimePoint{});
  EXPECT_FALSE(advance_slow_start(w.group, w.targets, at_s(100)));
}

TEST(SlowStart, NeedsAnotherHealthyTargetWithItsWholeShare) {
  World w;
  TargetHandle first = w.add(model::TargetState::Initial);
  w.add(model::TargetState::Unhealthy);
  w.rise(first, 0);
  EXPECT_EQ(w.at(first).share, kWholeShare);
  TargetHandle second = w.add(model::TargetState::Initial);
  w.rise(second, 0);
  EXPECT_LT(w.at(second).share, kWholeShare);
  w.at(first).health = model::TargetState::Unhealthy;
  TargetHandle third = w.add(model::TargetState::Initial);
  w.rise(third, 1);  // the only healthy one beside it still ramps
  EXPECT_EQ(w.at(third).share, kWholeShare);
}

TEST(SlowStart, IsNotForTheFirstBatchButForItsTargetsWhenTheyComeBack) {
  World w;
  TargetHandle a = w.add(), b = w.add(model::TargetState::Initial);
  w.at(a).starts_whole = w.at(b).starts_whole = true;
  w.rise(b, 0);
  EXPECT_EQ(w.at(b).share, kWholeShare);
  w.at(b).health = model::TargetState::Unhealthy;
  w.rise(b, 10);
  EXPECT_LT(w.at(b).share, kWholeShare);
}

TEST(SlowStart, EndsWhenTheTargetIsNotHealthyAnyMoreOrTheGroupHasItOff) {
  for (int reason = 0; reason < 4; ++reason) {
    World w;
    w.add();
    TargetHandle fresh = w.add(model::TargetState::Initial);
    w.rise(fresh, 0);
    if (reason == 0) w.at(fresh).health = model::TargetState::Unhealthy;
    if (reason == 1) w.at(fresh).draining = true;
    if (reason == 2) w.group.slow_start_ms = 0;
    if (reason == 3) w.group.algorithm = model::Algorithm::LeastOutstandingRequests;
    w.group.routable_stale = false;
    EXPECT_TRUE(advance_slow_start(w.group, w.targets, at_s(1))) << reason;
    EXPECT_EQ(w.at(fresh).share, kWholeShare) << reason;
    EXPECT_TRUE(w.group.routable_stale) << reason;
  }
}

TEST(SlowStart, IsOffWithOtherAlgorithms) {
  World w;
  w.group.algorithm = model::Algorithm::WeightedRandom;
  w.add();
  TargetHandle fresh = w.add(model::TargetState::Initial);
  w.rise(fresh, 0);
  EXPECT_EQ(w.at(fresh).share, kWholeShare);
}

}  // namespace
}  // namespace weir::proxy
