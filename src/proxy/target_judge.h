// Outlier ejection and anomaly mitigation across workers: what they saw of targets is judged in one place, and the
// verdicts are posted to all of them. Health checks have no part in it.
//
// Lives on the main thread's loop, which outlives it, as do the workers.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "net/loop.h"
#include "proxy/anomaly.h"
#include "proxy/outlier.h"
#include "proxy/worker.h"

namespace weir::proxy {

class TargetJudge {
 public:
  // Called on the main thread, after the workers were told.
  struct Events {
    // `failures`: so many requests failed one after another.
    std::function<void(const TargetName&, const OutlierJudge::Ejection&, uint32_t failures)> ejected;
    std::function<void(const TargetName&)> taken_back;
    std::function<void(const TargetName&, const AnomalyDetector::Verdict&)> weighed;
  };
  // shared: the owner's, with an entry for every target that it applies.
  TargetJudge(net::Loop& loop, Worker::SharedByTarget& shared, Events events);

  void add_worker(Worker& worker) { workers_.push_back(&worker); }
  // Settings and targets as they are from now on; whole: other groups are gone.
  void apply(const std::vector<model::TargetGroup>& groups, bool whole);
  // A worker's report: `target` has failed as often in a row as its group allows.
  void failing(const TargetName& target);

  bool ejected(const TargetName& target) const { return outliers_.ejected(target); }
  AnomalyDetector::Verdict verdict(const TargetName& target) const { return anomalies_.verdict(target); }

 private:
  struct Group {
    uint32_t failures_in_row = 0;  // that eject
    bool judged = false;           // by the anomaly detector
    bool mitigated = false;
  };
  void forget_others(const std::vector<model::TargetGroup>& groups);
  void set_standing(const TargetName& target, const Worker::Standing& standing);
  void take_back(const TargetName& target);
  void return_outliers();
  void arm_outliers();
  void arm_anomalies();
  void collect();
  void review(const std::map<TargetName, AnomalyDetector::Sample>& samples);

  net::Loop& loop_;
  Worker::SharedByTarget& shared_;
  Events events_;
  std::vector<Worker*> workers_;
  std::map<std::string, Group> groups_;  // by ARN
  OutlierJudge outliers_;
  AnomalyDetector anomalies_;
  net::Timer outlier_timer_{[this] { return_outliers(); }};
  net::Timer anomaly_timer_{[this] { collect(); }};
};

}  // namespace weir::proxy
