// Chooses a target for one request.
#pragma once

#include "base/random.h"
#include "proxy/target.h"

namespace weir::proxy {

// The target for the next request; nullptr when the group has none. `avoid`: a target that just failed this
// request; chosen only when there is no other. Does not allocate.
//   round_robin: in turn, from a cursor that each worker starts at a random place.
//   least_outstanding_requests: fewest in flight over all workers (others' counts are those of their last
//   turn). weighted_random: uniform over the routable targets.
Target* choose_target(Group& group, Slab<Target>& targets, int worker, Random& random, TargetHandle avoid,
                      TargetHandle& chosen);

}  // namespace weir::proxy
