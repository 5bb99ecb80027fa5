#include "control/balancer_queries.h"

namespace weir::control {

void BalancerQueries::give_up(Waiting& waiting) {
  if (waiting.streams) waiting.streams(std::nullopt);
  if (waiting.frames) waiting.frames(std::nullopt);
}

uint64_t BalancerQueries::wait(Waiting waiting) {
  if (waiting_.size() >= kWaitingMax) {
    give_up(waiting);
    return 0;
  }
  waiting.until = loop_.now() + kAnswerBound;
  if (!timer_.armed()) loop_.arm(timer_, waiting.until);
  waiting_.emplace(next_id_, std::move(waiting));
  return next_id_++;
}

void BalancerQueries::on_streams(const model::Streams& answer) {
  auto found = waiting_.find(answer.id);
  if (found == waiting_.end() || !found->second.streams) return;
  Waiting waiting = std::move(found->second);
  waiting_.erase(found);
  waiting.streams(answer);
}

void BalancerQueries::on_frames(const model::Frames& answer) {
  auto found = waiting_.find(answer.id);
  if (found == waiting_.end() || !found->second.frames) return;
  Waiting waiting = std::move(found->second);
  waiting_.erase(found);
  waiting.frames(answer);
}

void BalancerQueries::expire() {
  while (!waiting_.empty() && waiting_.begin()->second.until <= loop_.now()) {
    Waiting waiting = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    give_up(waiting);
  }
  if (!waiting_.empty()) loop_.arm(timer_, waiting_.begin()->second.until);
}

}  // namespace weir::control
