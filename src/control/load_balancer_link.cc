// What load balancers report, and their end.
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/balancer_state.h"
#include "control/documents.h"
#include "control/ecs_documents.h"

namespace weir::control {

namespace {
constexpr int kIdleReportsNeeded = 2;  // the first report may have been gathered before the acknowledgement

struct TargetName {
  std::string group;
  std::string address;
  uint16_t port = 0;
};
}  // namespace

BalancerLink::Events LoadBalancers::link_events(const std::string& arn) {
  return {.on_welcome = [this, arn](const auto& welcome, auto fds) { on_welcome(arn, welcome, std::move(fds)); },
          .on_applied =
              [this, arn] {
                wake(arn);
                wake_targets(arn);
              },
          .on_health = [this](const auto& health) { context_.health.update(health); },
          .on_drained = [this](const auto& drained) { on_drained(drained); },
          .on_stats = [this, arn](const auto& stats) { on_stats(arn, stats); },
          .on_streams = [this](const auto& streams) { queries_.on_streams(streams); },
          .on_frames = [this](const auto& frames) { queries_.on_frames(frames); },
          .on_close =
              [this, arn](const std::string& why) {
                log_info("balancer link closed arn=" + arn + " why=" + why);
                wake(arn);
              }};
}

void LoadBalancers::on_drained(const model::Drained& drained) {
  auto found = balancers_.find(context_.topology.balancer_of(drained.group_arn));
  if (found == balancers_.end() || !found->second->link) return;
  // A report about an earlier drain of a target that was registered again in between says nothing.
  if (!found->second->link->target_draining(drained.group_arn, drained.address, drained.port)) return;
  std::string id = target_id(drained.group_arn, drained.address, drained.port);
  auto target = load(context_.store, kind::kTarget, id);
  if (!target || !has(weir_of(*target), "deregistering_since")) return;
  (*target)["weir"]["drained"] = true;
  if (auto saved = save(context_.store, kind::kTarget, id, *target); !saved) log_error(saved.error().message);
}

// Counters tell the end of a drain too, for the case that the report itself was lost with our own restart.
void LoadBalancers::on_stats(const std::string& arn, const model::Stats& stats) {
  Balancer& b = balancer(arn);
  b.stats = stats;
  b.has_stats = true;
  if (!b.link || !b.link->settled()) return;
  std::map<std::string, uint64_t> outstanding;
  for (const auto& t : stats.targets) outstanding[target_id(t.group_arn, t.address, t.port)] += t.outstanding;
  std::map<std::string, int> idle;
  for (const std::string& group : context_.topology.groups_of(arn)) {
    for (const auto& [id, target] : load_where(context_.store, kind::kTarget, "TargetGroupArn", group)) {
      if (!has(weir_of(target), "deregistering_since") || flag(weir_of(target), "drained")) continue;
      auto count = outstanding.find(id);
      if (count != outstanding.end() && count->second != 0) continue;
      idle[id] = b.idle_reports[id] + 1;
      if (idle[id] < kIdleReportsNeeded) continue;
      on_drained({group, text(target, "Id"), static_cast<uint16_t>(integer(target, "Port"))});
    }
  }
  b.idle_reports = std::move(idle);
}

void LoadBalancers::wake_targets(const std::string& arn) {
  for (const std::string& group : context_.topology.groups_of(arn)) {
    for (const auto& [id, target] : load_where(context_.store, kind::kTarget, "TargetGroupArn", group)) {
      if (!has(weir_of(target), "deregistering_since")) continue;
      context_.wake(Queue::Target, id);
      if (std::string task = text(weir_of(target), "task"); !task.empty()) context_.wake(Queue::Task, task);
    }
  }
}

bool LoadBalancers::target_inactive(const std::string& group_arn, const std::string& address, uint16_t port) {
  if (dead(group_arn)) return true;
  auto found = balancers_.find(context_.topology.balancer_of(group_arn));
  return found != balancers_.end() && found->second->link &&
         found->second->link->target_inactive(group_arn, address, port);
}

bool LoadBalancers::dead(const std::string& group_arn) {
  std::string arn = context_.topology.balancer_of(group_arn);
  if (arn.empty() || !context_.store.get(kind::kLoadBalancer, arn)) return true;
  auto found = balancers_.find(arn);
  if (found == balancers_.end() || !found->second->looked_for) return false;  // one may live, not looked for yet
  const Balancer& b = *found->second;
  return b.process.pid == 0 || !processes_.alive(b.process);
}

bool LoadBalancers::settled() const {
  for (const auto& [arn, b] : balancers_) {
    if (b->process.pid == 0 || !b->link || !b->link->settled()) return false;
  }
  return true;
}

const model::Stats* LoadBalancers::stats(const std::string& arn) const {
  auto found = balancers_.find(arn);
  return found != balancers_.end() && found->second->has_stats ? &found->second->stats : nullptr;
}

void LoadBalancers::streams(const std::string& arn, model::StreamsRequest request,
                            BalancerQueries::Done<model::Streams> done) {
  auto found = balancers_.find(arn);
  if (found == balancers_.end() || !found->second->link || !found->second->link->welcomed()) return done(std::nullopt);
  request.id = queries_.wait_streams(std::move(done));
  if (request.id != 0) found->second->link->ask(request);
}

void LoadBalancers::frames(const std::string& arn, model::FramesRequest request,
                           BalancerQueries::Done<model::Frames> done) {
  auto found = balancers_.find(arn);
  if (found == balancers_.end() || !found->second->link || !found->second->link->welcomed()) return done(std::nullopt);
  request.id = queries_.wait_frames(std::move(done));
  if (request.id != 0) found->second->link->ask(request);
}

int LoadBalancers::pid(const std::string& arn) const {
  auto found = balancers_.find(arn);
  return found == balancers_.end() ? 0 : found->second->process.pid;
}

// Asks the process to drain and end, kills it when it does not. True when it is gone.
Result<bool> LoadBalancers::end_process(const std::string& arn, Balancer& b) {
  BalancerSpec spec = spec_of(arn, b.netns);
  if (b.process.pid == 0 && !b.looked_for) {
    WEIR_TRY_ASSIGN(BalancerProcess found, processes_.find(spec));
    b.looked_for = true;
    if (found.pid != 0) adopt(arn, b, found);
  }
  if (b.process.pid != 0 && !processes_.alive(b.process)) note_death(arn, b);
  if (b.process.pid == 0) return true;
  TimePoint now = context_.loop.now();
  if (!b.shutdown_at) b.shutdown_at = now;
  if (b.link && b.link->closed()) b.link.reset();
  if (!b.link && !b.shutdown_sent) {
    if (auto fd = net::connect_unix(spec.link_path)) {
      b.link = std::make_unique<BalancerLink>(context_.loop, *fd, b.generation, link_events(arn));
    }
  }
  if (b.link && !b.shutdown_sent) {
    auto drain = std::chrono::duration_cast<std::chrono::milliseconds>(context_.options.lb_shutdown_drain);
    b.link->shutdown(static_cast<uint32_t>(drain.count()));
    b.shutdown_sent = true;
  }
  if (now - *b.shutdown_at >= context_.options.lb_shutdown_drain + context_.options.lb_shutdown_bound && !b.killed) {
    log_warning("balancer killed pid=" + std::to_string(b.process.pid) + " arn=" + arn);
    processes_.kill(b.process, SIGKILL);
    b.killed = true;
  }
  return false;
}

Result<bool> LoadBalancers::remove_interfaces(const std::string& arn) {
  bool left = false;
  for (auto& [id, eni] : load_all(context_.store, kind::kNetworkInterface)) {
    if (text(weir_of(eni), "owner") != arn) continue;
    left = true;
    eni["weir"]["deleting"] = true;
    WEIR_TRY(save(context_.store, kind::kNetworkInterface, id, eni));
  }
  return !left;
}

StepResult LoadBalancers::remove(const std::string& arn) {
  constexpr Duration kLookAgain = std::chrono::milliseconds(200);
  Balancer& b = balancer(arn);
  auto ended = end_process(arn, b);
  if (!ended) return StepResult::failed(ended.error().message);
  for (auto& [key, open] : b.sockets) close(open.fd);  // the balancer closes its own when it shuts down
  b.sockets.clear();
  if (!*ended) return StepResult::requeue_after(kLookAgain);
  auto gone = remove_interfaces(arn);
  if (!gone) return StepResult::failed(gone.error().message);
  if (!*gone) return StepResult::done();  // woken when the last one is gone
  BalancerSpec spec = spec_of(arn, "");
  ::unlink(spec.link_path.c_str());
  ::unlink(spec.lock_path.c_str());
  wake_targets(arn);
  balancers_.erase(arn);
  if (auto erased = context_.store.erase(kind::kLoadBalancer, arn); !erased) {
    return StepResult::failed(erased.error().message);
  }
  return StepResult::done();
}

void LoadBalancers::remove_leftovers() {
  std::set<std::string> known;
  for (const auto& document : context_.store.list(kind::kLoadBalancer)) known.insert(last_part(document.id));
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(context_.options.state_dir + "/lb", ignored)) {
    if (file.path().extension() != ".lock" || known.contains(file.path().stem().string())) continue;
    // A name that ends like an ARN is all that remove() needs.
    std::string arn = "leftover/" + file.path().stem().string();
    balancer(arn);
    wake(arn);
  }
}

}  // namespace weir::control
