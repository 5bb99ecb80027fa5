// Anomaly detection and mitigation ("Automatic Target Weights", alb.md 2.7): targets of a weighted_random group whose
// requests fail markedly more often than those of their peers, and the share of requests they get.
//
// Looked at every five seconds, in groups with three healthy targets or more. Failures are HTTP 5xx, lost and refused
// connections and, other than on AWS, the gRPC codes of the group's weir.outlier_ejection.grpc_codes. A target is
// anomalous when its failure rate is above twice that of its peers and five points more, by three failures at least.
// With mitigation on an anomalous target gets half of the share it had, five percent at the least; one that does well
// gets its share back by doubling. At most half of a group is mitigated, the worst first.
//
// Main thread. Sans-IO.
#pragma once

#include <map>
#include <vector>

#include "base/clock.h"
#include "proxy/target_name.h"

namespace weir::proxy {

class AnomalyDetector {
 public:
  static constexpr Duration kInterval = std::chrono::seconds(5);
  static constexpr size_t kHealthyMin = 3;
  static constexpr uint32_t kShareMin = 50;  // thousandths

  struct Sample {
    uint64_t answered = 0;  // since the process started, over all workers
    uint64_t failures = 0;
    bool healthy = false;
  };
  enum class Result : uint8_t { None, Normal, Anomalous };  // None: the group does not qualify
  struct Verdict {
    Result result = Result::None;
    uint32_t share = 1000;  // thousandths
    friend bool operator==(const Verdict&, const Verdict&) = default;
  };
  // One look at a group. Returns what changed, and forgets targets without a sample.
  std::map<TargetName, Verdict> review(const std::string& group_arn, bool mitigate,
                                       const std::map<TargetName, Sample>& samples);
  void forget_group(const std::string& group_arn) { groups_.erase(group_arn); }
  Verdict verdict(const TargetName& target) const;

 private:
  struct Entry {
    Sample before;
    Verdict verdict;
  };
  std::map<std::string, std::map<TargetName, Entry>> groups_;
};

}  // namespace weir::proxy
