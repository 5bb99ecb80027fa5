// A loop whose turns the world runs, one at a time. Same order within a turn as the real one: readiness, timers,
// posted calls, turn-end hooks.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/random.h"
#include "net/loop.h"
#include "sim/network.h"

namespace weir::sim {

// Told when a turn enters and leaves the code of handlers; for counting.
class TurnObserver {
 public:
  virtual void enter() = 0;
  virtual void leave() = 0;

 protected:
  ~TurnObserver() = default;
};

class Loop final : public net::Loop {
 public:
  // `sockets`: the network, or something in front of it. Ready handlers are called in random order.
  Loop(const Clock& clock, Network& network, net::Sockets& sockets, Random random)
      : net::Loop(now_, sockets), clock_(clock), network_(network), random_(random), now_(clock.now()) {}
  ~Loop() override;

  void watch(int fd, uint32_t events, net::FdHandler* handler) override;
  void rewatch(int fd, uint32_t events, net::FdHandler* handler) override;
  void unwatch(int fd, net::FdHandler* handler) override;
  void arm(net::Timer& timer, TimePoint due) override;
  void disarm(net::Timer& timer) override;
  void post(std::move_only_function<void()> call) override { posted_.push_back(std::move(call)); }
  void at_turn_end(std::function<void()> hook) override { hooks_.push_back(std::move(hook)); }
  void set_turn_gap(Duration gap) override { gap_ = gap; }
  void stop() override {}
  void run() override {}

  // Something is ready, posted or due at the clock's time.
  bool has_work() const;
  // The next time at which there may be work; nothing: not by itself.
  std::optional<TimePoint> next_timer() const;
  // No turn begins before this time.
  TimePoint gap_end() const { return now_ + gap_; }
  void turn();

  void observe(TurnObserver* observer) { observer_ = observer; }
  size_t watched() const { return watched_.size(); }
  size_t timers() const { return timers_.size(); }

 private:
  struct Watched {
    uint32_t events = 0;
    net::FdHandler* handler = nullptr;
    bool again = true;  // edge-triggered: tell what is there
  };
  struct Ready {
    net::FdHandler* handler;  // null: unwatched in this turn
    uint32_t events;
  };
  struct Key {
    TimePoint due;
    uint64_t sequence;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  // What its handler may be told now.
  uint32_t events_of(int fd, const Watched& w) const;
  void collect();

  const Clock& clock_;
  Network& network_;
  Random random_;
  TimePoint now_{};
  Duration gap_{};
  std::map<int, Watched> watched_;
  std::vector<Ready> ready_;
  std::map<Key, net::Timer*> timers_;
  std::map<net::Timer*, Key> keys_;  // looked up only, never walked: addresses vary
  uint64_t sequence_ = 0;
  std::vector<std::function<void()>> hooks_;
  std::vector<std::move_only_function<void()>> posted_;
  TurnObserver* observer_ = nullptr;
};

}  // namespace weir::sim
