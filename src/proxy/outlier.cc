#include "proxy/outlier.h"

#include <algorithm>

namespace weir::proxy {

std::vector<TargetName> OutlierJudge::apply(const model::TargetGroup& group) {
  std::vector<TargetName> released;
  Group& known = groups_[group.arn];
  known.config = group.outlier;
  std::map<TargetName, Entry> before;
  before.swap(known.entries);
  for (const model::Target& t : group.targets) {
    if (t.draining) continue;
    TargetName name{group.arn, t.address, t.port};
    Entry& entry = known.entries[name];
    if (auto found = before.find(name); found != before.end()) entry = found->second;
    if (!entry.ejected || group.outlier.enabled) continue;
    entry = {};
    released.push_back(name);
  }
  return released;
}

void OutlierJudge::forget_group(const std::string& group_arn) { groups_.erase(group_arn); }

std::optional<OutlierJudge::Ejection> OutlierJudge::failing(const TargetName& target, TimePoint now) {
  auto found = groups_.find(target.group_arn);
  if (found == groups_.end() || !found->second.config.enabled) return std::nullopt;
  Group& group = found->second;
  auto entry = group.entries.find(target);
  if (entry == group.entries.end() || entry->second.ejected) return std::nullopt;
  size_t count = group.entries.size();
  auto out = static_cast<size_t>(std::count_if(group.entries.begin(), group.entries.end(),
                                               [](const auto& e) { return e.second.ejected; }));
  size_t most = std::max<size_t>(1, count * group.config.ejected_percent_max / 100);
  if (out >= most || out + 1 >= count) return std::nullopt;
  Entry& e = entry->second;
  if (now - e.changed > e.time) e.in_a_row = 0;
  ++e.in_a_row;
  e.ejected = true;
  e.time = std::chrono::milliseconds(uint64_t{group.config.base_ejection_ms} * std::min(e.in_a_row, kGrowthMax));
  e.changed = now + e.time;
  return Ejection{e.time, e.in_a_row};
}

std::vector<TargetName> OutlierJudge::returning(TimePoint now) {
  std::vector<TargetName> out;
  for (auto& [arn, group] : groups_) {
    for (auto& [name, entry] : group.entries) {
      if (!entry.ejected || entry.changed > now) continue;
      entry.ejected = false;
      entry.changed = now;
      out.push_back(name);
    }
  }
  return out;
}

std::optional<TimePoint> OutlierJudge::next() const {
  std::optional<TimePoint> first;
  for (const auto& [arn, group] : groups_) {
    for (const auto& [name, entry] : group.entries) {
      if (entry.ejected && (!first || entry.changed < *first)) first = entry.changed;
    }
  }
  return first;
}

bool OutlierJudge::ejected(const TargetName& target) const {
  auto group = groups_.find(target.group_arn);
  if (group == groups_.end()) return false;
  auto entry = group->second.entries.find(target);
  return entry != group->second.entries.end() && entry->second.ejected;
}

}  // namespace weir::proxy
