#include "proxy/anomaly.h"

#include <algorithm>

namespace weir::proxy {

namespace {
constexpr uint64_t kFailuresMin = 3;
constexpr double kFactor = 2.0;
constexpr double kPoints = 0.05;

struct Window {
  double answered = 0;
  double failures = 0;
  double rate() const { return answered > 0 ? failures / answered : 0; }
};

// By how much a target is worse than allowed; not positive: it is not.
double excess(const Window& own, const Window& all) {
  if (own.failures < kFailuresMin) return 0;
  Window peers{all.answered - own.answered, all.failures - own.failures};
  return own.rate() - (kFactor * peers.rate() + kPoints);
}

uint32_t next_share(uint32_t share, bool mitigated) {
  return mitigated ? std::max(share / 2, AnomalyDetector::kShareMin) : std::min<uint32_t>(share * 2, 1000);
}
}  // namespace

std::map<TargetName, AnomalyDetector::Verdict> AnomalyDetector::review(const std::string& group_arn, bool mitigate,
                                                                       const std::map<TargetName, Sample>& samples) {
  std::map<TargetName, Entry>& group = groups_[group_arn];
  std::erase_if(group, [&](const auto& e) { return !samples.contains(e.first); });
  std::map<TargetName, Window> windows;
  Window all;
  size_t healthy = 0;
  for (const auto& [name, sample] : samples) {
    bool fresh = !group.contains(name);
    Entry& e = group[name];
    bool restarted = fresh || sample.answered < e.before.answered || sample.failures < e.before.failures;
    Sample before = restarted ? sample : e.before;
    e.before = sample;
    healthy += sample.healthy;
    if (!sample.healthy) continue;
    Window& w = windows[name];
    w = {static_cast<double>(sample.answered - before.answered),
         static_cast<double>(sample.failures - before.failures)};
    all.answered += w.answered;
    all.failures += w.failures;
  }
  bool qualifies = healthy >= kHealthyMin;
  std::vector<std::pair<double, TargetName>> worst;
  for (const auto& [name, w] : windows) {
    if (double by = excess(w, all); qualifies && by > 0) worst.emplace_back(by, name);
  }
  std::sort(worst.rbegin(), worst.rend());
  std::map<TargetName, Verdict> changed;
  for (auto& [name, e] : group) {
    auto at = std::find_if(worst.begin(), worst.end(), [&](const auto& entry) { return entry.second == name; });
    bool anomalous = at != worst.end();
    bool mitigated = mitigate && anomalous && static_cast<size_t>(at - worst.begin()) < healthy / 2;
    Verdict now;
    now.result = !qualifies ? Result::None : anomalous ? Result::Anomalous : Result::Normal;
    now.share = mitigate && qualifies ? next_share(e.verdict.share, mitigated) : 1000;
    if (now != e.verdict) changed[name] = now;
    e.verdict = now;
  }
  return changed;
}

AnomalyDetector::Verdict AnomalyDetector::verdict(const TargetName& target) const {
  auto group = groups_.find(target.group_arn);
  if (group == groups_.end()) return {};
  auto entry = group->second.find(target);
  return entry == group->second.end() ? Verdict{} : entry->second.verdict;
}

}  // namespace weir::proxy
