#include "sim/config.h"

#include "sim/tls_world.h"

namespace weir::sim {

using model::Condition;

Config::Config(const Mix& mix, Random& random) : mix_(mix), random_(random) {
  settings_.algorithm = static_cast<model::Algorithm>(mix.algorithm);
  settings_.rate_placement = mix.rate_placement;
  settings_.retries = settings_.outliers = settings_.rebalancing = settings_.rules = true;
  settings_.anomalies = settings_.slow_start = true;
  settings_.adaptive_windows = mix.adaptive_windows;
  settings_.streams_max = mix.client_streams_max;
  change_weights();
}

void Config::change_weights() {
  weights_[0] = static_cast<uint32_t>(1 + random_.below(9));
  weights_[1] = random_.below(2) == 0 ? static_cast<uint32_t>(random_.below(9)) : 0;
}

void Config::change_settings(Ledger& ledger) {
  ++ledger.happened["settings changed"];
  auto coin = [this] { return random_.below(2) == 0; };
  Settings& s = settings_;
  switch (random_.below(7)) {
    case 0:
      s.algorithm = static_cast<model::Algorithm>(random_.below(3));
      s.rate_placement = mix_.rate_placement && coin();
      break;
    case 1: s.retries = coin(); break;
    case 2: s.outliers = coin(), s.anomalies = coin(), s.slow_start = coin(); break;
    case 3: s.rebalancing = coin(); break;
    case 4: s.rules = coin(); break;
    case 5:
      s.certificate = static_cast<int>(random_.below(kCertificates));
      s.certificates = static_cast<int>(1 + random_.below(kCertificates));
      s.policy = coin() ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : "ELBSecurityPolicy-TLS13-1-3-2021-06";
      break;
    case 6:
      s.adaptive_windows = mix_.adaptive_windows && coin();
      s.record_frames = coin();
      s.preserve_host = coin();
      s.streams_max = 1 + static_cast<uint32_t>(random_.below(mix_.client_streams_max));
      break;
  }
}

model::TargetGroup Config::group(int index, const std::vector<Registered>& targets) const {
  const Settings& s = settings_;
  model::TargetGroup g;
  g.arn = kGroupNames[index];
  g.algorithm = s.algorithm;
  g.tls = mix_.target_tls[index];
  g.placement = s.rate_placement ? model::Placement::Rate : model::Placement::Algorithm;
  g.health_check.interval_ms = 5000;
  g.health_check.timeout_ms = 2000;
  g.health_check.healthy_threshold = g.health_check.unhealthy_threshold = 2;
  g.health_check.tls = g.tls;
  if (mix_.watch) {
    g.health_check.path = "/grpc.health.v1.Health/Check";
    g.health_check.grpc_codes = "0";
    g.health_check.watch = true;
  }
  if (mix_.http2[index]) {
    g.protocol_version = model::ProtocolVersion::Http2;
    g.health_check.path = "/ready";
    g.health_check.http_codes = "200";
  }
  g.stream_idle_ms = mix_.group_idle_ms;
  g.deregistration_delay_ms = mix_.drain_ms;
  g.drain_ends_when_idle = !mix_.drain_whole;
  if (s.retries) g.retry = {mix_.retry_codes, mix_.retry_attempts_max, mix_.retry_budget_percent};
  g.outlier.enabled = mix_.outliers && s.outliers;
  g.outlier.consecutive_failures = mix_.outlier_failures;
  g.outlier.base_ejection_ms = mix_.outlier_ms;
  g.outlier.ejected_percent_max = 50;
  g.anomaly_mitigation = mix_.anomalies && s.anomalies;
  if (g.algorithm == model::Algorithm::RoundRobin && s.slow_start) g.slow_start_ms = mix_.slow_start_ms;
  g.rebalancing = {mix_.rebalancing && s.rebalancing, mix_.rebalance_per_s, mix_.rebalance_age_ms};
  for (const Registered& r : targets) {
    model::Target t;
    t.address = "10.0.0.1";
    t.port = r.ports[index];
    t.draining = r.draining;
    t.zone = r.ports[index] % 2 == 0 ? "zone-a" : "zone-b";
    g.targets.push_back(t);
  }
  return g;
}

void Config::add_rules(model::Listener& l) const {
  model::Rule other;
  other.priority = 1;
  other.conditions.push_back({Condition::Field::PathPattern, "", {"/sim.Other/*"}});
  other.action.groups.push_back({kGroupNames[1], 1});
  l.rules.push_back(other);
  if (!mix_.rules || !settings_.rules) return;
  model::Rule fixed;
  fixed.priority = 2;
  fixed.conditions.push_back({Condition::Field::PathPattern, "", {"/sim.Fixed/*"}});
  fixed.action.kind = model::Action::Kind::FixedResponse;
  fixed.action.status = kFixedStatus;
  fixed.action.body = kFixedBody;
  l.rules.push_back(fixed);
  model::Rule lane;
  lane.priority = 3;
  lane.conditions.push_back({Condition::Field::HttpHeader, "x-lane", {"two"}});
  lane.conditions.push_back({Condition::Field::HostHeader, "", {"*.example"}});
  lane.action.groups.push_back({kGroupNames[1], 1});
  l.rules.push_back(lane);
}

model::Listener Config::listener() const {
  model::Listener l;
  l.arn = "listener";
  l.tls = mix_.tls;
  l.ssl_policy = settings_.policy;
  for (int i = 0; mix_.tls && i < settings_.certificates; ++i) {
    int which = (settings_.certificate + i) % kCertificates;
    const net::TlsCertificate& c = certificate(which);
    l.certificates.push_back({"certificate/" + std::to_string(which), c.chain_pem, c.key_pem, c.names});
  }
  for (int i = 0; i < kGroups; ++i) {
    if (i == 0 || weights_[i] > 0) l.default_action.groups.push_back({kGroupNames[i], weights_[i]});
  }
  add_rules(l);
  return l;
}

model::SnapshotPtr Config::snapshot(const std::vector<Registered>& targets) {
  auto s = std::make_shared<model::RoutingSnapshot>();
  s->generation = next_generation();
  s->load_balancer_arn = "sim";
  s->idle_timeout_ms = mix_.idle_timeout_ms;
  s->client_keep_alive_ms = mix_.keep_alive_ms;
  s->requests_per_connection_max = mix_.requests_per_connection;
  s->client_streams_max = settings_.streams_max;
  s->slow_reader_ms = mix_.slow_reader_ms;
  s->adaptive_windows = settings_.adaptive_windows;
  s->record_frames = settings_.record_frames;
  s->preserve_host = settings_.preserve_host;
  s->strict_alb = mix_.strict;
  if (mix_.access_log) s->access_log.directory = "/nowhere";  // records are taken from the ring, nothing is written
  for (int i = 0; i < kGroups; ++i) s->groups.push_back(group(i, targets));
  if (listening_) s->listeners.push_back(listener());
  return s;
}

}  // namespace weir::sim
