#include "proxy/balancer.h"

#include <algorithm>

namespace weir::proxy {

namespace {

// Which targets may be chosen; see refresh_routable().
struct Filter {
  bool healthy, not_ejected, reachable;
  bool passes(const Target& t) const {
    return !t.draining && !(healthy && t.health != model::TargetState::Healthy) && !(not_ejected && t.ejected) &&
           !(reachable && t.unreachable);
  }
};

bool enough_healthy(const Group& group, Slab<Target>& targets) {
  size_t registered = 0;
  size_t healthy = 0;
  for (TargetHandle handle : group.targets) {
    const Target& t = *targets.resolve(handle);
    registered += !t.draining;
    healthy += !t.draining && t.health == model::TargetState::Healthy;
  }
  size_t least = std::max<size_t>(group.healthy_count_min, 1);
  return healthy >= least && healthy * 100 >= registered * group.healthy_percent_min;
}

bool fill(Group& group, Slab<Target>& targets, const Filter& filter) {
  uint32_t sum = 0;
  for (TargetHandle handle : group.targets) {
    const Target& t = *targets.resolve(handle);
    if (!filter.passes(t)) continue;
    if (t.share >= kWholeShare) {
      group.routable.push_back(handle);
    } else if (t.share > 0) {
      group.reduced.push_back({handle, sum += t.share});
    }
  }
  if (!group.routable.empty()) return true;
  for (const Group::Reduced& r : group.reduced) group.routable.push_back(r.target);  // nobody to compare with
  group.reduced.clear();
  return !group.routable.empty();
}

void look_at(Group& group, Target& t) {
  uint32_t elsewhere = t.shared->outstanding.load(std::memory_order_relaxed) - t.published;
  if (elsewhere == t.elsewhere) return;
  t.elsewhere = elsewhere;
  group.loads.set(t.slot, t.outstanding + elsewhere);
}

void look_around(Group& group, Slab<Target>& targets, TimePoint now) {
  if (group.looked_turn == now) return;
  group.looked_turn = now;
  size_t n = group.routable.size();
  for (size_t step = std::min(n, kLooksPerTurn); step > 0; --step) {
    if (++group.looked_at >= n) group.looked_at = 0;
    look_at(group, *targets.resolve(group.routable[group.looked_at]));
  }
}

size_t least_outstanding(Group& group, Slab<Target>& targets, const Choice& choice) {
  size_t n = group.routable.size();
  look_around(group, targets, choice.now);
  Target* avoided = targets.resolve(choice.avoid);
  bool skip = avoided != nullptr && avoided->slot < n && group.routable[avoided->slot] == choice.avoid;
  if (skip) group.loads.set(avoided->slot, UINT32_MAX);
  size_t start = group.cursor++ % n;  // ties go round
  size_t index = group.loads.least_from(start);
  for (int looks = 0; looks < 4 && n > kLooksPerTurn; ++looks) {  // its count may be old
    look_at(group, *targets.resolve(group.routable[index]));
    size_t again = group.loads.least_from(start);
    if (again == index) break;
    index = again;
  }
  if (skip) group.loads.set(avoided->slot, avoided->outstanding + avoided->elsewhere);
  return index;
}

double expected_load(const Target& t) {
  int64_t elsewhere = t.shared->load_milli.load(std::memory_order_relaxed) - t.rate.published_milli;
  return t.rate.load() + static_cast<double>(elsewhere) / 1000;
}

size_t least_rate(Group& group, Slab<Target>& targets, const Choice& choice) {
  size_t n = group.routable.size();
  size_t start = group.cursor++;
  size_t best = start % n;
  double best_load = -1;
  for (size_t i = 0; i < std::min(n, kRateChoices); ++i) {
    size_t index = n <= kRateChoices ? (start + i) % n : choice.random.below(n);
    if (group.routable[index] == choice.avoid) continue;
    double load = expected_load(*targets.resolve(group.routable[index]));
    if (best_load >= 0 && load >= best_load) continue;
    best = index;
    best_load = load;
  }
  Target& chosen = *targets.resolve(group.routable[best]);
  chosen.rate.place(group.rates.expected_per_s);
  ++group.rates.placed;
  return best;
}

// The one whose turn it is among those with less than a whole share; nullptr: one of the others.
const Group::Reduced* choose_reduced(Group& group, Random& random) {
  uint64_t reduced = group.reduced.back().share_through;
  uint64_t whole = group.routable.size() * uint64_t{kWholeShare};
  uint64_t at = 0;
  if (group.algorithm == model::Algorithm::RoundRobin) {
    group.reduced_credit += reduced;
    if (group.reduced_credit < whole + reduced) return nullptr;
    group.reduced_credit = std::min(group.reduced_credit - whole - reduced, whole + reduced);
    at = random.below(reduced);
  } else {
    at = random.below(whole + reduced);
    if (at < whole) return nullptr;
    at -= whole;
  }
  return &*std::upper_bound(group.reduced.begin(), group.reduced.end(), at,
                            [](uint64_t value, const Group::Reduced& r) { return value < r.share_through; });
}

size_t choose_by_algorithm(Group& group, Slab<Target>& targets, const Choice& choice) {
  if (group.placement == model::Placement::Rate) return least_rate(group, targets, choice);
  if (group.rebalance.moving) return least_outstanding(group, targets, choice);
  size_t n = group.routable.size();
  switch (group.algorithm) {
    case model::Algorithm::RoundRobin: break;
    case model::Algorithm::LeastOutstandingRequests: return least_outstanding(group, targets, choice);
    case model::Algorithm::WeightedRandom: return choice.random.below(n);
  }
  // A second try takes the turn that comes next, and leaves it to the next request, too: otherwise each failure would
  // shift the turns of all others.
  return choice.avoid.valid() ? group.cursor % n : group.cursor++ % n;
}

}  // namespace

void refresh_routable(Group& group, Slab<Target>& targets) {
  group.routable_stale = false;
  for (TargetHandle handle : group.targets) targets.resolve(handle)->slot = UINT32_MAX;
  group.routable.clear();
  group.reduced.clear();
  bool healthy = enough_healthy(group, targets);
  for (Filter filter : {Filter{healthy, true, true}, Filter{healthy, false, true}, Filter{healthy, false, false}}) {
    if (fill(group, targets, filter)) break;
  }
  if (group.counts_loads) group.loads.resize(group.routable.size());
  for (size_t i = 0; i < group.routable.size(); ++i) {
    Target& t = *targets.resolve(group.routable[i]);
    t.slot = static_cast<uint32_t>(i);
    if (!group.counts_loads) continue;
    t.elsewhere = t.shared->outstanding.load(std::memory_order_relaxed) - t.published;
    group.loads.set(i, t.outstanding + t.elsewhere);
  }
}

Target* choose_target(Group& group, Slab<Target>& targets, const Choice& choice, TargetHandle& chosen) {
  if (group.routable_stale) [[unlikely]] refresh_routable(group, targets);
  size_t n = group.routable.size();
  if (n == 0) return nullptr;
  if (!group.reduced.empty()) [[unlikely]] {
    const Group::Reduced* reduced = choose_reduced(group, choice.random);
    if (reduced != nullptr && reduced->target != choice.avoid) {
      chosen = reduced->target;
      return targets.resolve(chosen);
    }
  }
  size_t index = choose_by_algorithm(group, targets, choice);
  if (group.routable[index] == choice.avoid && n > 1) index = index + 1 == n ? 0 : index + 1;
  chosen = group.routable[index];
  return targets.resolve(chosen);
}

void count_outstanding(Group& group, Target& target, int change) {
  target.outstanding += static_cast<uint32_t>(change);
  if (group.counts_loads && target.slot != UINT32_MAX && !group.routable_stale) {
    group.loads.set(target.slot, target.outstanding + target.elsewhere);
  }
}

void publish_outstanding(Target& target) {
  uint32_t known = target.counts_loads ? target.outstanding : 0;
  if (target.published == known) return;
  target.shared->outstanding.fetch_add(known - target.published, std::memory_order_relaxed);
  target.published = known;
}

}  // namespace weir::proxy
