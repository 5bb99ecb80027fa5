// Snapshots and health, applied in place: connections and streams of what stays are not touched.
#include <arpa/inet.h>

#include <map>
#include <set>

#include "base/assert.h"
#include "base/log.h"
#include "proxy/slow_start.h"
#include "proxy/worker.h"

namespace weir::proxy {

namespace {
constexpr Duration kUnreachablePause = std::chrono::seconds(1);

bool fill_address(Target& t) {
  auto* v4 = reinterpret_cast<sockaddr_in*>(&t.socket_address);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&t.socket_address);
  if (inet_pton(AF_INET, t.address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(t.port);
    t.socket_address_size = sizeof *v4;
    return true;
  }
  if (inet_pton(AF_INET6, t.address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(t.port);
    t.socket_address_size = sizeof *v6;
    return true;
  }
  return false;
}

}  // namespace

void Worker::apply(model::SnapshotPtr snapshot, const TlsByListener& tls, const SharedByTarget& shared) {
  snapshot_ = std::move(snapshot);
  observer_.configure(*snapshot_);
  std::set<std::string> kept;
  for (const model::Listener& l : snapshot_->listeners) {
    kept.insert(l.arn);
    auto& state = listeners_[l.arn];
    if (state == nullptr) state = std::make_shared<ListenerState>();
    state->config = l;
    auto found = tls.find(l.arn);
    state->tls = found == tls.end() ? nullptr : found->second;
  }
  for (auto it = listeners_.begin(); it != listeners_.end();) {
    if (kept.contains(it->first)) {
      ++it;
      continue;
    }
    it->second->removed = true;  // its connections are drained by their next tick
    it = listeners_.erase(it);
  }
  std::set<std::string, std::less<>> groups_kept;
  for (const model::TargetGroup& g : snapshot_->groups) {
    groups_kept.insert(g.arn);
    update_group(g, shared);
  }
  for (auto it = group_by_arn_.begin(); it != group_by_arn_.end();) {
    if (groups_kept.contains(it->first)) {
      ++it;
      continue;
    }
    for (TargetHandle t : groups_.resolve(it->second)->targets) remove_target(t);
    groups_.release(it->second);
    it = group_by_arn_.erase(it);
  }
  compile_routers();
}

void Worker::apply_group(const model::TargetGroup& group, const SharedByTarget& shared) {
  bool known = group_by_arn_.contains(group.arn);
  update_group(group, shared);
  if (!known) compile_routers();
}

// Group handles and settings, as they are now. Running streams keep what they have begun with.
void Worker::compile_routers() {
  auto group_of = [this](const std::string& arn) {
    auto found = group_by_arn_.find(arn);
    return found == group_by_arn_.end() ? Handle<Group>{} : found->second;
  };
  for (auto& [arn, listener] : listeners_) {
    listener->router.compile(listener->config, group_of);
    listener->head.compile(*snapshot_, listener->config);
    listener->response.compile(listener->config, runs_);
  }
}

Group& Worker::group_for(const std::string& arn) {
  auto found = group_by_arn_.find(arn);
  if (found != group_by_arn_.end()) return *groups_.resolve(found->second);
  Handle<Group> handle = groups_.emplace();
  Group& g = *groups_.resolve(handle);
  g.arn = arn;
  g.cursor = random_.next() >> 1;  // workers start at different places
  group_by_arn_[arn] = handle;
  return g;
}

void Worker::update_group(const model::TargetGroup& config, const SharedByTarget& shared) {
  Group& group = group_for(config.arn);
  Handle<Group> group_handle = group_by_arn_.find(config.arn)->second;
  apply_settings(group, config);
  std::map<std::pair<std::string_view, uint16_t>, TargetHandle> before;  // the names are those of the records
  for (TargetHandle h : group.targets) {
    const Target& t = *targets_.resolve(h);
    before[{t.address, t.port}] = h;
  }
  bool grows = false;
  bool had_targets = !group.targets.empty();
  group.targets.clear();
  for (const model::Target& t : config.targets) {
    auto found = before.find({t.address, t.port});
    TargetHandle handle;
    if (found != before.end()) {
      handle = found->second;
      before.erase(found);
    } else {
      handle = targets_.emplace();
      Target& fresh = *targets_.resolve(handle);
      fresh.group = group_handle;
      fresh.starts_whole = !had_targets;
      grows |= had_targets && !t.draining && t.last_state == model::TargetState::Healthy;
      fresh.group_arn = config.arn;
      fresh.address = t.address;
      fresh.packed = config.arn + t.address;
      fresh.port = t.port;
      fresh.health = t.last_state;
      fresh.metrics = observer_.group_metrics(config.arn, t.zone);
      auto counts = shared.find(target_key(config.arn, t.address, t.port));
      fresh.shared = counts != shared.end() ? counts->second : std::make_shared<SharedTarget>();
      if (!fill_address(fresh)) {
        log_error("target=" + t.address + " is not an IP address; ignored");
        targets_.release(handle);
        continue;
      }
    }
    targets_.resolve(handle)->tls = config.tls;
    update_target(handle, t, config);
    group.targets.push_back(handle);
  }
  for (const auto& [name, gone] : before) remove_target(gone);
  advance_slow_start(group, targets_, now());
  group.routable_stale = true;
  if (grows) begin_rebalancing(group_handle);
}

void Worker::apply_settings(Group& group, const model::TargetGroup& config) {
  group.protocol_version = config.protocol_version;
  group.algorithm = config.algorithm;
  group.placement = config.placement;
  group.stream_idle_ms = config.stream_idle_ms;
  bool turned_on = group.slow_start_ms == 0 && config.slow_start_ms != 0;
  for (TargetHandle h : group.targets) {
    Target& t = *targets_.resolve(h);
    if (turned_on && t.health == model::TargetState::Initial) t.starts_whole = true;
  }
  group.slow_start_ms = config.slow_start_ms;
  group.healthy_count_min = config.healthy_count_min;
  group.healthy_percent_min = config.healthy_percent_min;
  group.retry = config.retry;
  auto workers = static_cast<uint32_t>(options_.workers);
  group.retry_budget.configure(config.retry.budget_percent, (RetryBudget::kFloorPerSecond + workers - 1) / workers);
  group.rebalance.config = config.rebalancing;
  if (!config.rebalancing.enabled) group.rebalance.moving = false;
  count_loads(group);
  bool outcomes = config.outlier.enabled || config.algorithm == model::Algorithm::WeightedRandom;
  group.concerns = static_cast<uint8_t>((outcomes ? kOutcome : 0) |
                                        (config.placement == model::Placement::Rate ? kRate : 0) |
                                        (config.rebalancing.enabled ? kTrack : 0) |
                                        (config.retry.grpc_codes != 0 ? kBudget : 0));
}

void Worker::update_target(TargetHandle handle, const model::Target& config, const model::TargetGroup& group) {
  Target& target = *targets_.resolve(handle);
  target.failure_codes = group.outlier.grpc_codes;
  target.failures_in_row_max = group.outlier.enabled ? group.outlier.consecutive_failures : 0;
  target.drain_whole_delay = !group.drain_ends_when_idle;
  target.counts_loads = groups_.resolve(target.group)->counts_loads;
  if (target.counts_loads || target.published != 0) note_outstanding(handle, target);  // what others know may change
  if (group.algorithm != model::Algorithm::WeightedRandom && target.ramp_start == TimePoint{}) {
    target.share = kWholeShare;
  }
  if (config.draining && !target.draining) {
    uint32_t delay_ms = group.deregistration_delay_ms;
    uint32_t left = delay_ms > config.drain_elapsed_ms ? delay_ms - config.drain_elapsed_ms : 0;
    target.drain_deadline = now() + std::chrono::milliseconds(left);
    target.drained_told = false;
  }
  target.draining = config.draining;
  if (target.draining) target.ejected = false;  // registered again it starts afresh
  if (target.draining) check_drained(handle, target);
}

// The record stays while streams run to it; the last one's end releases it (check_drained).
void Worker::remove_target(TargetHandle handle) {
  Target& t = *targets_.resolve(handle);
  t.removed = true;
  if (!t.draining) t.drain_deadline = now();
  t.draining = true;
  check_drained(handle, t);
}

void Worker::check_drained(TargetHandle handle, Target& target) {
  if (target.outstanding > 0) return;
  for (Handle<Upstream> h : target.connections) {
    if (Upstream* u = upstreams_.resolve(h)) u->close_when_idle();
  }
  bool may_end = !target.drain_whole_delay || target.removed || now() >= target.drain_deadline;
  if (target.draining && !target.drained_told && may_end) {
    target.drained_told = true;
    events_.drained(target.group_arn, target.address, target.port);
  }
  if (!target.removed || !target.connections.empty() || target.waiting_responses > 0) return;
  publish_outstanding(target);
  targets_.release(handle);
}

void Worker::set_reachable(TargetHandle handle, bool reachable) {
  Target* t = targets_.resolve(handle);
  if (t == nullptr) return;
  Group* group = groups_.resolve(t->group);
  if (!reachable) {
    t->unreachable_until = now() + kUnreachablePause;
    ++t->answered;
    ++t->failures;
  }
  if (t->unreachable != reachable) return;
  t->unreachable = !reachable;
  if (group != nullptr) group->routable_stale = true;
}

TargetHandle Worker::find_target(const TargetName& name) {
  auto found = group_by_arn_.find(name.group_arn);
  if (found == group_by_arn_.end()) return {};
  for (TargetHandle h : groups_.resolve(found->second)->targets) {
    const Target& t = *targets_.resolve(h);
    if (t.port == name.port && t.address == name.address) return h;
  }
  return {};
}

void Worker::set_standing(const TargetName& name, const Standing& standing) {
  Target* t = targets_.resolve(find_target(name));
  if (t == nullptr) return;
  if (standing.ejected) t->ejected = *standing.ejected;
  if (standing.share) t->share = *standing.share;
  if (Group* group = groups_.resolve(t->group)) group->routable_stale = true;
}

void Worker::set_health(const std::string& group_arn, const std::string& address, uint16_t port,
                        model::TargetState state) {
  TargetHandle handle = find_target({group_arn, address, port});
  Target* t = targets_.resolve(handle);
  if (t == nullptr) return;
  Group& group = *groups_.resolve(t->group);
  bool rises = state == model::TargetState::Healthy && t->health != state;
  t->health = state;
  group.routable_stale = true;
  if (rises) {
    enter_slow_start(group, targets_, handle, now());
    begin_rebalancing(t->group);
  } else {
    advance_slow_start(group, targets_, now());
  }
}

}  // namespace weir::proxy
