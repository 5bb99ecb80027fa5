#include "control/snapshot_builder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "control/attribute_values.h"
#include "control/documents.h"

namespace weir::control {

using model::Action;
using model::Condition;
using model::RoutingSnapshot;

namespace {

constexpr size_t kKeyFileBytesMax = 64 * 1024;
constexpr int kUnsupportedActionStatus = 501;

Result<std::string> read_key_file(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno("read certificate key " + path, errno);
  std::string bytes(kKeyFileBytesMax, '\0');
  ssize_t n = read(fd, bytes.data(), bytes.size());
  int code = errno;
  close(fd);
  if (n < 0) return fail_errno("read certificate key " + path, code);
  bytes.resize(static_cast<size_t>(n));
  return bytes;
}

Result<model::Certificate> certificate_of(store::Store& store, const std::string& arn) {
  auto document = load(store, kind::kCertificate, arn);
  if (!document) return fail("certificate " + arn + " does not exist");
  const Json& weir = weir_of(*document);
  model::Certificate certificate;
  certificate.arn = arn;
  certificate.chain_pem = text(weir, "certificate_pem") + text(weir, "chain_pem");
  WEIR_TRY_ASSIGN(certificate.key_pem, read_key_file(text(weir, "key_file")));
  std::set<std::string> names;
  auto add = [&](const std::string& name) {
    if (!name.empty() && names.insert(name).second) certificate.names.push_back(name);
  };
  add(text(*document, "DomainName"));
  for (const std::string& name : texts(*document, "SubjectAlternativeNames")) add(name);
  for (const std::string& name : texts(weir, "extra_names")) add(name);
  return certificate;
}

// The last action decides; those before it (authentication) are not modelled and refused by the API.
Action action_of(const Json& actions) {
  Action action;
  if (actions.empty()) return action;
  const Json& last = actions.back();
  std::string type = text(last, "Type");
  if (type == "forward") {
    for (const Json& group : list(member(last, "ForwardConfig"), "TargetGroups")) {
      action.groups.push_back(
          {text(group, "TargetGroupArn"), static_cast<uint32_t>(integer(group, "Weight", 1))});
    }
    std::string single = text(last, "TargetGroupArn");
    if (action.groups.empty() && !single.empty()) action.groups.push_back({single, 1});
    return action;
  }
  action.kind = Action::Kind::FixedResponse;
  const Json& fixed = member(last, "FixedResponseConfig");
  int64_t fallback = type == "fixed-response" ? 503 : kUnsupportedActionStatus;
  action.status = static_cast<uint16_t>(integer(fixed, "StatusCode", fallback));
  action.content_type = text(fixed, "ContentType");
  action.body = text(fixed, "MessageBody");
  return action;
}

struct FieldName {
  const char* name;
  const char* config;
  Condition::Field field;
};
constexpr FieldName kFields[] = {
    {"path-pattern", "PathPatternConfig", Condition::Field::PathPattern},
    {"host-header", "HostHeaderConfig", Condition::Field::HostHeader},
    {"http-header", "HttpHeaderConfig", Condition::Field::HttpHeader},
    {"query-string", "QueryStringConfig", Condition::Field::QueryString},
    {"http-request-method", "HttpRequestMethodConfig", Condition::Field::Method},
    {"source-ip", "SourceIpConfig", Condition::Field::SourceIp},
};

void add_value(Condition& condition, const Json& value) {
  if (value.is_string()) return condition.values.push_back(value.get<std::string>());
  condition.query.push_back({text(value, "Key"), text(value, "Value")});
}

std::vector<Condition> conditions_of(const Json& rule) {
  std::vector<Condition> out;
  for (const Json& json : list(rule, "Conditions")) {
    for (const FieldName& known : kFields) {
      if (text(json, "Field") != known.name) continue;
      const Json& config = member(json, known.config);
      Condition condition{known.field, text(config, "HttpHeaderName"), {}, {}, texts(config, "RegexValues")};
      for (const Json& value : list(config, "Values")) add_value(condition, value);
      if (condition.values.empty() && condition.query.empty() && condition.regex_values.empty()) {
        for (const Json& value : list(json, "Values")) add_value(condition, value);
      }
      out.push_back(std::move(condition));
    }
  }
  return out;
}

Result<void> add_certificates(const SnapshotInputs& in, const Json& document, model::Listener& listener) {
  std::set<std::string> seen;
  auto add = [&](const Json& entry) -> Result<void> {
    std::string arn = entry.is_string() ? entry.get<std::string>() : text(entry, "CertificateArn");
    if (arn.empty() || !seen.insert(arn).second) return {};
    WEIR_TRY_ASSIGN(model::Certificate certificate, certificate_of(in.store, arn));
    listener.certificates.push_back(std::move(certificate));
    return {};
  };
  for (const Json& entry : list(document, "Certificates")) WEIR_TRY(add(entry));
  for (const Json& entry : list(weir_of(document), "extra_certificates")) WEIR_TRY(add(entry));
  return {};
}

// "routing.http.response.x_frame_options.header_value" is the value of x-frame-options.
void add_header_attributes(const Json& attributes, model::Listener& listener) {
  static constexpr std::string_view kResponse = "routing.http.response.", kValue = ".header_value";
  static constexpr std::string_view kRequest = "routing.http.request.", kName = ".header_name";
  listener.server_header = flag(attributes, "routing.http.response.server.enabled", true);
  auto name_in = [](std::string_view key, std::string_view prefix, std::string_view suffix) {
    std::string name(key.substr(prefix.size(), key.size() - prefix.size() - suffix.size()));
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
  };
  if (!attributes.is_object()) return;
  for (const auto& [key, value] : attributes.items()) {
    std::string given = text(attributes, key);
    if (given.empty()) continue;
    if (key.starts_with(kResponse) && key.ends_with(kValue)) {
      listener.response_headers.push_back({name_in(key, kResponse, kValue), given});
    } else if (key.starts_with(kRequest) && key.ends_with(kName) && key.find("_tls_") != std::string::npos) {
      listener.renamed_headers.push_back({name_in(key, kRequest, kName), given});
    }
  }
}

Result<model::Listener> listener_of(const SnapshotInputs& in, const std::string& arn, const Json& document) {
  model::Listener listener;
  listener.arn = arn;
  listener.port = static_cast<uint16_t>(integer(document, "Port"));
  listener.tls = text(document, "Protocol") == "HTTPS";
  if (std::string policy = text(document, "SslPolicy"); !policy.empty()) listener.ssl_policy = policy;
  if (listener.tls) WEIR_TRY(add_certificates(in, document, listener));
  add_header_attributes(member(weir_of(document), "attributes"), listener);
  listener.default_action = action_of(list(document, "DefaultActions"));
  for (const auto& [rule_arn, rule] : load_where(in.store, kind::kRule, "ListenerArn", arn)) {
    if (flag(rule, "IsDefault")) continue;
    listener.rules.push_back({static_cast<uint32_t>(integer(rule, "Priority")), conditions_of(rule),
                              action_of(list(rule, "Actions"))});
  }
  std::sort(listener.rules.begin(), listener.rules.end(),
            [](const model::Rule& a, const model::Rule& b) { return a.priority < b.priority; });
  return listener;
}

uint32_t seconds_attribute(const Json& attributes, const char* key, int64_t fallback) {
  return static_cast<uint32_t>(integer(attributes, key, fallback) * 1000);
}

uint32_t number_attribute(const Json& attributes, const char* key, uint32_t fallback) {
  return static_cast<uint32_t>(integer(attributes, key, fallback));  // "off" and other words: the fallback
}

uint32_t codes_attribute(const Json& attributes, const char* key, uint32_t fallback) {
  return has(attributes, key) ? parse_grpc_codes(text(attributes, key)).value_or(fallback) : fallback;
}

void add_weir_attributes(const Json& a, bool strict, model::TargetGroup& group) {
  std::string idle = text(a, "weir.stream_idle_timeout.seconds", "load_balancer");
  group.stream_idle_ms = idle == "load_balancer" ? model::kAsLoadBalancer
                                                 : seconds_attribute(a, "weir.stream_idle_timeout.seconds", 60);
  group.drain_ends_when_idle = !strict && flag(a, "weir.draining.end_when_idle", true);
  group.health_check.service = text(a, "weir.health_check.service");
  if (auto metadata = parse_metadata(text(a, "weir.health_check.metadata"))) group.health_check.metadata = *metadata;
  group.health_check.evaluate_payload = !strict && flag(a, "weir.health_check.evaluate_payload", true);
  group.health_check.watch = flag(a, "weir.health_check.watch");
  group.retry.grpc_codes = codes_attribute(a, "weir.retry.grpc_codes", 0);
  group.retry.attempts_max = number_attribute(a, "weir.retry.max_attempts", 2);
  group.retry.budget_percent = number_attribute(a, "weir.retry.budget_percent", 20);
  model::OutlierEjection& outlier = group.outlier;
  outlier.enabled = flag(a, "weir.outlier_ejection.enabled");
  outlier.grpc_codes = codes_attribute(a, "weir.outlier_ejection.grpc_codes", outlier.grpc_codes);
  outlier.consecutive_failures = number_attribute(a, "weir.outlier_ejection.consecutive_failures", 5);
  outlier.base_ejection_ms = seconds_attribute(a, "weir.outlier_ejection.base_seconds", 30);
  outlier.ejected_percent_max = number_attribute(a, "weir.outlier_ejection.max_percent", 34);
  if (text(a, "weir.placement") == "rate") group.placement = model::Placement::Rate;
  group.rebalancing.enabled = flag(a, "weir.rebalancing.enabled");
  group.rebalancing.streams_per_second = number_attribute(a, "weir.rebalancing.streams_per_second", 5);
  group.rebalancing.age_ms_min = seconds_attribute(a, "weir.rebalancing.min_age_seconds", 30);
}

model::HealthCheck health_check_of(const Json& group) {
  model::HealthCheck check;
  check.path = text(group, "HealthCheckPath", check.path);
  check.port = static_cast<uint16_t>(integer(group, "HealthCheckPort", 0));  // "traffic-port" is no number: 0
  check.interval_ms = seconds_attribute(group, "HealthCheckIntervalSeconds", 30);
  check.timeout_ms = seconds_attribute(group, "HealthCheckTimeoutSeconds", 5);
  check.healthy_threshold = static_cast<uint32_t>(integer(group, "HealthyThresholdCount", 5));
  check.unhealthy_threshold = static_cast<uint32_t>(integer(group, "UnhealthyThresholdCount", 2));
  check.grpc_codes = text(member(group, "Matcher"), "GrpcCode", check.grpc_codes);
  if (text(group, "ProtocolVersion") == "HTTP2") {
    check.http_codes = text(member(group, "Matcher"), "HttpCode", "200");
    check.path = text(group, "HealthCheckPath", "/");
  }
  check.tls = text(group, "HealthCheckProtocol") == "HTTPS";
  return check;
}

model::Algorithm algorithm_of(const Json& attributes) {
  std::string type = text(attributes, "load_balancing.algorithm.type");
  if (type == "least_outstanding_requests") return model::Algorithm::LeastOutstandingRequests;
  if (type == "weighted_random") return model::Algorithm::WeightedRandom;
  return model::Algorithm::RoundRobin;
}

void add_routing_attributes(const Json& a, RoutingSnapshot& snapshot) {
  snapshot.preserve_host = flag(a, "routing.http.preserve_host_header.enabled");
  std::string mode = text(a, "routing.http.xff_header_processing.mode");
  if (mode == "preserve") snapshot.forwarded_for = model::ForwardedFor::Preserve;
  if (mode == "remove") snapshot.forwarded_for = model::ForwardedFor::Remove;
  snapshot.forwarded_for_port = flag(a, "routing.http.xff_client_port.enabled");
  snapshot.tls_headers = flag(a, "routing.http.x_amzn_tls_version_and_cipher_suite.enabled");
  snapshot.drop_invalid_headers = flag(a, "routing.http.drop_invalid_header_fields.enabled");
  snapshot.requests_per_connection_max = number_attribute(a, "weir.client_requests.max", 10000);
  snapshot.client_streams_max = number_attribute(a, "weir.client_streams.max", 128);
  snapshot.ping_counts_as_life = flag(a, "weir.idle_timeout.ping_counts");
  snapshot.adaptive_windows = flag(a, "weir.adaptive_windows.enabled", true);
  if (text(a, "weir.logs.format") == "json") snapshot.log_format = model::LogFormat::Json;
  snapshot.record_frames = flag(a, "weir.flight_recorder.enabled", true);
  snapshot.slow_reader_ms = number_attribute(a, "weir.slow_reader.timeout_seconds", 300) * 1000;
}

void collect_groups(const Action& action, std::set<std::string>& groups) {
  for (const model::WeightedGroup& group : action.groups) groups.insert(group.target_group_arn);
}

}  // namespace

int64_t deregistration_delay_ms(const Json& group) {
  return integer(member(weir_of(group), "attributes"), "deregistration_delay.timeout_seconds", 300) * 1000;
}

bool is_strict(const Json& load_balancer) {
  return flag(member(weir_of(load_balancer), "attributes"), "weir.strict_mode");
}

model::TargetGroup build_group(const SnapshotInputs& in, const std::string& group_arn, bool strict) {
  model::TargetGroup group;
  group.arn = group_arn;
  Json document = load(in.store, kind::kTargetGroup, group_arn).value_or(Json::object());
  const Json& attributes = member(weir_of(document), "attributes");
  group.protocol_version =
      text(document, "ProtocolVersion") == "GRPC" ? model::ProtocolVersion::Grpc : model::ProtocolVersion::Http2;
  group.algorithm = algorithm_of(attributes);
  group.deregistration_delay_ms = static_cast<uint32_t>(deregistration_delay_ms(document));
  group.tls = text(document, "Protocol") == "HTTPS";
  group.health_check = health_check_of(document);
  group.slow_start_ms = seconds_attribute(attributes, "slow_start.duration_seconds", 0);
  group.anomaly_mitigation = text(attributes, "load_balancing.algorithm.anomaly_mitigation") == "on";
  constexpr const char* kCount = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count";
  constexpr const char* kPercent = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage";
  group.healthy_count_min = number_attribute(attributes, kCount, 1);
  group.healthy_percent_min = number_attribute(attributes, kPercent, 0);
  add_weir_attributes(attributes, strict, group);
  for (const auto& [id, json] : load_where(in.store, kind::kTarget, "TargetGroupArn", group_arn)) {
    model::Target target;
    target.address = text(json, "Id");
    target.port = static_cast<uint16_t>(integer(json, "Port"));
    target.zone = text(json, "AvailabilityZone");
    target.draining = has(weir_of(json), "deregistering_since");
    if (target.draining) {
      int64_t since = time_ms(weir_of(json), "deregistering_since");
      target.drain_elapsed_ms = static_cast<uint32_t>(std::clamp<int64_t>(in.now_ms - since, 0, UINT32_MAX));
    } else {
      target.last_state = in.health.row(group_arn, target.address, target.port).state;
    }
    group.targets.push_back(std::move(target));
  }
  return group;
}

Result<RoutingSnapshot> build_snapshot(const SnapshotInputs& in, const Json& load_balancer) {
  RoutingSnapshot snapshot;
  snapshot.load_balancer_arn = text(load_balancer, "LoadBalancerArn");
  snapshot.strict_alb = is_strict(load_balancer);
  const Json& attributes = member(weir_of(load_balancer), "attributes");
  snapshot.idle_timeout_ms = seconds_attribute(attributes, "idle_timeout.timeout_seconds", 60);
  snapshot.client_keep_alive_ms = seconds_attribute(attributes, "client_keep_alive.seconds", 3600);
  add_routing_attributes(attributes, snapshot);
  snapshot.access_log = log_files(in.logs, snapshot.load_balancer_arn, attributes, "access_logs");
  snapshot.connection_log = log_files(in.logs, snapshot.load_balancer_arn, attributes, "connection_logs");
  snapshot.health_check_log = log_files(in.logs, snapshot.load_balancer_arn, attributes, "health_check_logs");
  std::vector<std::string> security_groups = texts(load_balancer, "SecurityGroups");
  snapshot.ingress_checked = !security_groups.empty();
  if (snapshot.ingress_checked) snapshot.ingress = in.firewalls.ingress(security_groups);
  std::set<std::string> groups;
  for (const auto& [arn, document] :
       load_where(in.store, kind::kListener, "LoadBalancerArn", snapshot.load_balancer_arn)) {
    WEIR_TRY_ASSIGN(model::Listener listener, listener_of(in, arn, document));
    collect_groups(listener.default_action, groups);
    for (const model::Rule& rule : listener.rules) collect_groups(rule.action, groups);
    snapshot.listeners.push_back(std::move(listener));
  }
  for (const std::string& arn : groups) snapshot.groups.push_back(build_group(in, arn, snapshot.strict_alb));
  return snapshot;
}

}  // namespace weir::control
