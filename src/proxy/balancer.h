// Chooses a target for one request.
#pragma once

#include "base/random.h"
#include "proxy/target.h"

namespace weir::proxy {

struct Choice {
  Random& random;
  TimePoint now;              // of the turn: other workers' counts are looked at once per turn
  TargetHandle avoid;         // just failed this request: chosen only when there is no other
};

// The target for the next request; nullptr when the group has none. Does not allocate; the cost does not grow with
// the number of targets, save the walk of LoadIndex.
//   round_robin: in turn, from a cursor that each worker starts at a random place.
//   least_outstanding_requests: fewest in flight over all workers. This worker's own count is exact. Others' counts
//   are those of their last turn, as far as they were looked at: kLooksPerTurn targets per turn, and the chosen one.
//   weighted_random: uniform over the routable targets.
//   Placement::Rate, with any algorithm: least load to be expected (rate.h), of all targets up to kRateChoices, above
//   that of so many random ones.
// Targets with less than a whole share (slow start, anomalies) get that share.
inline constexpr size_t kLooksPerTurn = 32;
inline constexpr size_t kRateChoices = 16;
Target* choose_target(Group& group, Slab<Target>& targets, const Choice& choice, TargetHandle& chosen);

// A request begins or ends on the target: own count and LoadIndex.
void count_outstanding(Group& group, Target& target, int change);
// Tells the other workers; once per turn in which the count changed. Nothing, while nobody chooses by it.
void publish_outstanding(Target& target);

}  // namespace weir::proxy
