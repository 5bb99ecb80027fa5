// Outlier ejection (model::OutlierEjection): a target whose requests fail one after another gets no new ones for a
// while, whatever its health checks say.
//
//   in ──failures in a row──▶ ejected ──time is over──▶ on probation ──success──▶ in
//    ▲                           ▲                           │  │
//    │                           └──────one more failure─────┘  │
//    └───────────── as long in as it was ejected: forgotten ────┘
//
// The time is base_ejection times the ejections in a row (ten at most). At most ejected_percent_max of a group are
// ejected at a time, but one may always be; one target always stays.
//
// Failures in a row are counted by the workers (SharedTarget::failures_in_row); this judges, on the main thread.
// Sans-IO: the caller says what time it is.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "model/snapshot.h"
#include "proxy/target_name.h"

namespace weir::proxy {

class OutlierJudge {
 public:
  struct Ejection {
    Duration time;
    uint32_t in_a_row;
  };
  // Settings and targets as they are from now on. Returns those that are not ejected any more because their group
  // has it off.
  std::vector<TargetName> apply(const model::TargetGroup& group);
  void forget_group(const std::string& group_arn);
  // `target` has failed often enough. nullopt: it stays in (off, ejected already, too many are).
  std::optional<Ejection> failing(const TargetName& target, TimePoint now);
  // Targets whose time is over: they come back on probation.
  std::vector<TargetName> returning(TimePoint now);
  // When returning() has something to say; nullopt: never.
  std::optional<TimePoint> next() const;
  bool ejected(const TargetName& target) const;

 private:
  static constexpr uint32_t kGrowthMax = 10;
  struct Entry {
    bool ejected = false;
    uint32_t in_a_row = 0;
    Duration time{};      // of the latest ejection
    TimePoint changed{};  // ejected until, or back since
  };
  struct Group {
    model::OutlierEjection config;
    std::map<TargetName, Entry> entries;  // every target
  };
  std::map<std::string, Group> groups_;
};

}  // namespace weir::proxy
