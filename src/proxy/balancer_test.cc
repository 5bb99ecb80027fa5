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
  }
  TargetHandle add(std::shared_ptr<SharedOutstanding> shared = std::make_shared<SharedOutstanding>()) {
    TargetHandle handle = targets.emplace();
    Target& t = *targets.resolve(handle);
    t.health = TargetState::Healthy;
    t.shared = std::move(shared);
    group.targets.push_back(handle);
    refresh_routable(group, targets);
    return handle;
  }
  Target& at(TargetHandle handle) { return *targets.resolve(handle); }
  TargetHandle choose(TargetHandle avoid = {}) {
    TargetHandle chosen;
    Target* t = choose_target(group, targets, worker, random, avoid, chosen);
    return t == nullptr ? TargetHandle{} : chosen;
  }
  void publish(TargetHandle handle) {
    at(handle).shared->cells[worker].count.store(at(handle).outstanding);
  }

  int worker;
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
  view.at(a).outstanding = 5;
  view.at(b).outstanding = 2;
  view.at(c).outstanding = 4;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(view.choose(), b);
}

TEST(Balancer, LeastOutstandingCountsWhatOtherWorkersPublished) {
  View view(0, Algorithm::LeastOutstandingRequests);
  TargetHandle a = view.add(), b = view.add();
  view.at(a).shared->cells[7].count = 10;
  view.at(b).outstanding = 3;
  view.at(b).shared->cells[0].count = 100;  // this worker's own cell is stale by design: not counted twice
  EXPECT_EQ(view.choose(), b);
}

TEST(Balancer, LeastOutstandingTiesGoRound) {
  View view(0, Algorithm::LeastOutstandingRequests);
  for (int i = 0; i < 4; ++i) view.add();
  std::map<uint32_t, int> hits;
  for (int i = 0; i < 400; ++i) ++hits[view.choose().index];
  for (auto [index, count] : hits) EXPECT_EQ(count, 100) << index;
}

// DESIGN: max - min outstanding <= 2 x workers while workers publish after each turn of one request.
TEST(Balancer, LeastOutstandingStaysWithinTwiceTheNumberOfWorkers) {
  constexpr int kWorkers = 4;
  constexpr int kTargets = 5;
  std::vector<std::shared_ptr<SharedOutstanding>> shared;
  for (int i = 0; i < kTargets; ++i) shared.push_back(std::make_shared<SharedOutstanding>());
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
      ++views[w]->at(h).outstanding;
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
      --views[w]->at(handles[w][target]).outstanding;
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

}  // namespace
}  // namespace weir::proxy
