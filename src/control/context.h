// What every reconciler works with. Made and owned by the Controller.
#pragma once

#include <functional>
#include <string>

#include "base/clock.h"
#include "base/random.h"
#include "control/health_view.h"
#include "control/jobs.h"
#include "control/options.h"
#include "control/topology.h"
#include "net/loop.h"
#include "runtime/driver.h"
#include "store/store.h"

namespace weir::control {

enum class Queue { Network, Balancer, Target, Task, Service };

struct Context {
  net::Loop& loop;
  const Clock& clock;
  Random& random;
  store::Store& store;
  runtime::NetworkDriver& network;
  runtime::ContainerDriver& containers;
  const ControllerOptions options;
  Jobs jobs;
  HealthView health;
  Topology topology;
  std::function<void(Queue, const std::string& key)> wake;
};

}  // namespace weir::control
