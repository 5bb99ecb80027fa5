#include "proxy/worker.h"

#include <malloc.h>

#include <algorithm>

#include "base/log.h"
#include "model/prometheus.h"

namespace weir::proxy {

namespace {
constexpr Duration kTick = std::chrono::seconds(1);
constexpr size_t kHeapTrimBytes = 1u << 20;    // so much free at once: the heap gives its pages back
constexpr uint32_t kResponseHeadersMax = 32u << 10;  // alb.md 4.8
constexpr size_t kStreamsPerConnection = 100;  // more of them open another connection, while there may be more
}

Worker::Worker(const WorkerOptions& options, const Clock& clock, Random random, WorkerLoad& load,
               WorkerEvents events, std::unique_ptr<net::Loop> loop)
    : options_(options),
      clock_(clock),
      random_(random),
      trace_ids_(Random(random_.next())),
      load_(load),
      events_(std::move(events)),
      loop_(std::move(loop)),
      wheel_(exchanges_),
      tick_timer_([this] { tick(); }),
      wheel_timer_([this] {
        wheel_.advance(now(), [this](uint32_t index) { on_wheel(index); });
        if (!wheel_.empty()) loop_->arm(wheel_timer_, now() + DeadlineWheel::kSlot);
      }),
      unix_seconds_(static_cast<uint32_t>(clock.unix_ms() / 1000)),
      snapshot_(std::make_shared<model::RoutingSnapshot>()),
      observer_(buffers_, Random(random_.next()), options.log_ring) {
  loop_->at_turn_end([this] { turn_end(); });
  loop_->arm(tick_timer_, loop_->now() + kTick);
}

Worker::~Worker() = default;

http::h2::ConnectionOptions Worker::downstream_options() const {
  http::h2::ConnectionOptions o;
  o.role = http::h2::Role::Server;
  o.max_concurrent_streams = snapshot_->client_streams_max;
  o.stream_window_bytes = options_.stream_window_bytes;
  o.connection_window_bytes = options_.connection_window_bytes;
  if (snapshot_->adaptive_windows) o.stream_window_bytes_max = options_.stream_window_bytes_max;
  o.growth_bytes_in_use_max = options_.buffered_bytes_max / 4;
  return o;
}

http::h2::ConnectionOptions Worker::upstream_options() const {
  http::h2::ConnectionOptions o = downstream_options();
  o.role = http::h2::Role::Client;
  o.hpack.list_bytes_max = kResponseHeadersMax;
  return o;
}

void Worker::add_client(int fd, ClientAddress client, const std::string& listener_arn) {
  auto found = listeners_.find(listener_arn);
  if (found == listeners_.end()) {  // accepted while the listener went away
    loop_->sockets().close(fd);
    load_.ended.fetch_add(1, std::memory_order_release);
    return;
  }
  Handle<Downstream> handle = downstreams_.emplace(*this, fd, std::move(client), found->second);
  downstreams_.resolve(handle)->begin(handle);
  ++counters_.connections_total;
  observer_.client_connection_opened();
}

void Worker::drain_all() {
  shutting_down_ = true;
  downstreams_.for_each([](Handle<Downstream>, Downstream& d) { d.drain(); });
}

// Streams stay on one connection while they can: those of a turn share its write.
Upstream* Worker::connection_to(Target& target, TargetHandle handle) {
  Upstream* current = upstreams_.resolve(target.current);
  if (current != nullptr && current->connection().stream_count() < target.current_streams_max &&
      current->usable(target.streams_known)) [[likely]] {
    return current;
  }
  Upstream* next = next_connection(target, handle);
  if (next == nullptr) return nullptr;
  size_t streams = next->connection().stream_count();
  target.current = next->self_;
  target.current_streams_max = kStreamsPerConnection + (streams < kStreamsPerConnection ? 0 : streams);
  return next;
}

// The emptiest one, or a new one when all are well filled and there may be more.
Upstream* Worker::next_connection(Target& target, TargetHandle handle) {
  Upstream* best = nullptr;
  int staying = 0;
  for (Handle<Upstream> h : target.connections) {
    Upstream* u = upstreams_.resolve(h);
    if (u == nullptr || u->leaves()) continue;
    ++staying;
    if (!u->usable(target.streams_known)) continue;
    if (best == nullptr || u->connection().stream_count() < best->connection().stream_count()) best = u;
  }
  if (best != nullptr && best->connection().stream_count() < kStreamsPerConnection) return best;
  if (staying >= options_.connections_per_target_max) return best;
  int fd = Upstream::open_socket(loop_->sockets(), target);
  if (fd < 0) {
    set_reachable(handle, false);
    return best;
  }
  Handle<Upstream> fresh = upstreams_.emplace(*this, fd, handle);
  Upstream& u = *upstreams_.resolve(fresh);
  u.begin(fresh);
  target.connections.push_back(fresh);
  observer_.target_connection_opened();
  return &u;
}

void Worker::turn_end() {
  for (TargetHandle handle : published_dirty_) {
    Target* t = targets_.resolve(handle);
    if (t == nullptr) continue;
    t->published_dirty = false;
    publish_outstanding(*t);
    if (t->outstanding == 0 && (t->draining || t->removed)) check_drained(handle, *t);
  }
  published_dirty_.clear();
  flush_dirty();
  for (Handle<Upstream> handle : closing_upstreams_) {
    Upstream* u = upstreams_.resolve(handle);
    if (u != nullptr && !u->dead() && u->connection().stream_count() == 0) u->over(http::h2::EndReason::Idle, "idle");
  }
  closing_upstreams_.clear();
  release_retired();
  handshakes_left_ = kHandshakesPerTurn;
  if (observer_.turn_end()) events_.logs_waiting();
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
  load_.ended.fetch_add(retired_downstreams_.size(), std::memory_order_release);
  retired_downstreams_.clear();
}

void Worker::tick() {
  TimePoint at = now();
  unix_seconds_ = static_cast<uint32_t>(clock_.unix_ms() / 1000);
  observer_.trace().set_now(at);
  rates_.tick(at);
  downstreams_.for_each([at](Handle<Downstream>, Downstream& d) { d.tick(at); });
  upstreams_.for_each([at](Handle<Upstream>, Upstream& u) { u.tick(at); });
  targets_.for_each([this, at](TargetHandle handle, Target& t) {
    if (t.draining && t.drain_deadline <= at && t.outstanding > 0) {
      // Those that said GOAWAY, too: they have left t.connections.
      upstreams_.for_each([handle](Handle<Upstream>, Upstream& u) {
        if (u.target() == handle && !u.dead()) u.over(http::h2::EndReason::Drained, "deregistration delay is over");
      });
    }
    if (t.unreachable && t.unreachable_until <= at) set_reachable(handle, true);
    if (t.draining || t.removed) check_drained(handle, t);
  });
  tick_balance(at);
  if (buffers_.bytes_in_use() > options_.buffered_bytes_max / 2) {
    downstreams_.for_each([](Handle<Downstream>, Downstream& d) { d.connection().shrink_windows(); });
    upstreams_.for_each([](Handle<Upstream>, Upstream& u) { u.connection().shrink_windows(); });
  }
  if (buffers_.trim() >= kHeapTrimBytes) malloc_trim(0);
  loop_->arm(tick_timer_, at + kTick);
}

void Worker::add_stats(model::Stats& out) {
  out.connections += downstreams_.size();
  out.connections_total += counters_.connections_total;
  out.streams += exchanges_.size();
  out.requests_total += counters_.requests;
  observer_.add_stats(out);
  model::add_metric(out.metrics, "ActiveConnectionCount", downstreams_.size() + upstreams_.size(), true);
  model::add_metric(out.metrics, "weir_streams", exchanges_.size(), true);
  model::add_metric(out.metrics, "weir_client_connections", downstreams_.size(), true);
  model::add_metric(out.metrics, "weir_retries_total", counters_.retries);
  model::add_metric(out.metrics, "weir_retries_by_policy_total", counters_.policy_retries);
  model::add_metric(out.metrics, "weir_streams_rebalanced_total", counters_.streams_moved);
  model::add_metric(out.metrics, "weir_tls_handshakes_total", counters_.tls_handshakes);
  model::add_metric(out.metrics, "weir_tls_resumed_total", counters_.tls_resumed);
  model::add_metric(out.metrics, "weir_buffered_bytes", buffers_.bytes_in_use(), true);
  targets_.for_each([&](TargetHandle, Target& t) {
    out.targets.push_back({t.group_arn, t.address, t.port, t.requests, t.failed, t.outstanding});
  });
}

}  // namespace weir::proxy
