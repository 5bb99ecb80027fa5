#include "sim/judge.h"

#include <algorithm>

namespace weir::sim {

using proxy::AnomalyDetector;
using proxy::TargetName;
using proxy::Worker;

Judge::Judge(Loop& loop, Ledger& ledger, std::vector<Worker*> workers)
    : loop_(loop), ledger_(ledger), workers_(std::move(workers)) {}

void Judge::apply(const std::vector<model::TargetGroup>& groups, Worker::SharedByTarget& shared) {
  shared_ = &shared;
  bool any = false;
  for (const model::TargetGroup& g : groups) {
    bool judged = g.algorithm == model::Algorithm::WeightedRandom;
    any = any || judged;
    mitigated_[g.arn] = judged ? std::optional(g.anomaly_mitigation) : std::nullopt;
    if (!judged) anomalies_.forget_group(g.arn);
    failures_in_row_[g.arn] = g.outlier.consecutive_failures;
    for (const TargetName& released : outliers_.apply(g)) take_back(released);
  }
  arm_outliers();
  if (any && !anomaly_timer_.armed()) loop_.arm(anomaly_timer_, loop_.now() + AnomalyDetector::kInterval);
}

void Judge::set_standing(const TargetName& target, const Worker::Standing& standing) {
  for (Worker* w : workers_) w->loop().post([w, target, standing] { w->set_standing(target, standing); });
}

void Judge::on_failing(const TargetName& target) {
  auto ejection = outliers_.failing(target, loop_.now());
  if (!ejection) return;
  ledger_.note(loop_.now(), "target " + std::to_string(target.port) + " is ejected");
  ++ledger_.happened["target ejected"];
  since_[target] = loop_.now();
  set_standing(target, {.ejected = true, .share = {}});
  arm_outliers();
}

void Judge::take_back(const TargetName& target) {
  uint32_t most = failures_in_row_[target.group_arn];
  auto shared = shared_->find(proxy::target_key(target.group_arn, target.address, target.port));
  if (shared != shared_->end()) shared->second->failures_in_row.store(most > 0 ? most - 1 : 0);
  ledger_.note(loop_.now(), "target " + std::to_string(target.port) + " is back in");
  set_standing(target, {.ejected = false, .share = {}});
}

void Judge::return_outliers() {
  for (const TargetName& target : outliers_.returning(loop_.now())) take_back(target);
  arm_outliers();
}

void Judge::arm_outliers() {
  if (auto next = outliers_.next()) loop_.arm(outlier_timer_, *next);
}

void Judge::collect() {
  struct Gather {
    std::map<TargetName, AnomalyDetector::Sample> samples;
    size_t left;
  };
  auto gather = std::make_shared<Gather>();
  gather->left = workers_.size();
  for (Worker* w : workers_) {
    w->loop().post([this, gather, w] {
      w->add_outcomes(gather->samples);
      if (--gather->left == 0) loop_.post([this, gather] { review(gather->samples); });
    });
  }
}

void Judge::review(const std::map<TargetName, AnomalyDetector::Sample>& samples) {
  bool any = false;
  for (const auto& [arn, mitigate] : mitigated_) {
    if (!mitigate) continue;
    any = true;
    std::map<TargetName, AnomalyDetector::Sample> own;
    for (const auto& [name, sample] : samples) {
      if (name.group_arn == arn) own[name] = sample;
    }
    for (const auto& [name, verdict] : anomalies_.review(arn, *mitigate, own)) {
      ledger_.note(loop_.now(), "target " + std::to_string(name.port) + " share " + std::to_string(verdict.share));
      ++ledger_.happened["share changed"];
      set_standing(name, {.ejected = {}, .share = verdict.share});
    }
  }
  if (any) loop_.arm(anomaly_timer_, loop_.now() + AnomalyDetector::kInterval);
}

}  // namespace weir::sim
