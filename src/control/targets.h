// The end of a target's registration: a target with weir.deregistering_since is erased when its balancer
// says that nothing is outstanding on it (strict mode: only after the whole delay), when the
// deregistration delay is over, or when no balancer process lives. Control thread.
#pragma once

#include <string>

#include "control/context.h"
#include "control/load_balancer.h"
#include "control/work_queue.h"

namespace weir::control {

class Targets {
 public:
  Targets(Context& context, LoadBalancers& balancers) : context_(context), balancers_(balancers) {}
  StepResult step(const std::string& id);
  // See Controller::deregistration_applied.
  bool deregistration_applied(const std::string& id);

 private:
  Context& context_;
  LoadBalancers& balancers_;
};

}  // namespace weir::control
