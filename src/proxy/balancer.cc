#include "proxy/balancer.h"

namespace weir::proxy {

void refresh_routable(Group& group, Slab<Target>& targets) {
  group.routable.clear();
  for (bool healthy_only : {true, false}) {
    for (bool reachable_only : {true, false}) {
      for (TargetHandle handle : group.targets) {
        Target* t = targets.resolve(handle);
        if (t == nullptr || t->draining) continue;
        if (healthy_only && t->health != model::TargetState::Healthy) continue;
        if (!reachable_only || !t->unreachable) group.routable.push_back(handle);
      }
      if (!group.routable.empty()) return;
    }
  }
}

namespace {

uint64_t outstanding_of(const Target& t, int worker) {
  uint64_t sum = t.outstanding;
  for (int i = 0; i < kWorkersMax; ++i) {
    if (i != worker) sum += t.shared->cells[i].count.load(std::memory_order_relaxed);
  }
  return sum;
}

size_t least_outstanding(const Group& group, Slab<Target>& targets, int worker, size_t start,
                         TargetHandle avoid) {
  size_t n = group.routable.size();
  size_t best = start % n;
  uint64_t best_count = UINT64_MAX;
  for (size_t i = 0; i < n; ++i) {
    size_t index = (start + i) % n;  // ties go round
    if (group.routable[index] == avoid) continue;
    uint64_t count = outstanding_of(*targets.resolve(group.routable[index]), worker);
    if (count < best_count) {
      best = index;
      best_count = count;
    }
  }
  return best;
}

}  // namespace

Target* choose_target(Group& group, Slab<Target>& targets, int worker, Random& random, TargetHandle avoid,
                      TargetHandle& chosen) {
  size_t n = group.routable.size();
  if (n == 0) return nullptr;
  size_t index = 0;
  switch (group.algorithm) {
    case model::Algorithm::RoundRobin:
      index = group.cursor++ % n;
      break;
    case model::Algorithm::LeastOutstandingRequests:
      index = least_outstanding(group, targets, worker, group.cursor++, avoid);
      break;
    case model::Algorithm::WeightedRandom:
      index = random.below(n);
      break;
  }
  if (group.routable[index] == avoid && n > 1) index = (index + 1) % n;
  chosen = group.routable[index];
  return targets.resolve(chosen);
}

}  // namespace weir::proxy
