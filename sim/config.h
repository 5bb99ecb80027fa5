// What the simulated control plane tells the balancer: groups, rules, certificates, weights; and how they change while
// streams run.
#pragma once

#include <vector>

#include "model/snapshot.h"
#include "sim/ledger.h"

namespace weir::sim {

inline constexpr const char* kGroupNames[kGroups] = {"one", "two"};

class Config {
 public:
  Config(const Mix& mix, Random& random);

  // A target as the control plane knows it: its port in the first group, see ServerHost::port().
  struct Registered {
    uint16_t ports[kGroups];
    bool draining;
  };
  model::SnapshotPtr snapshot(const std::vector<Registered>& targets);
  model::TargetGroup group(int index, const std::vector<Registered>& targets) const;
  uint64_t next_generation() { return ++generation_; }
  // Other weights between the groups.
  void change_weights();
  // Whether the listener exists.
  bool listening() const { return listening_; }
  void set_listening(bool listening) { listening_ = listening; }
  // Other settings of groups, listener and balancer; the mix says which of them this run has.
  void change_settings(Ledger& ledger);

 private:
  model::Listener listener() const;
  void add_rules(model::Listener& listener) const;

  const Mix& mix_;
  Random& random_;
  uint64_t generation_ = 0;
  bool listening_ = true;
  uint32_t weights_[kGroups] = {1, 0};
  // What change_settings() draws; on, or as the mix has it, at first.
  struct Settings {
    model::Algorithm algorithm;
    bool rate_placement, retries, outliers, rebalancing, adaptive_windows, rules, record_frames = true;
    bool anomalies, slow_start, preserve_host = false;
    uint32_t streams_max;
    int certificate = 0, certificates = 1;
    const char* policy = "ELBSecurityPolicy-TLS13-1-2-2021-06";
  } settings_;
};

}  // namespace weir::sim
