#include "control/controller.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "base/log.h"
#include "control/balancer_process.h"
#include "control/context.h"
#include "control/documents.h"
#include "control/load_balancer.h"
#include "control/network.h"
#include "control/service.h"
#include "control/targets.h"
#include "control/task.h"
#include "control/work_queue.h"

namespace weir::control {

namespace {
struct Waiting {  // a caller of when_deregistered()
  std::vector<std::string> targets;
  TimePoint until{};
  std::move_only_function<void(bool)> done;
};
}  // namespace

struct Controller::Impl {
  Impl(net::Loop& loop, const Clock& clock, Random& random, store::Store& store, runtime::NetworkDriver& driver,
       runtime::ContainerDriver& containers, net::BlockingPool& pool, ControllerOptions options,
       BalancerProcesses* given)
      : own_processes(given == nullptr ? make_balancer_processes() : nullptr),
        context{loop,  clock,      random,          store,           driver, containers, std::move(options),
                Jobs(pool), HealthView(store), Topology(store), {}},
        network(context),
        balancers(context, given != nullptr ? *given : *own_processes),
        targets(context, balancers),
        tasks(context, targets),
        services(context) {
    context.wake = [this](Queue queue, const std::string& key) {
      queues[static_cast<size_t>(queue)].wake(key);
      schedule(context.loop.now());
    };
    context.health.on_change = [this](const std::string& group) { services.health_changed(group); };
    context.health.in_use = [this](const std::string& group) { return !context.topology.balancer_of(group).empty(); };
    // The watch lives as long as the store; a Controller may not.
    store.watch([this, lives = alive](std::string_view kind, std::string_view id) {
      if (*lives) changed(std::string(kind), std::string(id));
    });
  }
  ~Impl() { *alive = false; }

  void schedule(TimePoint when) {
    if (turn.armed() && turn_at <= when) return;
    turn_at = when;
    context.loop.arm(turn, when);
  }
  void run();
  void changed(const std::string& kind, const std::string& id);
  void target_changed(const std::string& id);
  void task_changed(const std::string& id);
  void answer_waiting();
  void wake_everything();

  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  std::unique_ptr<BalancerProcesses> own_processes;
  Context context;
  NetworkReconciler network;
  LoadBalancers balancers;
  Targets targets;
  Tasks tasks;
  Services services;
  std::array<WorkQueue, 5> queues{
      WorkQueue("network", [this](const std::string& key) { return network.step(key); }),
      WorkQueue("balancer", [this](const std::string& key) { return balancers.step(key); }),
      WorkQueue("target", [this](const std::string& key) { return targets.step(key); }),
      WorkQueue("task", [this](const std::string& key) { return tasks.step(key); }),
      WorkQueue("service", [this](const std::string& key) { return services.step(key); })};
  std::vector<Waiting> waiting;
  bool started = false;
  TimePoint turn_at{};
  net::Timer turn{[this] { run(); }};
};

void Controller::Impl::run() {
  TimePoint now = context.loop.now();
  std::optional<TimePoint> next;
  for (WorkQueue& queue : queues) {
    auto when = queue.run(now);
    if (when && (!next || *when < *next)) next = when;
  }
  answer_waiting();
  for (const Waiting& one : waiting) {
    if (!next || one.until < *next) next = one.until;
  }
  // A step of a later queue may have woken an earlier one.
  if (std::any_of(queues.begin(), queues.end(), [](const WorkQueue& q) { return q.has_ready(); })) next = now;
  context.loop.disarm(turn);
  if (next) schedule(*next);
}

void Controller::Impl::changed(const std::string& kind, const std::string& id) {
  if (!started) return;
  if (kind == kind::kVpc) {
    network.vpc_changed(id);
  } else if (kind == kind::kNetworkInterface) {
    network.interface_changed(id);
    balancers.security_groups_changed();
  } else if (kind == kind::kSecurityGroup) {
    network.security_groups_changed();
    balancers.wake_all();
  } else if (kind == kind::kCertificate) {
    balancers.wake_all();
  } else if (kind == kind::kLoadBalancer) {
    context.wake(Queue::Balancer, id);
  } else if (kind == kind::kListener || kind == kind::kRule) {
    context.topology.invalidate();
    balancers.wake_all();
  } else if (kind == kind::kTargetGroup) {
    if (std::string arn = context.topology.balancer_of(id); !arn.empty()) context.wake(Queue::Balancer, arn);
  } else if (kind == kind::kTarget) {
    target_changed(id);
  } else if (kind == kind::kTask) {
    task_changed(id);
  } else if (kind == kind::kService) {
    context.wake(Queue::Service, id);
  }
}

void Controller::Impl::target_changed(const std::string& id) {
  std::string group = id.substr(0, id.find('|'));
  if (std::string arn = context.topology.balancer_of(group); !arn.empty()) context.wake(Queue::Balancer, arn);
  context.wake(Queue::Target, id);
  services.health_changed(group);
}

void Controller::Impl::task_changed(const std::string& id) {
  context.wake(Queue::Task, id);
  auto task = load(context.store, kind::kTask, id);
  std::string service = task ? text(weir_of(*task), "service") : "";
  if (!service.empty()) context.wake(Queue::Service, service);
}

void Controller::Impl::answer_waiting() {
  std::vector<Waiting> ready;
  for (size_t i = 0; i < waiting.size();) {
    std::erase_if(waiting[i].targets, [&](const std::string& id) { return targets.deregistration_applied(id); });
    if (!waiting[i].targets.empty() && context.loop.now() < waiting[i].until) {
      ++i;
      continue;
    }
    ready.push_back(std::move(waiting[i]));
    waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(i));
  }
  for (Waiting& one : ready) one.done(one.targets.empty());
}

void Controller::Impl::wake_everything() {
  auto each = [&](const char* kind, Queue queue, const char* prefix) {
    for (const auto& document : context.store.list(kind)) context.wake(queue, prefix + document.id);
  };
  each(kind::kVpc, Queue::Network, "vpc|");
  each(kind::kNetworkInterface, Queue::Network, "eni|");
  each(kind::kLoadBalancer, Queue::Balancer, "");
  each(kind::kTarget, Queue::Target, "");
  each(kind::kTask, Queue::Task, "");
  each(kind::kService, Queue::Service, "");
}

Controller::Controller(net::Loop& loop, const Clock& clock, Random& random, store::Store& store,
                       runtime::NetworkDriver& network, runtime::ContainerDriver& containers,
                       net::BlockingPool& pool, ControllerOptions options, BalancerProcesses* processes)
    : impl_(std::make_unique<Impl>(loop, clock, random, store, network, containers, pool, std::move(options),
                                   processes)) {}

Controller::~Controller() = default;

void Controller::start() {
  impl_->started = true;
  const std::string& folder = impl_->context.options.state_dir;
  for (const char* part : {"/lb", "/logs"}) mkdir((folder + part).c_str(), 0700);
  impl_->network.remove_leftovers();
  impl_->tasks.remove_leftovers();
  impl_->balancers.remove_leftovers();
  impl_->wake_everything();
}

std::vector<TargetHealthRow> Controller::target_health(const std::string& group_arn) const {
  return impl_->context.health.rows(group_arn);
}

bool Controller::deregistration_applied(const std::string& target_id) const {
  return impl_->targets.deregistration_applied(target_id);
}

void Controller::when_deregistered(std::vector<std::string> target_ids, std::move_only_function<void(bool)> done) {
  std::erase_if(target_ids, [&](const std::string& id) { return deregistration_applied(id); });
  if (target_ids.empty()) return done(true);
  TimePoint until = impl_->context.loop.now() + impl_->context.options.barrier_bound;
  impl_->waiting.push_back({std::move(target_ids), until, std::move(done)});
  impl_->schedule(until);
}

std::vector<Endpoint> Controller::endpoints(const std::string& load_balancer_arn) const {
  std::vector<Endpoint> out;
  for (const auto& s : impl_->balancers.sockets(load_balancer_arn)) {
    out.push_back({s.listener_arn, s.address, s.bound_port, s.vpc_side});
  }
  return out;
}

std::optional<model::Stats> Controller::stats(const std::string& load_balancer_arn) const {
  const model::Stats* stats = impl_->balancers.stats(load_balancer_arn);
  if (stats == nullptr) return std::nullopt;
  return *stats;
}

void Controller::streams(const std::string& load_balancer_arn, const model::StreamsRequest& request,
                         std::move_only_function<void(std::optional<model::Streams>)> done) {
  impl_->balancers.streams(load_balancer_arn, request, std::move(done));
}

void Controller::frames(const std::string& load_balancer_arn, const model::FramesRequest& request,
                        std::move_only_function<void(std::optional<model::Frames>)> done) {
  impl_->balancers.frames(load_balancer_arn, request, std::move(done));
}

int Controller::balancer_pid(const std::string& load_balancer_arn) const {
  return impl_->balancers.pid(load_balancer_arn);
}

bool Controller::quiescent() const {
  for (const WorkQueue& queue : impl_->queues) {
    if (queue.has_ready()) return false;
  }
  return impl_->context.jobs.in_flight() == 0 && impl_->balancers.settled();
}

}  // namespace weir::control
