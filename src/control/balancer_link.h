// The control plane's end of the link to one load balancer (model/link.h): sends what the balancer should
// know, one update in flight, and knows what every worker has acknowledged. Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "model/link.h"
#include "net/message_socket.h"

namespace weir::control {

class BalancerLink {
 public:
  struct Events {
    std::function<void(const model::Welcome&, std::vector<int> fds)> on_welcome;  // takes the descriptors over
    std::function<void()> on_applied;
    std::function<void(const model::Health&)> on_health;
    std::function<void(const model::Drained&)> on_drained;
    std::function<void(const model::Stats&)> on_stats;
    std::function<void(const model::Streams&)> on_streams;
    std::function<void(const model::Frames&)> on_frames;
    std::function<void(const std::string& why)> on_close;  // the link must not be destroyed inside
  };

  // Takes the connected socket over and says Hello. Generations sent are greater than `generation_floor`
  // and than the one the balancer has.
  BalancerLink(net::Loop& loop, int fd, uint64_t generation_floor, Events events);

  // What the balancer should know from now on. Only what differs from what was sent goes out: groups one by
  // one, everything else as a whole snapshot.
  void set_wanted(model::RoutingSnapshot wanted);
  void open_listener(const model::ListenerSocket& socket, int fd);
  void close_listener(const model::ListenerSocket& socket);
  void shutdown(uint32_t drain_ms);
  void ask(const model::StreamsRequest& request) { send(request); }
  void ask(const model::FramesRequest& request) { send(request); }

  bool closed() const { return closed_; }
  bool welcomed() const { return welcomed_; }
  bool settled() const { return welcomed_ && in_flight_ == 0 && acknowledged_; }  // everything is acknowledged
  bool acknowledged() const { return acknowledged_; }  // at least one whole snapshot is
  uint64_t generation() const { return generation_; }  // the last one sent
  bool knows_listener(const std::string& arn) const { return listeners_sent_.contains(arn); }
  // No worker sends new streams to the target, now or by an update that is under way.
  bool target_inactive(const std::string& group_arn, const std::string& address, uint16_t port) const;
  // The last update sent says that the target drains.
  bool target_draining(const std::string& group_arn, const std::string& address, uint16_t port) const;

 private:
  using TargetKey = std::pair<std::string, uint16_t>;
  struct GroupTargets {
    std::set<TargetKey> active;
    std::set<TargetKey> draining;
  };
  using Groups = std::map<std::string, GroupTargets>;

  void on_frame(std::span<const uint8_t> frame, std::vector<int> fds);
  void on_message(const model::Message& message);
  void pump();
  void send_whole();
  void send(const model::Message& message, std::vector<int> fds = {});
  void note_group(const model::TargetGroup& group);

  Events events_;
  std::optional<model::RoutingSnapshot> wanted_;
  std::string head_sent_;                            // everything but the groups' contents, as encoded
  std::map<std::string, std::string> groups_sent_;   // group -> as encoded
  std::set<std::string> listeners_sent_;
  Groups sent_;
  Groups applied_;
  uint64_t generation_;
  uint64_t in_flight_ = 0;  // 0: none
  bool welcomed_ = false;
  bool acknowledged_ = false;
  bool closed_ = false;
  net::MessageSocket socket_;  // last: it may call back when made
};

}  // namespace weir::control
