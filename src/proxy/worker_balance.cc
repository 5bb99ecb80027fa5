// Load of targets as one worker counts it, and moving streams to targets that have become healthy.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/log.h"
#include "grpc/status.h"
#include "proxy/slow_start.h"
#include "proxy/worker.h"

namespace weir::proxy {

namespace {
constexpr Duration kCountsSettle = std::chrono::milliseconds(200);  // until other workers' counts are there
constexpr Duration kGiveUp = std::chrono::seconds(60);              // beyond the least age of streams that move
constexpr Duration kBack = std::chrono::seconds(2);  // until streams that were moved have been opened again
constexpr double kStepsPerSecondMax = 100;

http::Field field(std::string_view name, std::string_view value) {
  return {name, value, http::field_hash(name, value), http::token_of(name), false};
}
}  // namespace

void Worker::begin_on_target(Exchange& e, ExchangeHandle handle, Group& group, TargetHandle chosen) {
  Target& t = *targets_.resolve(chosen);
  e.target = chosen;
  ++t.requests;
  count_outstanding(group, t, 1);
  if (t.counts_loads) note_outstanding(chosen, t);
  if (group.concerns != 0) [[unlikely]] begin_concerns(e, handle, group, t);
}

void Worker::begin_concerns(Exchange& e, ExchangeHandle handle, Group& group, Target& target) {
  e.concerns = group.concerns;
  if ((group.concerns & kBudget) && e.attempts == 1) group.retry_budget.note_request(now());
  if ((group.concerns & kTrack) && e.is_grpc) e.track = tracks_.add(target.tracks, handle, now());
}

void Worker::end_on_target(Exchange& e) {
  Target* t = targets_.resolve(e.target);
  if (t != nullptr) {
    if (e.track.valid()) tracks_.remove(t->tracks, e.track);
    if (Group* group = t->counts_loads ? groups_.resolve(t->group) : nullptr) {
      count_outstanding(*group, *t, -1);
    } else {
      --t->outstanding;
    }
    if (t->counts_loads || t->draining) note_outstanding(e.target, *t);
  }
  e.track = {};
  e.target = {};
}

void Worker::note_outstanding(TargetHandle handle, Target& target) {
  if (target.published_dirty) return;
  target.published_dirty = true;
  published_dirty_.push_back(handle);
}

// Loads are counted while something is chosen by them.
void Worker::count_loads(Group& group) {
  bool wanted = group.algorithm == model::Algorithm::LeastOutstandingRequests || group.rebalance.moving;
  if (wanted == group.counts_loads) return;
  group.counts_loads = wanted;
  group.routable_stale |= wanted;
  for (TargetHandle h : group.targets) {
    Target& t = *targets_.resolve(h);
    t.counts_loads = wanted;
    note_outstanding(h, t);  // what others know changes
  }
}

void Worker::tick_balance(TimePoint at) {
  double elapsed_s = last_tick_ == TimePoint{} ? 1.0 : std::chrono::duration<double>(at - last_tick_).count();
  last_tick_ = at;
  groups_.for_each([&](Handle<Group>, Group& group) {
    if (group.slow_start_ms > 0) advance_slow_start(group, targets_, at);
    if (group.placement != model::Placement::Rate) return;
    double rate = 0;
    size_t open = 0;
    for (TargetHandle h : group.targets) {
      Target& t = *targets_.resolve(h);
      t.rate.tick(elapsed_s);
      rate += t.rate.per_s;
      open += t.outstanding;
      auto milli = static_cast<int64_t>(std::llround(double{t.rate.per_s} * 1000));
      if (options_.workers > 1 && milli != t.rate.published_milli) {
        t.shared->load_milli.fetch_add(milli - t.rate.published_milli, std::memory_order_relaxed);
        t.rate.published_milli = milli;
      }
    }
    group.rates.tick(elapsed_s, rate, open);
  });
}

void Worker::note_rate(const Exchange& e, size_t bytes) {
  if (Target* t = targets_.resolve(e.target)) t->rate.note(bytes);
}

bool Worker::leaves_at_boundary(Exchange& e, ExchangeHandle handle, std::span<const uint8_t> bytes, size_t boundary) {
  if (e.concerns & kRate) note_rate(e, bytes.size());
  if (!e.leaving || boundary == MessageCounter::kNone) [[likely]] return false;
  e.response_bytes += boundary;
  if (Downstream* down = downstreams_.resolve(e.down); down != nullptr && boundary > 0) {
    down->connection().send_data(e.down_stream, bytes.first(boundary), false);
  }
  move_away(e, handle);
  return true;
}

void Worker::begin_rebalancing(Handle<Group> handle) {
  Group& group = *groups_.resolve(handle);
  Rebalance& r = group.rebalance;
  if (!r.config.enabled) return;
  if (!r.moving) moving_groups_.push_back(handle);
  r.moving = true;
  count_loads(group);
  r.left = Rebalance::kNotCounted;
  r.next = now() + kCountsSettle;
  r.give_up = now() + std::chrono::milliseconds(r.config.age_ms_min) + kGiveUp;
  rebalance();
}

// The groups whose turn it is; the timer for the next one.
void Worker::rebalance() {
  for (Handle<Group> handle : moving_groups_) {
    Group* group = groups_.resolve(handle);
    if (group != nullptr && group->rebalance.moving && group->rebalance.next <= now()) rebalance_step(*group);
  }
  std::erase_if(moving_groups_, [this](Handle<Group> handle) {
    Group* group = groups_.resolve(handle);
    if (group != nullptr) count_loads(*group);
    return group == nullptr || !group->rebalance.moving;
  });
  TimePoint next = TimePoint::max();
  for (Handle<Group> handle : moving_groups_) next = std::min(next, groups_.resolve(handle)->rebalance.next);
  if (!moving_groups_.empty()) loop_->arm(rebalance_timer_, next);
}

void Worker::rebalance_step(Group& group) {
  Rebalance& r = group.rebalance;
  double per_second = std::max(1.0, static_cast<double>(r.config.streams_per_second)) / options_.workers;
  auto step = static_cast<uint32_t>(std::ceil(per_second / kStepsPerSecondMax));
  double mean_s = step / per_second;
  double jitter = 0.5 + static_cast<double>(random_.below(1000)) / 1000;
  r.next = now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(mean_s * jitter));
  if (group.routable_stale) refresh_routable(group, targets_);
  if (!group.reduced.empty()) {  // slow start goes first
    r.give_up = std::max(r.give_up, now() + kGiveUp);
    return;
  }
  for (uint32_t i = 0; i < step; ++i) {
    if (move_one(group)) continue;
    break;
  }
  if (now() > r.give_up) r.moving = false;
}

// False: there is nothing to move, or nothing that may be moved now.
bool Worker::move_one(Group& group) {
  Rebalance& r = group.rebalance;
  loads_.clear();
  for (TargetHandle h : group.routable) {
    const Target& t = *targets_.resolve(h);
    uint32_t elsewhere = t.shared->outstanding.load(std::memory_order_relaxed) - t.published;
    loads_.push_back({t.outstanding, t.outstanding + elsewhere});
  }
  if (r.left == Rebalance::kNotCounted) {
    r.left = streams_to_move(loads_);
    if (r.left > 0) log_info("group=" + group.arn + " streams_to_move=" + std::to_string(r.left));
  }
  int from = r.left == 0 ? -1 : target_to_relieve(loads_);
  if (from < 0) {
    r.left = 0;
    TimePoint back = r.last_move + kBack;
    if (now() < back) {
      r.next = back;
    } else {
      r.moving = false;
    }
    return false;
  }
  Target& source = *targets_.resolve(group.routable[static_cast<size_t>(from)]);
  auto activity = [this](ExchangeHandle h) {
    const Exchange* e = exchanges_.resolve(h);
    return e == nullptr || e->response_over || e->leaving ? TimePoint::max() : e->last_activity;
  };
  TrackHandle chosen =
      tracks_.choose(source.tracks, now(), std::chrono::milliseconds(r.config.age_ms_min), activity);
  StreamTrack* track = tracks_.resolve(chosen);
  if (track == nullptr) return false;
  --r.left;
  r.last_move = now();
  r.give_up = now() + std::chrono::milliseconds(r.config.age_ms_min) + kGiveUp;
  Exchange* e = exchanges_.resolve(track->exchange);
  if (e == nullptr) return true;
  e->leaving = true;
  if (e->seen.response.at_boundary()) move_away(*e, track->exchange);
  return true;
}

// Ends the response where a message has ended, so that the client opens the stream again.
void Worker::move_away(Exchange& e, ExchangeHandle handle) {
  constexpr std::string_view kMessage = "the load balancer moves this stream to another target: open it again";
  ++counters_.streams_moved;
  observer_.answered(e, {200, static_cast<int>(grpc::Code::Unavailable)}, kMessage);
  if (Downstream* down = downstreams_.resolve(e.down)) {
    std::string pushback = std::to_string(random_.below(500));
    const std::array fields{field(":status", "200"), field("content-type", "application/grpc"),
                            field("grpc-status", grpc::to_decimal(grpc::Code::Unavailable)),
                            field("grpc-message", kMessage), field("grpc-retry-pushback-ms", pushback)};
    down->connection().send_headers(e.down_stream, std::span(fields).subspan(e.responded ? 2 : 0), true);
    down->connection().reset_after_end(e.down_stream);
  }
  response_over(e, handle);
}

}  // namespace weir::proxy
