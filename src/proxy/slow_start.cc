#include "proxy/slow_start.h"

#include <utility>

namespace weir::proxy {

namespace {
constexpr Duration kStep = std::chrono::seconds(1);  // the share of the step that begins

bool on(const Group& group) { return group.slow_start_ms > 0 && group.algorithm == model::Algorithm::RoundRobin; }

// In thousandths, at least one.
uint32_t share_at(const Group& group, const Target& t, TimePoint now) {
  if (t.ramp_start == TimePoint{}) return kWholeShare;
  Duration whole = std::chrono::milliseconds(group.slow_start_ms);
  Duration elapsed = now - t.ramp_start + kStep;
  if (elapsed >= whole) return kWholeShare;
  auto share = static_cast<uint32_t>(elapsed * kWholeShare / whole);
  return share == 0 ? 1 : share;
}
}  // namespace

void enter_slow_start(Group& group, Slab<Target>& targets, TargetHandle target, TimePoint now) {
  bool whole_once = std::exchange(targets.resolve(target)->starts_whole, false);
  if (!on(group) || whole_once) return;
  for (TargetHandle h : group.targets) {
    const Target& t = *targets.resolve(h);
    bool whole = !t.draining && t.health == model::TargetState::Healthy && t.ramp_start == TimePoint{};
    if (h == target || !whole) continue;
    Target& entering = *targets.resolve(target);
    entering.ramp_start = now;
    entering.share = share_at(group, entering, now);
    group.routable_stale = true;
    return;
  }
}

bool advance_slow_start(Group& group, Slab<Target>& targets, TimePoint now) {
  bool changed = false;
  for (TargetHandle h : group.targets) {
    Target& t = *targets.resolve(h);
    if (t.ramp_start == TimePoint{}) continue;
    bool stays = on(group) && !t.draining && t.health == model::TargetState::Healthy;
    uint32_t share = stays ? share_at(group, t, now) : kWholeShare;
    if (share == kWholeShare) t.ramp_start = {};
    changed |= share != t.share;
    t.share = share;
  }
  group.routable_stale |= changed;
  return changed;
}

}  // namespace weir::proxy
