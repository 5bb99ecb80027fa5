#include "proxy/worker.h"

#include <unistd.h>

#include <algorithm>

#include "base/log.h"

namespace weir::proxy {

namespace {
constexpr Duration kTick = std::chrono::seconds(1);
constexpr size_t kStreamsPerConnection = 100;  // more of them open another connection, while there may be more
}

Worker::Worker(const WorkerOptions& options, const Clock& clock, Random random, WorkerLoad& load,
               WorkerEvents events)
    : options_(options),
      clock_(clock),
      random_(random),
      load_(load),
      events_(std::move(events)),
      loop_(net::make_epoll_loop(clock)),
      wheel_(exchanges_),
      tick_timer_([this] { tick(); }),
      wheel_timer_([this] {
        wheel_.advance(now(), [this](uint32_t index) { on_wheel(index); });
        if (!wheel_.empty()) loop_->arm(wheel_timer_, now() + DeadlineWheel::kSlot);
      }),
      unix_seconds_(static_cast<uint32_t>(clock.unix_ms() / 1000)),
      snapshot_(std::make_shared<model::RoutingSnapshot>()) {
  loop_->at_turn_end([this] { turn_end(); });
  loop_->arm(tick_timer_, loop_->now() + kTick);
}

Worker::~Worker() = default;

http::h2::ConnectionOptions Worker::downstream_options() const {
  http::h2::ConnectionOptions o;
  o.role = http::h2::Role::Server;
  o.max_concurrent_streams = options_.client_streams_max;
  o.stream_window_bytes = options_.stream_window_bytes;
  o.connection_window_bytes = options_.connection_window_bytes;
  return o;
}

http::h2::ConnectionOptions Worker::upstream_options() const {
  http::h2::ConnectionOptions o = downstream_options();
  o.role = http::h2::Role::Client;
  return o;
}

void Worker::add_client(int fd, std::string client_address, const std::string& listener_arn) {
  auto found = listeners_.find(listener_arn);
  if (found == listeners_.end()) {  // accepted while the listener went away
    close(fd);
    return;
  }
  Handle<Downstream> handle = downstreams_.emplace(*this, fd, std::move(client_address), found->second);
  downstreams_.resolve(handle)->begin(handle);
  ++counters_.connections_total;
  load_.connections.store(static_cast<uint32_t>(downstreams_.size()), std::memory_order_relaxed);
}

void Worker::drain_all() {
  downstreams_.for_each([](Handle<Downstream>, Downstream& d) { d.drain(); });
}

Upstream* Worker::connection_to(Target& target, TargetHandle handle) {
  Upstream* best = nullptr;
  for (Handle<Upstream> h : target.connections) {
    Upstream* u = upstreams_.resolve(h);
    if (u == nullptr || !u->usable(target.streams_known)) continue;
    if (best == nullptr || u->connection().stream_count() < best->connection().stream_count()) best = u;
  }
  if (best != nullptr && best->connection().stream_count() < kStreamsPerConnection) return best;
  if (target.connections.size() >= static_cast<size_t>(options_.connections_per_target_max)) return best;
  int fd = Upstream::open_socket(target);
  if (fd < 0) {
    set_reachable(handle, false);
    return best;
  }
  Handle<Upstream> fresh = upstreams_.emplace(*this, fd, handle);
  Upstream& u = *upstreams_.resolve(fresh);
  u.begin(fresh);
  target.connections.push_back(fresh);
  return &u;
}

void Worker::publish(Target& target) {
  target.shared->cells[options_.index].count.store(target.outstanding, std::memory_order_relaxed);
}

void Worker::turn_end() {
  for (TargetHandle handle : published_dirty_) {
    Target* t = targets_.resolve(handle);
    if (t == nullptr) continue;
    t->published_dirty = false;
    publish(*t);
    if (t->outstanding == 0 && (t->draining || t->removed)) check_drained(*t);
  }
  published_dirty_.clear();
  flush_dirty();
  for (Handle<Upstream> handle : closing_upstreams_) {
    Upstream* u = upstreams_.resolve(handle);
    if (u != nullptr && !u->dead() && u->connection().stream_count() == 0) u->on_over("idle");
  }
  closing_upstreams_.clear();
  release_retired();
  arena_.reset();
  loop_->set_turn_gap(pacer_.turn_end(now(), exchanges_.size()));
  if (!wheel_.empty() && !wheel_timer_.armed()) loop_->arm(wheel_timer_, now() + DeadlineWheel::kSlot);
}

// Flushing one connection may dirty others (credit returned, streams lost), so the lists are walked by index.
void Worker::flush_dirty() {
  for (size_t u = 0, d = 0; u < dirty_upstreams_.size() || d < dirty_downstreams_.size();) {
    if (u < dirty_upstreams_.size()) {
      if (Upstream* peer = upstreams_.resolve(dirty_upstreams_[u++])) peer->flush();
    } else if (Downstream* peer = downstreams_.resolve(dirty_downstreams_[d++])) {
      peer->flush();
    }
  }
  dirty_upstreams_.clear();
  dirty_downstreams_.clear();
}

void Worker::release_retired() {
  for (Handle<Upstream> handle : retired_upstreams_) upstreams_.release(handle);
  retired_upstreams_.clear();
  if (retired_downstreams_.empty()) return;
  for (Handle<Downstream> handle : retired_downstreams_) downstreams_.release(handle);
  retired_downstreams_.clear();
  load_.connections.store(static_cast<uint32_t>(downstreams_.size()), std::memory_order_relaxed);
}

void Worker::tick() {
  TimePoint at = now();
  unix_seconds_ = static_cast<uint32_t>(clock_.unix_ms() / 1000);
  downstreams_.for_each([at](Handle<Downstream>, Downstream& d) { d.tick(at); });
  upstreams_.for_each([at](Handle<Upstream>, Upstream& u) { u.tick(at); });
  targets_.for_each([this, at](TargetHandle handle, Target& t) {
    if (t.draining && t.drain_deadline <= at && t.outstanding > 0) {
      // Those that said GOAWAY, too: they have left t.connections.
      upstreams_.for_each([handle](Handle<Upstream>, Upstream& u) {
        if (u.target() == handle && !u.dead()) u.on_over("deregistration delay is over");
      });
    }
    if (t.unreachable && t.unreachable_until <= at) set_reachable(handle, true);
    if (t.draining || t.removed) check_drained(t);
  });
  loop_->arm(tick_timer_, at + kTick);
}

void Worker::add_stats(model::Stats& out) {
  out.connections += downstreams_.size();
  out.connections_total += counters_.connections_total;
  out.streams += exchanges_.size();
  out.requests_total += counters_.requests;
  targets_.for_each([&](TargetHandle, Target& t) {
    auto same = [&](const model::TargetStats& s) {
      return s.port == t.port && s.address == t.address && s.group_arn == t.group_arn;
    };
    auto found = std::find_if(out.targets.begin(), out.targets.end(), same);
    if (found == out.targets.end()) {
      out.targets.push_back({t.group_arn, t.address, t.port, 0, 0, 0});
      found = out.targets.end() - 1;
    }
    found->requests += t.requests;
    found->failed += t.failed;
    found->outstanding += t.outstanding;
  });
}

}  // namespace weir::proxy
