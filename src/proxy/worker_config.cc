// Snapshots and health, applied in place: connections and streams of what stays are not touched.
#include <arpa/inet.h>

#include <algorithm>
#include <set>

#include "base/assert.h"
#include "base/log.h"
#include "proxy/worker.h"

namespace weir::proxy {

std::string target_key(const std::string& group_arn, const std::string& address, uint16_t port) {
  return group_arn + "|" + address + "|" + std::to_string(port);
}

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
}

void Worker::apply_group(const model::TargetGroup& group, const SharedByTarget& shared) {
  update_group(group, shared);
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
  group.protocol_version = config.protocol_version;
  group.algorithm = config.algorithm;
  std::vector<TargetHandle> before;
  before.swap(group.targets);
  for (const model::Target& t : config.targets) {
    auto same = [&](TargetHandle h) {
      const Target* known = targets_.resolve(h);
      return known->address == t.address && known->port == t.port;
    };
    auto found = std::find_if(before.begin(), before.end(), same);
    TargetHandle handle;
    if (found != before.end()) {
      handle = *found;
      before.erase(found);
    } else {
      handle = targets_.emplace();
      Target& fresh = *targets_.resolve(handle);
      fresh.group_arn = config.arn;
      fresh.address = t.address;
      fresh.port = t.port;
      fresh.health = t.last_state;
      auto counts = shared.find(target_key(config.arn, t.address, t.port));
      fresh.shared = counts != shared.end() ? counts->second : std::make_shared<SharedOutstanding>();
      if (!fill_address(fresh)) {
        log_error("target=" + t.address + " is not an IP address; ignored");
        targets_.release(handle);
        continue;
      }
    }
    update_target(*targets_.resolve(handle), t, config.deregistration_delay_ms);
    group.targets.push_back(handle);
  }
  for (TargetHandle gone : before) remove_target(gone);
  refresh_routable(group, targets_);
}

void Worker::update_target(Target& target, const model::Target& config, uint32_t delay_ms) {
  if (config.draining && !target.draining) {
    uint32_t left = delay_ms > config.drain_elapsed_ms ? delay_ms - config.drain_elapsed_ms : 0;
    target.drain_deadline = now() + std::chrono::milliseconds(left);
    target.drained_told = false;
  }
  target.draining = config.draining;
  if (target.draining) check_drained(target);
}

// The record stays while streams run to it; the last one's end releases it (check_drained).
void Worker::remove_target(TargetHandle handle) {
  Target& t = *targets_.resolve(handle);
  t.removed = true;
  if (!t.draining) t.drain_deadline = now();
  t.draining = true;
  check_drained(t);
}

void Worker::check_drained(Target& target) {
  if (target.outstanding > 0) return;
  for (Handle<Upstream> h : std::vector<Handle<Upstream>>(target.connections)) {
    if (Upstream* u = upstreams_.resolve(h)) u->close_when_idle();
  }
  if (target.draining && !target.drained_told) {
    target.drained_told = true;
    events_.drained(target.group_arn, target.address, target.port);
  }
  if (!target.removed || !target.connections.empty()) return;
  targets_.for_each([&](TargetHandle h, Target& t) {
    if (&t == &target) targets_.release(h);
  });
}

void Worker::set_reachable(TargetHandle handle, bool reachable) {
  Target* t = targets_.resolve(handle);
  if (t == nullptr) return;
  if (!reachable) t->unreachable_until = now() + kUnreachablePause;
  if (t->unreachable != reachable) return;
  t->unreachable = !reachable;
  auto found = group_by_arn_.find(t->group_arn);
  if (found != group_by_arn_.end()) refresh_routable(*groups_.resolve(found->second), targets_);
}

void Worker::set_health(const std::string& group_arn, const std::string& address, uint16_t port,
                        model::TargetState state) {
  auto found = group_by_arn_.find(group_arn);
  if (found == group_by_arn_.end()) return;
  Group& group = *groups_.resolve(found->second);
  for (TargetHandle h : group.targets) {
    Target* t = targets_.resolve(h);
    if (t->address == address && t->port == port) t->health = state;
  }
  refresh_routable(group, targets_);
}

}  // namespace weir::proxy
