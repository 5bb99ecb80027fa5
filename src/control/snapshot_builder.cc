#include "control/snapshot_builder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

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

// A query-string value becomes "KEY=VALUE", or "VALUE" when it has no key.
void add_value(Condition& condition, const Json& value) {
  if (value.is_string()) return condition.values.push_back(value.get<std::string>());
  std::string key = text(value, "Key");
  condition.values.push_back(key.empty() ? text(value, "Value") : key + "=" + text(value, "Value"));
}

std::vector<Condition> conditions_of(const Json& rule) {
  std::vector<Condition> out;
  for (const Json& json : list(rule, "Conditions")) {
    for (const FieldName& known : kFields) {
      if (text(json, "Field") != known.name) continue;
      Condition condition{known.field, text(member(json, known.config), "HttpHeaderName"), {}};
      for (const Json& value : list(member(json, known.config), "Values")) add_value(condition, value);
      if (condition.values.empty()) {
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

Result<model::Listener> listener_of(const SnapshotInputs& in, const std::string& arn, const Json& document) {
  model::Listener listener;
  listener.arn = arn;
  listener.port = static_cast<uint16_t>(integer(document, "Port"));
  listener.tls = text(document, "Protocol") == "HTTPS";
  if (std::string policy = text(document, "SslPolicy"); !policy.empty()) listener.ssl_policy = policy;
  if (listener.tls) WEIR_TRY(add_certificates(in, document, listener));
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

model::HealthCheck health_check_of(const Json& group, bool strict) {
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
  check.evaluate_payload = !strict;
  return check;
}

model::Algorithm algorithm_of(const Json& attributes) {
  std::string type = text(attributes, "load_balancing.algorithm.type");
  if (type == "least_outstanding_requests") return model::Algorithm::LeastOutstandingRequests;
  if (type == "weighted_random") return model::Algorithm::WeightedRandom;
  return model::Algorithm::RoundRobin;
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
  group.health_check = health_check_of(document, strict);
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
