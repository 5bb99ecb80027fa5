#include "proxy/balancer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace weir::proxy {
namespace {

using model::Algorithm;
using model::TargetState;

// The targets of one group as one worker sees them.
struct View {
  explicit View(int worker_in, Algorithm algorithm) : worker(worker_in), random(static_cast<uint64_t>(worker_in) + 7) {
    group.algorithm = algorithm;
    group.counts_loads = algorithm == Algorithm::LeastOutstandingRequests;
  }
  TargetHandle add(std::shared_ptr<SharedTarget> shared = std::make_shared<SharedTarget>()) {
    TargetHandle handle = targets.emplace();
    Target& t = *targets.resolve(handle);
    t.health = TargetState::Healthy;
    t.shared = std::move(shared);
    t.counts_loads = group.counts_loads;
    group.targets.push_back(handle);
    refresh_routable(group, targets);
    return handle;
  }
  Target& at(TargetHandle handle) { return *targets.resolve(handle); }
  TargetHandle choose(TargetHandle avoid = {}) {
    TargetHandle chosen;
    turn += std::chrono::milliseconds(1);
    Target* t = choose_target(group, targets, {random, turn, avoid}, chosen);
    return t == nullptr ? TargetHandle{} : chosen;
  }
  void count(TargetHandle handle, int change) { count_outstanding(group, at(handle), change); }
  void publish(TargetHandle handle) { publish_outstanding(at(handle)); }

  int worker;
  TimePoint turn{};
  Random random;
  Slab<Target> targets;
  Group group;
};

TEST(Balancer, RoundRobinGivesEachTargetItsExactShare) {
  View view(0, Algorithm::RoundRobin);
  std::map<uint32_t, int> hits;
  for (int i = 0; i < 4; ++i) view.add();
  for (int i = 0; i < 10000; ++i) ++hits[view.choose().index];
  for (auto [index, count] : hits) EXPECT_EQ(count, 2500) << index;
}

TEST(Balancer, AnswersNothingForAGroupWithoutTargets) {
  View view(0, Algorithm::RoundRobin);
  EXPECT_FALSE(view.choose().valid());
}

TEST(Balancer, LeavesUnhealthyAndDrainingTargetsOut) {
  View view(0, Algorithm::RoundRobin);
  TargetHandle good = view.add(), sick = view.add(), leaving = view.add();
  view.at(sick).health = TargetState::Unhealthy;
  view.at(leaving).draining = true;
  refresh_routable(view.group, view.targets);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(view.choose(), good);
}

TEST(Balancer, PassesOverATargetThatJustRefusedAConnectionWhileOthersAreHealthy) {
  View view(0, Algorithm::RoundRobin);
  TargetHandle good = view.add(), dead = view.add();
  view.at(dead).unreachable = true;
  refresh_routable(view.group, view.targets);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(view.choose(), good);
  view.at(good).unreachable = true;
  refresh_routable(view.group, view.targets);
  EXPECT_EQ(view.group.routable.size(), 2u);
}

TEST(Balancer, FailsOpenToEveryTargetThatIsNotDrainingWhenNoneIsHealthy) {
  View view(0, Algorithm::RoundRobin);
  TargetHandle a = view.add(), b = view.add(), leaving = view.add();
  view.at(a).health = TargetState::Unhealthy;
  view.at(b).health = TargetState::Initial;
  view.at(leaving).draining = true;
  refresh_routable(view.group, view.targets);
  std::map<uint32_t, int> hits;
  for (int i = 0; i < 10; ++i) ++hits[view.choose().index];
  EXPECT_EQ(hits[a.index], 5);
  EXPECT_EQ(hits[b.index], 5);
  view.at(a).draining = view.at(b).draining = true;
  refresh_routable(view.group, view.targets);
  EXPECT_FALSE(view.choose().valid());
}

TEST(Balancer, AvoidsATargetThatJustFailedUnlessItIsTheOnlyOne) {
  for (Algorithm algorithm :
       {Algorithm::RoundRobin, Algorithm::LeastOutstandingRequests, Algorithm::WeightedRandom}) {
    View view(0, algorithm);
    TargetHandle a = view.add();
    EXPECT_EQ(view.choose(a), a);
    TargetHandle b = view.add();
    for (int i = 0; i < 50; ++i) EXPECT_EQ(view.choose(a), b);
  }
}

TEST(Balancer, LeastOutstandingPrefersTheTargetWithFewestRequestsInFlight) {
  View view(0, Algorithm::LeastOutstandingRequests);
  TargetHandle a = view.add(), b = view.add(), c = view.add();
  view.count(a, 5);
  view.count(b, 2);
  view.count(c, 4);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(view.choose(), b);
}

TEST(Balancer, LeastOutstandingCountsWhatOtherWorkersPublished) {
  View view(0, Algorithm::LeastOutstandingRequests);
  TargetHandle a = view.add(), b = view.add();
  view.at(a).shared->outstanding += 10;  // another worker's
  view.count(b, 3);
  view.publish(b);  // its own are not counted twice
  EXPECT_EQ(view.choose(), b);
}

TEST(Balancer, LeastOutstandingTiesGoRound) {
  View view(0, Algorithm::LeastOutstandingRequests);
  for (int i = 0; i < 4; ++i) view.add();
  std::map<uint32_t, int> hits;
  for (int i = 0; i < 400; ++i) ++hits[view.choose().index];
  for (auto [index, count] : hits) EXPECT_EQ(count, 100) << index;
}

TEST(Balancer, OthersForgetARequestWhenItsGroupNoLongerChoosesByLoad) {
  View view(0, Algorithm::LeastOutstandingRequests);
  TargetHandle a = view.add();
  view.count(a, 1);
  view.publish(a);
  EXPECT_EQ(view.at(a).shared->outstanding.load(), 1u);
  view.at(a).counts_loads = false;
  view.publish(a);
  EXPECT_EQ(view.at(a).shared->outstanding.load(), 0u);
  view.count(a, -1);
  view.publish(a);
  EXPECT_EQ(view.at(a).shared->outstanding.load(), 0u);
}

// DESIGN: max - min outstanding <= 2 x workers while workers publish after each turn of one request.
TEST(Balancer, LeastOutstandingStaysWithinTwiceTheNumberOfWorkers) {
  constexpr int kWorkers = 4;
  constexpr int kTargets = 5;
  std::vector<std::shared_ptr<SharedTarget>> shared;
  for (int i = 0; i < kTargets; ++i) shared.push_back(std::make_shared<SharedTarget>());
  std::vector<std::unique_ptr<View>> views;
  std::vector<std::vector<TargetHandle>> handles(kWorkers);
  std::vector<std::pair<int, int>> open;  // worker, target
  for (int w = 0; w < kWorkers; ++w) {
    views.push_back(std::make_unique<View>(w, Algorithm::LeastOutstandingRequests));
    for (auto& s : shared) handles[w].push_back(views[w]->add(s));
  }
  Random random(42);
  std::vector<uint32_t> totals(kTargets, 0);
  for (int step = 0; step < 20000; ++step) {
    // Every worker starts one request in the same turn, seeing only what was published before it.
    std::vector<std::pair<int, int>> started;
    for (int w = 0; w < kWorkers; ++w) {
      TargetHandle h = views[w]->choose();
      int target = static_cast<int>(std::find(handles[w].begin(), handles[w].end(), h) - handles[w].begin());
      views[w]->count(h, 1);
      ++totals[target];
      started.push_back({w, target});
    }
    for (auto [w, target] : started) views[w]->publish(handles[w][target]);
    open.insert(open.end(), started.begin(), started.end());
    auto [low, high] = std::minmax_element(totals.begin(), totals.end());
    ASSERT_LE(*high - *low, 2u * kWorkers) << "step " << step;
    // The oldest ones end, in order, so that ends disturb the balance by at most one turn.
    while (open.size() > 200) {
      auto [w, target] = open.front();
      open.erase(open.begin());
      views[w]->count(handles[w][target], -1);
      --totals[target];
      views[w]->publish(handles[w][target]);
    }
  }
}

TEST(Balancer, WeightedRandomIsNearlyUniform) {
  View view(0, Algorithm::WeightedRandom);
  std::map<uint32_t, int> hits;
  for (int i = 0; i < 4; ++i) view.add();
  for (int i = 0; i < 40000; ++i) ++hits[view.choose().index];
  for (auto [index, count] : hits) EXPECT_NEAR(count, 10000, 400) << index;
}

TEST(Balancer, LeastOutstandingIsExactForAThousandTargetsOfOneWorker) {
  View view(0, Algorithm::LeastOutstandingRequests);
  std::vector<TargetHandle> handles;
  for (int i = 0; i < 1000; ++i) handles.push_back(view.add());
  for (int i = 0; i < 5500; ++i) view.count(view.choose(), 1);
  uint32_t low = UINT32_MAX, high = 0;
  for (TargetHandle h : handles) {
    low = std::min(low, view.at(h).outstanding);
    high = std::max(high, view.at(h).outstanding);
  }
  EXPECT_EQ(low, 5u);
  EXPECT_EQ(high, 6u);
}

TEST(Balancer, LeastOutstandingCountsAnotherWorkersRequestsInAnyOfAThousandTargets) {
  View view(0, Algorithm::LeastOutstandingRequests);
  std::vector<TargetHandle> handles;
  for (int i = 0; i < 1000; ++i) handles.push_back(view.add());
  TargetHandle idle = handles[700];
  for (TargetHandle h : handles) view.at(h).shared->outstanding += h == idle ? 0 : 1000;
  int hits = 0;
  for (int i = 0; i < 300; ++i) {  // the others are looked at meanwhile
    TargetHandle h = view.choose();
    hits += h == idle;
    view.count(h, 1);
  }
  EXPECT_GT(hits, 200);
}

TEST(Balancer, RoundRobinIsNotShiftedBySecondTries) {
  View view(0, Algorithm::RoundRobin);
  TargetHandle bad = view.add(), good = view.add();
  std::map<uint32_t, int> first;
  for (int i = 0; i < 10; ++i) {
    TargetHandle h = view.choose();
    ++first[h.index];
    if (h != bad) continue;
    EXPECT_EQ(view.choose(bad), good);
  }
  EXPECT_EQ(first[bad.index], 5);
}

TEST(Balancer, ATargetWithAReducedShareGetsThatShare) {
  for (Algorithm algorithm : {Algorithm::RoundRobin, Algorithm::WeightedRandom}) {
    View view(0, algorithm);
    for (int i = 0; i < 3; ++i) view.add();
    TargetHandle reduced = view.add(), rare = view.add();
    view.at(reduced).share = 250;
    view.at(rare).share = 50;
    refresh_routable(view.group, view.targets);
    std::map<uint32_t, int> hits;
    for (int i = 0; i < 66000; ++i) ++hits[view.choose().index];
    EXPECT_NEAR(hits[0], 20000, 700);
    EXPECT_NEAR(hits[reduced.index], 5000, 400);
    EXPECT_NEAR(hits[rare.index], 1000, 200);
    EXPECT_EQ(view.choose(reduced) == reduced, false);
  }
}

TEST(Balancer, TargetsWithReducedSharesAreWholeWhenThereAreNoOthers) {
  View view(0, Algorithm::RoundRobin);
  TargetHandle a = view.add(), b = view.add();
  view.at(a).share = view.at(b).share = 10;
  refresh_routable(view.group, view.targets);
  EXPECT_EQ(view.group.routable.size(), 2u);
  EXPECT_NE(view.choose(), view.choose());
}

TEST(Balancer, FailsOpenBelowEitherThreshold) {
  struct Case {
    uint32_t count, percent;
    size_t routable;
  };
  for (Case c : {Case{1, 0, 2}, Case{2, 0, 2}, Case{3, 0, 4}, Case{1, 50, 2}, Case{1, 51, 4}, Case{9, 1, 4}}) {
    View view(0, Algorithm::RoundRobin);
    view.add(), view.add();
    view.at(view.add()).health = TargetState::Unhealthy;
    view.at(view.add()).health = TargetState::Initial;
    view.at(view.add()).draining = true;  // does not count at all
    view.group.healthy_count_min = c.count;
    view.group.healthy_percent_min = c.percent;
    refresh_routable(view.group, view.targets);
    EXPECT_EQ(view.group.routable.size(), c.routable) << c.count << " " << c.percent;
  }
}

TEST(Balancer, LeavesEjectedTargetsOutWhileOthersRemain) {
  View view(0, Algorithm::LeastOutstandingRequests);
  TargetHandle a = view.add(), b = view.add();
  view.at(a).ejected = true;
  refresh_routable(view.group, view.targets);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(view.choose(), b);
  view.at(b).draining = true;
  refresh_routable(view.group, view.targets);
  EXPECT_EQ(view.choose(), a);
}

TEST(Balancer, PlacementByRateTakesTheLeastExpectedLoadOfAllWorkers) {
  View view(0, Algorithm::RoundRobin);
  view.group.placement = model::Placement::Rate;
  TargetHandle a = view.add(), b = view.add(), c = view.add();
  view.at(a).rate.per_s = 100;
  view.at(b).shared->load_milli = 60000;  // another worker's
  view.at(c).rate.units = 400;            // since the last tick
  view.group.rates.expected_per_s = 30;
  std::map<uint32_t, int> hits;
  for (int i = 0; i < 3; ++i) ++hits[view.choose().index];
  EXPECT_EQ(hits[b.index], 2);  // 60, 90 with what it is expected to bring, then c has 80
  EXPECT_EQ(hits[c.index], 1);
  EXPECT_EQ(view.group.rates.placed, 3u);
}

TEST(Balancer, PlacementByRateSpreadsABurstAlthoughOneTargetHasAnsweredFirst) {
  View view(0, Algorithm::RoundRobin);
  view.group.placement = model::Placement::Rate;
  TargetHandle a = view.add(), b = view.add();
  view.at(a).rate.note(200);
  std::map<uint32_t, int> hits;
  for (int i = 0; i < 9; ++i) ++hits[view.choose().index];
  EXPECT_EQ(hits[a.index], 4);
  EXPECT_EQ(hits[b.index], 5);
}

TEST(Balancer, PlacementByRateOverManyTargetsAvoidsTheBusyOnes) {
  View view(0, Algorithm::RoundRobin);
  view.group.placement = model::Placement::Rate;
  for (int i = 0; i < 100; ++i) view.at(view.add()).rate.per_s = i < 50 ? 1000 : 0;
  int busy = 0;
  for (int i = 0; i < 50; ++i) busy += view.targets.resolve(view.choose())->rate.per_s > 0;
  EXPECT_EQ(busy, 0);
}

}  // namespace
}  // namespace weir::proxy
