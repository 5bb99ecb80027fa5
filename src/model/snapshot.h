// RoutingSnapshot: everything a load balancer needs to know, as immutable values. The control plane builds
// it, the link carries it, every worker applies it whole.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace weir::model {

enum class ProtocolVersion : uint8_t { Grpc, Http2 };
enum class Algorithm : uint8_t { RoundRobin, LeastOutstandingRequests, WeightedRandom };

// States and reason codes as DescribeTargetHealth shows them (ELB API: TargetHealth).
enum class TargetState : uint8_t { Initial, Healthy, Unhealthy, Unused, Draining };
enum class HealthReason : uint8_t {
  None,
  RegistrationInProgress,   // Elb.RegistrationInProgress
  InitialHealthChecking,    // Elb.InitialHealthChecking
  ResponseCodeMismatch,     // Target.ResponseCodeMismatch
  Timeout,                  // Target.Timeout
  FailedHealthChecks,       // Target.FailedHealthChecks
  InternalError,            // Elb.InternalError
  NotInUse,                 // Target.NotInUse
  DeregistrationInProgress, // Target.DeregistrationInProgress
};
std::string_view to_string(TargetState state);   // "initial", "healthy", …
std::string_view to_string(HealthReason reason); // "Target.Timeout", …; "" for None

struct Target {
  std::string address;      // IPv4 or IPv6 literal
  uint16_t port = 0;
  bool draining = false;    // deregistered: no new streams; open ones run until the delay is over
  uint32_t drain_elapsed_ms = 0;  // time already spent draining when this snapshot was made
  TargetState last_state = TargetState::Initial;  // last known health, so that a restart starts from it
  std::string zone;         // "us-east-1a"
};

struct HealthCheck {
  std::string path = "/AWS.ALB/healthcheck";
  uint16_t port = 0;                  // 0: traffic-port
  uint32_t interval_ms = 30000;
  uint32_t timeout_ms = 5000;
  uint32_t healthy_threshold = 5;
  uint32_t unhealthy_threshold = 2;
  std::string grpc_codes = "12";      // ELB API Matcher.GrpcCode: "0", "0,1", "0-5"
  std::string http_codes;             // Matcher.HttpCode of an HTTP2 group: a GET decides; empty: a gRPC call
  bool evaluate_payload = true;       // standard health path: only SERVING is healthy; strict mode: false
};

struct TargetGroup {
  std::string arn;
  ProtocolVersion protocol_version = ProtocolVersion::Grpc;
  Algorithm algorithm = Algorithm::RoundRobin;
  uint32_t deregistration_delay_ms = 300000;
  bool in_use = true;                 // referenced by a listener; unused groups are not checked
  HealthCheck health_check;
  std::vector<Target> targets;
};

struct WeightedGroup {
  std::string target_group_arn;
  uint32_t weight = 1;                // 0…999
};

struct Action {
  enum class Kind : uint8_t { Forward, FixedResponse } kind = Kind::Forward;
  std::vector<WeightedGroup> groups;  // Forward
  uint16_t status = 503;              // FixedResponse
  std::string content_type;
  std::string body;
};

struct Condition {
  enum class Field : uint8_t { PathPattern, HostHeader, HttpHeader, QueryString, Method, SourceIp } field;
  std::string name;                   // HttpHeader: the header's name
  std::vector<std::string> values;    // any of them
};

struct Rule {
  uint32_t priority = 0;              // lowest first
  std::vector<Condition> conditions;  // all of them
  Action action;
};

struct Certificate {
  std::string arn;
  std::string chain_pem;              // leaf first
  std::string key_pem;
  std::vector<std::string> names;     // for SNI
};

struct Listener {
  std::string arn;
  uint16_t port = 443;                // the AWS port: X-Forwarded-Port
  bool tls = true;
  std::string ssl_policy = "ELBSecurityPolicy-2016-08";
  std::vector<Certificate> certificates;  // the first is the default
  std::vector<Rule> rules;            // by priority
  Action default_action;
};

// Peers that may open connections on the host side (security groups of the load balancer), checked at accept.
struct IngressRule {
  std::string cidr;
  uint16_t from_port = 0;
  uint16_t to_port = 65535;
};

struct RoutingSnapshot {
  uint64_t generation = 0;
  std::string load_balancer_arn;
  bool strict_alb = false;            // weir.strict_mode: ALB's pages and whole draining delay
  uint32_t idle_timeout_ms = 60000;
  uint32_t client_keep_alive_ms = 3600000;
  bool ingress_checked = false;       // false: any peer
  std::vector<IngressRule> ingress;
  std::vector<Listener> listeners;
  std::vector<TargetGroup> groups;
};
using SnapshotPtr = std::shared_ptr<const RoutingSnapshot>;

}  // namespace weir::model
