// Outlier ejection and anomaly mitigation around the simulated workers, as proxy::LoadBalancer does it on its main
// thread: what workers saw is judged there, and the verdicts are posted to all of them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>

#include "proxy/outlier.h"
#include "proxy/worker.h"
#include "sim/ledger.h"
#include "sim/loop.h"

namespace weir::sim {

class Judge {
 public:
  // workers: with their loops; they stay where they are.
  Judge(Loop& loop, Ledger& ledger, std::vector<proxy::Worker*> workers);

  void apply(const std::vector<model::TargetGroup>& groups, proxy::Worker::SharedByTarget& shared);
  void on_failing(const proxy::TargetName& target);
  // Since when it is; nullopt: it is not.
  std::optional<TimePoint> ejected(const proxy::TargetName& target) const {
    auto since = since_.find(target);
    return outliers_.ejected(target) && since != since_.end() ? std::optional(since->second) : std::nullopt;
  }

 private:
  void set_standing(const proxy::TargetName& target, const proxy::Worker::Standing& standing);
  void take_back(const proxy::TargetName& target);
  void return_outliers();
  void arm_outliers();
  void collect();
  void review(const std::map<proxy::TargetName, proxy::AnomalyDetector::Sample>& samples);

  Loop& loop_;
  Ledger& ledger_;
  std::vector<proxy::Worker*> workers_;
  proxy::OutlierJudge outliers_;
  std::map<proxy::TargetName, TimePoint> since_;  // the latest ejection
  proxy::AnomalyDetector anomalies_;
  std::map<std::string, std::optional<bool>> mitigated_;  // by group: judged at all, mitigated
  std::map<std::string, uint32_t> failures_in_row_;
  proxy::Worker::SharedByTarget* shared_ = nullptr;
  net::Timer outlier_timer_{[this] { return_outliers(); }};
  net::Timer anomaly_timer_{[this] { collect(); }};
};

}  // namespace weir::sim
