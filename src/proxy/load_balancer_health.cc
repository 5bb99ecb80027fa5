// What the control plane is told of a target: what the health checks say, and what was judged beside them.
#include "base/log.h"
#include "proxy/load_balancer.h"

namespace weir::proxy {

namespace {
std::string text_of(const TargetName& t) { return t.address + ":" + std::to_string(t.port); }

std::string seconds_text(Duration d) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(d).count() / 1000) + " s";
}
}  // namespace

TargetJudge::Events LoadBalancer::judge_events() {
  TargetJudge::Events events;
  events.ejected = [this](const TargetName& target, const OutlierJudge::Ejection& ejection, uint32_t failures) {
    on_ejected(target, ejection, failures);
  };
  events.taken_back = [this](const TargetName& target) { on_taken_back(target); };
  events.weighed = [this](const TargetName& target, const AnomalyDetector::Verdict& verdict) {
    on_weighed(target, verdict);
  };
  return events;
}

void LoadBalancer::on_ejected(const TargetName& target, const OutlierJudge::Ejection& ejection, uint32_t failures) {
  notes_[target] = "Ejected for " + seconds_text(ejection.time) + ": " + std::to_string(failures) +
                   " requests failed one after another" +
                   (ejection.in_a_row > 1 ? " (ejection " + std::to_string(ejection.in_a_row) + " in a row)" : "");
  log_info("target=" + text_of(target) + " ejected_s=" + seconds_text(ejection.time) +
           " in_a_row=" + std::to_string(ejection.in_a_row));
  tell_health(target);
}

void LoadBalancer::on_taken_back(const TargetName& target) {
  notes_.erase(target);
  log_info("target=" + text_of(target) + " ejection_over");
  tell_health(target);
}

void LoadBalancer::on_weighed(const TargetName& target, const AnomalyDetector::Verdict& verdict) {
  log_info("target=" + text_of(target) +
           " anomalous=" + (verdict.result == AnomalyDetector::Result::Anomalous ? "1" : "0") +
           " share=" + std::to_string(verdict.share));
  tell_health(target);
}

// Of targets that drain.
void LoadBalancer::forget_notes(const std::vector<model::TargetGroup>& groups) {
  for (const model::TargetGroup& g : groups) {
    for (const model::Target& t : g.targets) {
      if (t.draining) notes_.erase({g.arn, t.address, t.port});
    }
  }
}

model::TargetHealth LoadBalancer::health_shown(const model::TargetHealth& checked) const {
  model::TargetHealth shown = checked;
  TargetName name{checked.group_arn, checked.address, checked.port};
  if (auto note = notes_.find(name); note != notes_.end() && shown.state == model::TargetState::Healthy) {
    shown.description = note->second;
  }
  AnomalyDetector::Verdict verdict = judge_.verdict(name);
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
