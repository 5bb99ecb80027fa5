// Slow start (alb.md 2.7): a target that has become healthy gets a share that grows linearly to the whole over the
// group's duration. round_robin only.
//
// A target enters when it becomes healthy while another healthy target of its group gets its whole share. The first
// batch of an empty group does not (Target::starts_whole), nor do targets that were there when slow start was turned
// on. It leaves when the time is over or when it is not healthy any more, and enters again when it comes back.
#pragma once

#include "proxy/target.h"

namespace weir::proxy {

// `target` has just become healthy.
void enter_slow_start(Group& group, Slab<Target>& targets, TargetHandle target, TimePoint now);
// Brings the shares up to date; once a second, and after what may end a ramp. True when one has changed.
bool advance_slow_start(Group& group, Slab<Target>& targets, TimePoint now);

}  // namespace weir::proxy
