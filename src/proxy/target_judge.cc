#include "proxy/target_judge.h"

#include <algorithm>
#include <memory>
#include <mutex>

namespace weir::proxy {

TargetJudge::TargetJudge(net::Loop& loop, Worker::SharedByTarget& shared, Events events)
    : loop_(loop), shared_(shared), events_(std::move(events)) {}

void TargetJudge::apply(const std::vector<model::TargetGroup>& groups, bool whole) {
  if (whole) forget_others(groups);
  for (const model::TargetGroup& g : groups) {
    Group& group = groups_[g.arn];
    group.judged = g.algorithm == model::Algorithm::WeightedRandom;
    group.mitigated = g.anomaly_mitigation;
    if (!group.judged) anomalies_.forget_group(g.arn);
    for (const TargetName& released : outliers_.apply(g)) take_back(released);
    group.failures_in_row = g.outlier.consecutive_failures;
  }
  arm_outliers();
  if (!anomaly_timer_.armed()) arm_anomalies();
}

void TargetJudge::forget_others(const std::vector<model::TargetGroup>& groups) {
  std::erase_if(groups_, [&](const auto& entry) {
    for (const model::TargetGroup& g : groups) {
      if (g.arn == entry.first) return false;
    }
    anomalies_.forget_group(entry.first);
    outliers_.forget_group(entry.first);
    return true;
  });
}

void TargetJudge::set_standing(const TargetName& target, const Worker::Standing& standing) {
  for (Worker* w : workers_) w->loop().post([w, target, standing] { w->set_standing(target, standing); });
}

void TargetJudge::failing(const TargetName& target) {
  auto ejection = outliers_.failing(target, loop_.now());
  if (!ejection) return;
  set_standing(target, {.ejected = true, .share = {}});
  events_.ejected(target, *ejection, groups_[target.group_arn].failures_in_row);
  arm_outliers();
}

// Back in: on probation, the next failure ejects it again.
void TargetJudge::take_back(const TargetName& target) {
  auto shared = shared_.find(target_key(target.group_arn, target.address, target.port));
  uint32_t most = groups_[target.group_arn].failures_in_row;
  if (shared != shared_.end()) shared->second->failures_in_row.store(most > 0 ? most - 1 : 0);
  set_standing(target, {.ejected = false, .share = {}});
  events_.taken_back(target);
}

void TargetJudge::return_outliers() {
  for (const TargetName& target : outliers_.returning(loop_.now())) take_back(target);
  arm_outliers();
}

void TargetJudge::arm_outliers() {
  if (auto next = outliers_.next()) loop_.arm(outlier_timer_, *next);
}

void TargetJudge::arm_anomalies() {
  bool any = std::any_of(groups_.begin(), groups_.end(), [](const auto& entry) { return entry.second.judged; });
  if (any) loop_.arm(anomaly_timer_, loop_.now() + AnomalyDetector::kInterval);
}

// Gathers how requests ended on every worker; the last one to answer brings it here.
void TargetJudge::collect() {
  struct Gather {
    std::mutex mutex;
    std::map<TargetName, AnomalyDetector::Sample> samples;
    size_t left;
  };
  auto gather = std::make_shared<Gather>();
  gather->left = workers_.size();
  for (Worker* w : workers_) {
    w->loop().post([this, gather, w] {
      std::lock_guard lock(gather->mutex);
      w->add_outcomes(gather->samples);
      if (--gather->left == 0) loop_.post([this, gather] { review(gather->samples); });
    });
  }
}

void TargetJudge::review(const std::map<TargetName, AnomalyDetector::Sample>& samples) {
  for (const auto& [arn, group] : groups_) {
    if (!group.judged) continue;
    std::map<TargetName, AnomalyDetector::Sample> own;
    for (const auto& [name, sample] : samples) {
      if (name.group_arn == arn) own[name] = sample;
    }
    for (const auto& [name, verdict] : anomalies_.review(arn, group.mitigated, own)) {
      set_standing(name, {.ejected = {}, .share = verdict.share});
      events_.weighed(name, verdict);
    }
  }
  arm_anomalies();
}

}  // namespace weir::proxy
