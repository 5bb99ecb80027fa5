#include "control/scheduler.h"

#include <algorithm>
#include <map>

namespace weir::control {

namespace {

// Tasks that may be stopped without the number of healthy ones falling below the minimum.
class Stopper {
 public:
  Stopper(std::vector<const TaskView*> wanted, int64_t minimum) : wanted_(std::move(wanted)) {
    surplus_ = -minimum;
    for (const TaskView* task : wanted_) {
      if (task->healthy) ++surplus_;
      ++in_zone_[task->zone];
    }
  }

  bool stop(const TaskView* task, Plan& plan) {
    if (task->healthy) {
      if (surplus_ <= 0) return false;
      --surplus_;
    }
    --in_zone_[task->zone];
    std::erase(wanted_, task);
    plan.stop.push_back({task->arn, task->unhealthy});
    return true;
  }

  // Of the tasks that pass, the one to stop first: what serves nobody (unhealthy, then starting), then the
  // fullest zone, then the youngest, which holds the fewest long streams.
  template <class Passes>
  const TaskView* pick(Passes passes) const {
    const TaskView* best = nullptr;
    auto rank = [&](const TaskView* t) {
      int serves = t->unhealthy ? 0 : t->healthy ? 2 : 1;
      return std::tuple(serves, -in_zone_.at(t->zone), -t->created_ms, t->arn);
    };
    for (const TaskView* task : wanted_) {
      if (passes(*task) && (best == nullptr || rank(task) < rank(best))) best = task;
    }
    return best;
  }
  int64_t surplus() const { return surplus_; }
  const std::vector<const TaskView*>& wanted() const { return wanted_; }

 private:
  std::vector<const TaskView*> wanted_;
  int64_t surplus_ = 0;
  std::map<std::string, int> in_zone_;
};

int64_t count(const std::vector<const TaskView*>& tasks, bool (*passes)(const TaskView&)) {
  return std::count_if(tasks.begin(), tasks.end(), [&](const TaskView* t) { return passes(*t); });
}

// Old deployments go as far as the minimum allows; tasks that serve nobody go at once.
void stop_old(Stopper& stopper, Plan& plan) {
  while (const TaskView* task = stopper.pick([](const TaskView& t) { return !t.primary; })) {
    if (!stopper.stop(task, plan)) break;
  }
}

void stop_unhealthy(const ServiceView& service, Stopper& stopper, int64_t all, int64_t most, Plan& plan) {
  auto replaceable = [](const TaskView& t) { return t.primary && t.unhealthy; };
  // Start first: an unhealthy task goes when enough healthy ones stand beside it.
  int64_t healthy = count(stopper.wanted(), [](const TaskView& t) { return t.primary && t.healthy; });
  if (healthy >= service.desired) {
    while (const TaskView* task = stopper.pick(replaceable)) stopper.stop(task, plan);
    return;
  }
  // No room to start first: one goes, unless a task that was started in its place may still become healthy.
  int64_t hopeful =
      count(stopper.wanted(), [](const TaskView& t) { return t.primary && !t.healthy && !t.unhealthy; });
  if (all < most || hopeful > 0) return;
  if (const TaskView* task = stopper.pick(replaceable)) stopper.stop(task, plan);
}

}  // namespace

Plan plan_service(const ServiceView& service) {
  Plan plan;
  int64_t least = (service.desired * service.minimum_percent + 99) / 100;
  int64_t most = service.desired * service.maximum_percent / 100;
  std::vector<const TaskView*> wanted;
  for (const TaskView& task : service.tasks) {
    if (task.wanted) wanted.push_back(&task);
  }
  auto all = static_cast<int64_t>(service.tasks.size());
  int64_t primary = count(wanted, [](const TaskView& t) { return t.primary; });
  int64_t unhealthy = count(wanted, [](const TaskView& t) { return t.primary && t.unhealthy; });
  if (service.may_start) {
    int64_t missing = service.desired - primary;
    int64_t room = std::max<int64_t>(most - all, 0);
    plan.start = std::clamp<int64_t>(missing + unhealthy, 0, room);
    plan.replaced = std::clamp<int64_t>(plan.start - std::max<int64_t>(missing, 0), 0, unhealthy);
  }
  Stopper stopper(wanted, least);
  stop_old(stopper, plan);
  stop_unhealthy(service, stopper, all, most, plan);
  // Scale-in.
  while (true) {
    int64_t left = count(stopper.wanted(), [](const TaskView& t) { return t.primary && !t.unhealthy; });
    if (left <= service.desired) break;
    const TaskView* task = stopper.pick([](const TaskView& t) { return t.primary && !t.unhealthy; });
    if (task == nullptr || !stopper.stop(task, plan)) break;
  }
  bool others = std::any_of(wanted.begin(), wanted.end(), [](const TaskView* t) { return !t->primary; });
  int64_t healthy = count(wanted, [](const TaskView& t) { return t.primary && t.running && t.healthy; });
  plan.steady = !others && primary == service.desired && healthy == service.desired && plan.start == 0 &&
                plan.stop.empty();
  return plan;
}

}  // namespace weir::control
