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

struct NameValue {
  std::string name;
  std::string value;
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
  bool tls = false;                   // HealthCheckProtocol HTTPS; certificates of targets are not validated
  std::string service;                // HealthCheckRequest.service of the standard path
  std::vector<NameValue> metadata;    // sent with each check
  bool watch = false;                 // keeps a grpc.health.v1.Health/Watch stream open beside the checks
};

// Retries that a gRPC status asks for, beyond those of requests no target can have seen. Bits of `grpc_codes` are
// 1 << code; only Trailers-Only responses are retried, while the request is still held.
struct RetryPolicy {
  uint32_t grpc_codes = 0;            // 0: none
  uint32_t attempts_max = 2;          // tries in all, 1…5
  uint32_t budget_percent = 20;       // of the group's requests of the last ten seconds, 0…100
};

struct OutlierEjection {
  bool enabled = false;
  uint32_t grpc_codes = 1u << 13 | 1u << 14;  // that count as failures, beside lost connections and 5xx
  uint32_t consecutive_failures = 5;
  uint32_t base_ejection_ms = 30000;  // times the number of ejections in a row, ten at most
  uint32_t ejected_percent_max = 34;  // of the group's targets, at least one target stays
};

// Ends long streams at a message boundary after scale-out, so that their clients open them again elsewhere.
struct Rebalancing {
  bool enabled = false;
  uint32_t streams_per_second = 5;    // of the whole balancer; jittered
  uint32_t age_ms_min = 30000;        // younger streams stay
};

enum class Placement : uint8_t { Algorithm, Rate };  // Rate: where the fewest messages and bytes per second flow

inline constexpr uint32_t kAsLoadBalancer = UINT32_MAX;
inline constexpr uint32_t kUnlimited = 0;

struct TargetGroup {
  std::string arn;
  ProtocolVersion protocol_version = ProtocolVersion::Grpc;
  Algorithm algorithm = Algorithm::RoundRobin;
  uint32_t deregistration_delay_ms = 300000;
  bool in_use = true;                 // referenced by a listener; unused groups are not checked
  HealthCheck health_check;
  std::vector<Target> targets;
  bool tls = false;                   // Protocol HTTPS: TLS with ALPN h2; certificates of targets are not validated
  uint32_t slow_start_ms = 0;         // 0: off; 30 s … 900 s, round_robin only
  bool anomaly_mitigation = false;    // weighted_random only
  uint32_t healthy_count_min = 1;     // fewer healthy targets: all are routed to ("fail open")
  uint32_t healthy_percent_min = 0;   // 0: off
  bool drain_ends_when_idle = true;   // strict mode: false
  uint32_t stream_idle_ms = kAsLoadBalancer;  // kUnlimited: never
  RetryPolicy retry;
  OutlierEjection outlier;
  Placement placement = Placement::Algorithm;
  Rebalancing rebalancing;
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
  std::vector<std::string> values;    // any of them; not for QueryString
  std::vector<NameValue> query = {};  // QueryString: key (empty: any) and value, any of them
  std::vector<std::string> regex_values = {};  // PathPattern, HostHeader, HttpHeader: any, found anywhere; RE2
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
  bool server_header = true;          // "server: awselb/2.0" on responses of our own
  std::vector<NameValue> response_headers;  // set on every response, in place of the target's
  std::vector<NameValue> renamed_headers;   // x-amzn-tls-… by standard name, and the name to use
};

enum class ForwardedFor : uint8_t { Append, Preserve, Remove };

// Files of a log; empty directory: not written.
struct LogFiles {
  std::string directory;              // absolute; the load balancer's user may write there
  std::string prefix;                 // of file names
};
enum class LogFormat : uint8_t { Alb, Json };

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
  bool preserve_host = false;
  ForwardedFor forwarded_for = ForwardedFor::Append;
  bool forwarded_for_port = false;
  bool tls_headers = false;           // x-amzn-tls-version, x-amzn-tls-cipher-suite
  bool drop_invalid_headers = false;  // names with other characters than letters, digits, hyphen
  uint32_t requests_per_connection_max = 10000;  // 0: no limit
  uint32_t client_streams_max = 128;  // SETTINGS_MAX_CONCURRENT_STREAMS towards clients
  bool ping_counts_as_life = false;   // a client's PING keeps its streams from idling out
  bool adaptive_windows = true;       // stream windows grow with the path
  LogFiles access_log;
  LogFiles connection_log;
  LogFormat log_format = LogFormat::Alb;
  bool record_frames = true;          // the flight recorder of frame headers
  uint32_t slow_reader_ms = 300000;   // a client must take some of what waits for it in this time; 0: never mind
  LogFiles health_check_log;
};
using SnapshotPtr = std::shared_ptr<const RoutingSnapshot>;

}  // namespace weir::model
