// gRPC health checks with ALB's rules (alb.md 2.4): a fresh connection per check, a unary call to the path,
// grpc-status against the matcher; for the standard health path the payload too. Runs on one worker's loop. Where the
// group wants it, a Watch stream beside the checks (health_watch.h) takes a healthy target out as soon as it says that
// it is not serving, and gives it back to the state of its checks when it is.
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

#include "base/random.h"
#include "http/h2/connection.h"
#include "model/link.h"
#include "net/loop.h"
#include "net/tls.h"

namespace weir::proxy {

class LogRing;
struct HealthContext;
struct HealthOutcome;

class HealthChecker {
 public:
  using Report = std::function<void(const model::TargetHealth&)>;
  // random: for the pauses of Watch streams.
  HealthChecker(net::Loop& loop, http::h2::Shared shared, Report report, Random random);
  ~HealthChecker();

  // Where a record of each check goes; nullptr: nowhere. Written on this loop's thread.
  void set_log(LogRing* ring) { log_ = ring; }
  // For checks over TLS that begin from now on; before the first apply().
  void set_tls(std::shared_ptr<const net::TlsClientContext> tls);
  // The groups to check from now on; what stays keeps its state.
  void apply(const std::vector<model::TargetGroup>& groups);
  void apply_group(const model::TargetGroup& group);
  // The state of every target, for a control plane that has just connected.
  std::vector<model::TargetHealth> all() const;

 private:
  struct Check;
  class Probe;
  void update(const model::TargetGroup& group, const model::Target& target);
  void stop(Check& check, model::TargetState state, model::HealthReason reason);
  void begin(Check& check, bool fresh);
  void start_probe(Check& check);
  void finish_probe(Check& check, const HealthOutcome& outcome);
  void set_state(Check& check, model::TargetState state, const HealthOutcome& outcome);
  void update_watch(Check& check);
  static model::TargetHealth shown(const Check& check);
  void tell(Check& check);

  net::Loop& loop_;
  Report report_;
  LogRing* log_ = nullptr;
  std::unique_ptr<HealthContext> context_;
  std::map<std::string, std::unique_ptr<Check>> checks_;  // by target_key()
};

}  // namespace weir::proxy
