// Questions to a balancer that are waiting for its answer over the link: open streams, frame headers.
//
// Limits: kWaitingMax at a time, kAnswerBound each; beyond either the answer is nullopt. On the loop's thread.
#pragma once

#include <functional>
#include <map>
#include <optional>

#include "model/link.h"
#include "net/loop.h"

namespace weir::control {

class BalancerQueries {
 public:
  static constexpr size_t kWaitingMax = 64;
  static constexpr Duration kAnswerBound = std::chrono::seconds(3);
  template <class Answer>
  using Done = std::move_only_function<void(std::optional<Answer>)>;

  explicit BalancerQueries(net::Loop& loop) : loop_(loop), timer_([this] { expire(); }) {}

  // The id to ask with; 0 when too many wait: `done` has heard nullopt then.
  uint64_t wait_streams(Done<model::Streams> done) { return wait({{}, std::move(done), {}}); }
  uint64_t wait_frames(Done<model::Frames> done) { return wait({{}, {}, std::move(done)}); }
  void on_streams(const model::Streams& answer);
  void on_frames(const model::Frames& answer);

 private:
  struct Waiting {
    TimePoint until{};
    Done<model::Streams> streams;
    Done<model::Frames> frames;
  };
  uint64_t wait(Waiting waiting);
  static void give_up(Waiting& waiting);
  void expire();

  net::Loop& loop_;
  std::map<uint64_t, Waiting> waiting_;  // by id, and so by time
  uint64_t next_id_ = 1;
  net::Timer timer_;
};

}  // namespace weir::control
