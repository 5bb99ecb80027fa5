#include "control/balancer_link.h"

#include <unistd.h>

#include <algorithm>

#include "base/log.h"

namespace weir::control {

namespace {

// What changes by itself (time, observed health) does not count as a difference.
std::string fingerprint(model::TargetGroup group) {
  for (model::Target& target : group.targets) {
    target.drain_elapsed_ms = 0;
    target.last_state = model::TargetState::Initial;
  }
  return model::encode(model::GroupUpdate{0, std::move(group)});
}

std::string fingerprint_head(const model::RoutingSnapshot& snapshot) {
  auto head = std::make_shared<model::RoutingSnapshot>(snapshot);
  head->generation = 0;
  head->groups.clear();
  for (const model::TargetGroup& group : snapshot.groups) head->groups.emplace_back().arn = group.arn;
  return model::encode(model::Snapshot{head});
}

}  // namespace

BalancerLink::BalancerLink(net::Loop& loop, int fd, uint64_t generation_floor, Events events)
    : events_(std::move(events)),
      generation_(generation_floor),
      socket_(loop, fd, model::kLinkFrameBytesMax,
              {.on_frame = [this](auto frame, auto fds) { on_frame(frame, std::move(fds)); },
               .on_close =
                   [this](const std::string& why) {
                     closed_ = true;
                     events_.on_close(why);
                   }}) {
  send(model::Hello{});
}

void BalancerLink::send(const model::Message& message, std::vector<int> fds) {
  socket_.send(model::encode(message), std::move(fds));
}

void BalancerLink::on_frame(std::span<const uint8_t> frame, std::vector<int> fds) {
  auto message = model::decode(frame);
  if (!message) {
    log_warning("balancer link: " + message.error().message);
    for (int fd : fds) close(fd);
    return;
  }
  if (auto* welcome = std::get_if<model::Welcome>(&*message)) {
    welcomed_ = true;
    generation_ = std::max(generation_, welcome->generation);
    events_.on_welcome(*welcome, std::move(fds));
    pump();
    return;
  }
  for (int fd : fds) close(fd);  // no other message carries any
  on_message(*message);
}

void BalancerLink::on_message(const model::Message& message) {
  if (auto* applied = std::get_if<model::Applied>(&message)) {
    if (in_flight_ == 0 || applied->generation < in_flight_) return;
    in_flight_ = 0;
    acknowledged_ = true;
    applied_ = sent_;
    pump();
    events_.on_applied();
  } else if (auto* health = std::get_if<model::Health>(&message)) {
    events_.on_health(*health);
  } else if (auto* drained = std::get_if<model::Drained>(&message)) {
    events_.on_drained(*drained);
  } else if (auto* stats = std::get_if<model::Stats>(&message)) {
    events_.on_stats(*stats);
  } else if (auto* streams = std::get_if<model::Streams>(&message)) {
    events_.on_streams(*streams);
  } else if (auto* frames = std::get_if<model::Frames>(&message)) {
    events_.on_frames(*frames);
  }
}

void BalancerLink::set_wanted(model::RoutingSnapshot wanted) {
  wanted_ = std::move(wanted);
  pump();
}

void BalancerLink::note_group(const model::TargetGroup& group) {
  GroupTargets& targets = sent_[group.arn];
  targets = {};
  for (const model::Target& target : group.targets) {
    (target.draining ? targets.draining : targets.active).insert({target.address, target.port});
  }
  groups_sent_[group.arn] = fingerprint(group);
}

void BalancerLink::pump() {
  if (closed_ || !welcomed_ || in_flight_ != 0 || !wanted_) return;
  if (fingerprint_head(*wanted_) != head_sent_) return send_whole();
  for (const model::TargetGroup& group : wanted_->groups) {
    if (fingerprint(group) == groups_sent_[group.arn]) continue;
    in_flight_ = ++generation_;
    note_group(group);
    send(model::GroupUpdate{in_flight_, group});
    return;
  }
}

void BalancerLink::send_whole() {
  auto snapshot = std::make_shared<model::RoutingSnapshot>(*wanted_);
  in_flight_ = ++generation_;
  snapshot->generation = in_flight_;
  head_sent_ = fingerprint_head(*snapshot);
  groups_sent_.clear();
  sent_.clear();
  listeners_sent_.clear();
  for (const model::TargetGroup& group : snapshot->groups) note_group(group);
  for (const model::Listener& listener : snapshot->listeners) listeners_sent_.insert(listener.arn);
  send(model::Snapshot{std::move(snapshot)});
}

void BalancerLink::open_listener(const model::ListenerSocket& socket, int fd) {
  send(model::OpenListener{socket}, {fd});
}

void BalancerLink::close_listener(const model::ListenerSocket& socket) { send(model::CloseListener{socket}); }

void BalancerLink::shutdown(uint32_t drain_ms) { send(model::Shutdown{drain_ms}); }

bool BalancerLink::target_inactive(const std::string& group_arn, const std::string& address, uint16_t port) const {
  if (!acknowledged_) return false;
  for (const Groups* groups : {&sent_, &applied_}) {
    auto group = groups->find(group_arn);
    if (group != groups->end() && group->second.active.contains({address, port})) return false;
  }
  return true;
}

bool BalancerLink::target_draining(const std::string& group_arn, const std::string& address, uint16_t port) const {
  auto group = sent_.find(group_arn);
  return group != sent_.end() && group->second.draining.contains({address, port});
}

}  // namespace weir::control
