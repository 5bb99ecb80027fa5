// gRPC health checks with ALB's rules (alb.md 2.4): a fresh connection per check, a unary call to the path,
// grpc-status against the matcher; for the standard health path the payload too. Runs on one worker's loop.
//
// First success makes an initial target healthy; an unhealthy one needs healthy_threshold in a row; failures
// in a row count against unhealthy_threshold. During the first interval after registration a failed check is
// repeated quickly and does not count: a container that is still starting is not unhealthy.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "http/h2/connection.h"
#include "model/link.h"
#include "net/loop.h"

namespace weir::proxy {

class HealthChecker {
 public:
  using Report = std::function<void(const model::TargetHealth&)>;
  HealthChecker(net::Loop& loop, http::h2::Shared shared, Report report);
  ~HealthChecker();

  // The groups to check from now on; what stays keeps its state.
  void apply(const std::vector<model::TargetGroup>& groups);
  void apply_group(const model::TargetGroup& group);
  // The state of every target, for a control plane that has just connected.
  std::vector<model::TargetHealth> all() const;

 private:
  struct Check;
  class Probe;
  struct Outcome {
    bool passed = false;
    model::HealthReason reason = model::HealthReason::None;
    std::string description;
  };
  void update(const model::TargetGroup& group, const model::Target& target);
  void stop(Check& check, model::TargetState state, model::HealthReason reason);
  void begin(Check& check, bool fresh);
  void start_probe(Check& check);
  void finish_probe(Check& check, const Outcome& outcome);
  void set_state(Check& check, model::TargetState state, const Outcome& outcome);

  net::Loop& loop_;
  http::h2::Shared shared_;
  Report report_;
  std::map<std::string, std::unique_ptr<Check>> checks_;  // by target_key()
};

}  // namespace weir::proxy
