// Outlier ejection and anomaly mitigation: what the workers saw is judged here, on the main thread, and the verdicts
// go to all of them. Health checks have no part in it.
#include <algorithm>
#include <mutex>

#include "base/log.h"
#include "proxy/load_balancer.h"

namespace weir::proxy {

namespace {
std::string text_of(const TargetName& t) { return t.address + ":" + std::to_string(t.port); }

std::string seconds_text(Duration d) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(d).count() / 1000) + " s";
}

bool judged(const model::TargetGroup& group) { return group.algorithm == model::Algorithm::WeightedRandom; }
}  // namespace

void LoadBalancer::judge_groups(const std::vector<model::TargetGroup>& groups, bool whole) {
  if (whole) {
    std::erase_if(mitigated_, [&](const auto& entry) {
      for (const model::TargetGroup& g : groups) {
        if (g.arn == entry.first) return false;
      }
      anomalies_.forget_group(entry.first);
      outliers_.forget_group(entry.first);
      return true;
    });
  }
  for (const model::TargetGroup& g : groups) {
    mitigated_[g.arn] = judged(g) ? std::optional(g.anomaly_mitigation) : std::nullopt;
    if (!judged(g)) anomalies_.forget_group(g.arn);
    for (const model::Target& t : g.targets) {
      if (t.draining) notes_.erase({g.arn, t.address, t.port});
    }
    for (const TargetName& released : outliers_.apply(g)) take_back(released);
    failures_in_row_[g.arn] = g.outlier.consecutive_failures;
  }
  std::erase_if(failures_in_row_, [&](const auto& entry) { return !mitigated_.contains(entry.first); });
  arm_outliers();
  bool any = std::any_of(mitigated_.begin(), mitigated_.end(), [](const auto& e) { return e.second.has_value(); });
  if (any && !anomaly_timer_.armed()) loop_.arm(anomaly_timer_, loop_.now() + AnomalyDetector::kInterval);
}

void LoadBalancer::set_standing(const TargetName& target, const Worker::Standing& standing) {
  for (auto& w : workers_) {
    w->worker->loop().post([worker = w->worker.get(), target, standing] { worker->set_standing(target, standing); });
  }
}

void LoadBalancer::on_failing(const TargetName& target) {
  auto ejection = outliers_.failing(target, loop_.now());
  if (!ejection) return;
  uint32_t failures = failures_in_row_[target.group_arn];
  notes_[target] = "Ejected for " + seconds_text(ejection->time) + ": " + std::to_string(failures) +
                   " requests failed one after another" +
                   (ejection->in_a_row > 1 ? " (ejection " + std::to_string(ejection->in_a_row) + " in a row)" : "");
  log_info("target=" + text_of(target) + " ejected_s=" + seconds_text(ejection->time) +
           " in_a_row=" + std::to_string(ejection->in_a_row));
  set_standing(target, {.ejected = true, .share = {}});
  tell_health(target);
  arm_outliers();
}

// Back in: on probation, the next failure ejects it again.
void LoadBalancer::take_back(const TargetName& target) {
  notes_.erase(target);
  auto shared = shared_.find(target_key(target.group_arn, target.address, target.port));
  uint32_t most = failures_in_row_[target.group_arn];
  if (shared != shared_.end()) shared->second->failures_in_row.store(most > 0 ? most - 1 : 0);
  log_info("target=" + text_of(target) + " ejection_over");
  set_standing(target, {.ejected = false, .share = {}});
  tell_health(target);
}

void LoadBalancer::return_outliers() {
  for (const TargetName& target : outliers_.returning(loop_.now())) take_back(target);
  arm_outliers();
}

void LoadBalancer::arm_outliers() {
  if (auto next = outliers_.next()) loop_.arm(outlier_timer_, *next);
}

// Gathers how requests ended on every worker; the last one to answer brings it here.
void LoadBalancer::collect_outcomes() {
  struct Gather {
    std::mutex mutex;
    std::map<TargetName, AnomalyDetector::Sample> samples;
    size_t left;
  };
  auto gather = std::make_shared<Gather>();
  gather->left = workers_.size();
  for (auto& w : workers_) {
    w->worker->loop().post([this, gather, worker = w->worker.get()] {
      std::lock_guard lock(gather->mutex);
      worker->add_outcomes(gather->samples);
      if (--gather->left == 0) loop_.post([this, gather] { review_anomalies(gather->samples); });
    });
  }
}

void LoadBalancer::review_anomalies(const std::map<TargetName, AnomalyDetector::Sample>& samples) {
  bool any = false;
  for (const auto& [arn, mitigate] : mitigated_) {
    if (!mitigate) continue;
    any = true;
    std::map<TargetName, AnomalyDetector::Sample> own;
    for (const auto& [name, sample] : samples) {
      if (name.group_arn == arn) own[name] = sample;
    }
    for (const auto& [name, verdict] : anomalies_.review(arn, *mitigate, own)) {
      log_info("target=" + text_of(name) +
               " anomalous=" + (verdict.result == AnomalyDetector::Result::Anomalous ? "1" : "0") +
               " share=" + std::to_string(verdict.share));
      set_standing(name, {.ejected = {}, .share = verdict.share});
      tell_health(name);
    }
  }
  if (any) loop_.arm(anomaly_timer_, loop_.now() + AnomalyDetector::kInterval);
}

// What the checks say of a target, and what was judged beside them.
model::TargetHealth LoadBalancer::health_shown(const model::TargetHealth& checked) const {
  model::TargetHealth shown = checked;
  TargetName name{checked.group_arn, checked.address, checked.port};
  if (auto note = notes_.find(name); note != notes_.end() && shown.state == model::TargetState::Healthy) {
    shown.description = note->second;
  }
  AnomalyDetector::Verdict verdict = anomalies_.verdict(name);
  shown.anomalous = verdict.result == AnomalyDetector::Result::Anomalous;
  shown.anomaly_known = verdict.result != AnomalyDetector::Result::None;
  shown.mitigated = verdict.share < kWholeShare;
  return shown;
}

void LoadBalancer::tell_health(const TargetName& target) {
  auto found = health_.find(target_key(target.group_arn, target.address, target.port));
  if (found != health_.end()) send(model::Health{{health_shown(found->second)}});
}

}  // namespace weir::proxy
