#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

using Type = AttributeSpec::Type;
constexpr size_t kListenersMax = 50;
constexpr size_t kCertificatesMax = 26;
constexpr const char* kDefaultPolicy = "ELBSecurityPolicy-2016-08";

constexpr AttributeSpec kAttributes[] = {
    {Type::Boolean, "routing.http.response.server.enabled", "true"},
    {Type::Text, "routing.http.response.strict_transport_security.header_value", ""},
    {Type::Text, "routing.http.response.access_control_allow_origin.header_value", ""},
    {Type::Text, "routing.http.response.access_control_allow_methods.header_value", ""},
    {Type::Text, "routing.http.response.access_control_allow_headers.header_value", ""},
    {Type::Text, "routing.http.response.access_control_allow_credentials.header_value", ""},
    {Type::Text, "routing.http.response.access_control_expose_headers.header_value", ""},
    {Type::Text, "routing.http.response.access_control_max_age.header_value", ""},
    {Type::Text, "routing.http.response.content_security_policy.header_value", ""},
    {Type::Text, "routing.http.response.x_content_type_options.header_value", ""},
    {Type::Text, "routing.http.response.x_frame_options.header_value", ""},
};

constexpr std::string_view kPolicies[] = {
    "2016-08", "2015-05", "TLS13-1-3-2021-06", "TLS13-1-3-PQ-2025-09", "TLS13-1-2-Res-2021-06",
    "TLS13-1-2-Res-PQ-2025-09", "TLS13-1-2-2021-06", "TLS13-1-2-PQ-2025-09", "TLS13-1-2-Ext1-2021-06",
    "TLS13-1-2-Ext1-PQ-2025-09", "TLS13-1-2-Ext2-2021-06", "TLS13-1-2-Ext2-PQ-2025-09", "TLS13-1-1-2021-06",
    "TLS13-1-0-2021-06", "TLS13-1-0-PQ-2025-09", "TLS-1-2-2017-01", "TLS-1-2-Ext-2018-06", "TLS-1-1-2017-01",
    "TLS-1-0-2015-04", "FS-1-2-Res-2020-10", "FS-1-2-Res-2019-08", "FS-1-2-2019-08", "FS-1-1-2019-08", "FS-2018-06",
};

void check_policy(const std::string& policy) {
  constexpr std::string_view prefix = "ELBSecurityPolicy-";
  for (std::string_view known : kPolicies) {
    if (policy.starts_with(prefix) && std::string_view(policy).substr(prefix.size()) == known) return;
  }
  raise("SSLPolicyNotFound", fmt::format("SSL policy '{}' not found", policy));
}

Json checked_certificates(Context& context, const Json& certificates) {
  Json normal = Json::array();
  if (certificates.size() > kCertificatesMax) {
    raise("TooManyCertificates", "The quota of certificates per load balancer has been reached");
  }
  for (const auto& certificate : certificates) {
    std::string id = text(certificate, "CertificateArn");
    if (find(context, "acm.certificate", id).is_null()) {
      raise("CertificateNotFound", fmt::format("Certificate '{}' not found", id));
    }
    normal.push_back({{"CertificateArn", id}});
  }
  return normal;
}

void check_protocol(const std::string& protocol) {
  if (protocol.empty()) raise("ValidationError", "A listener protocol must be specified");
  if (protocol != "HTTP" && protocol != "HTTPS") {
    raise("ValidationError", fmt::format("Listener protocol '{}' must be one of 'HTTP, HTTPS'", protocol));
  }
}

int64_t checked_port(const Json& input) {
  auto port = optional_integer(input, "Port");
  if (!port) raise("ValidationError", "A listener port must be specified");
  if (*port < 1 || *port > 65535) {
    raise("ValidationError", fmt::format("Listener port '{}' must be between '1-65535' inclusive", *port));
  }
  return *port;
}

void check_port_free(Context& context, const std::string& balancer_arn, int64_t port, const std::string& except) {
  for (const auto& other : list_where(context, kListenerKind, "LoadBalancerArn", balancer_arn)) {
    if (other["ListenerArn"] == except || integer(other, "Port", 0) != port) continue;
    raise("DuplicateListener",
          fmt::format("A listener already exists on this port for this load balancer '{}'", balancer_arn));
  }
}

// Certificates and policy belong to HTTPS and to nothing else.
void apply_tls(Context& context, const Json& input, Json& listener) {
  if (listener["Protocol"] != "HTTPS") {
    if (!array(input, "Certificates").empty()) {
      raise("ValidationError", "Certificates cannot be specified for HTTP listeners");
    }
    listener.erase("Certificates");
    listener.erase("SslPolicy");
    return;
  }
  if (has(input, "Certificates")) {
    Json certificates = checked_certificates(context, array(input, "Certificates"));
    if (certificates.size() > 1) raise("ValidationError", "Up to one default certificate can be specified");
    listener["Certificates"] = certificates;
  }
  if (array(listener, "Certificates").empty()) {
    raise("ValidationError", "A certificate must be specified for HTTPS listeners");
  }
  listener["SslPolicy"] = text(input, "SslPolicy", text(listener, "SslPolicy", kDefaultPolicy));
  check_policy(text(listener, "SslPolicy"));
}

Json shown(Json listener) {
  listener.erase("Tags");
  return public_view(std::move(listener));
}

bool same_settings(const Json& a, const Json& b) {
  for (const char* member : {"Port", "Protocol", "SslPolicy", "Certificates", "DefaultActions"}) {
    if (a.value(member, Json()) != b.value(member, Json())) return false;
  }
  return true;
}

Json make_listener(Context& context, const Json& input, const std::string& balancer_arn, int64_t port,
                   const std::string& protocol) {
  std::string base = balancer_arn;
  base.replace(base.find(":loadbalancer/"), std::string_view(":loadbalancer/").size(), ":listener/");
  Json listener{{"ListenerArn", base + "/" + context.random.hex(16)},
                {"LoadBalancerArn", balancer_arn},
                {"Port", port},
                {"Protocol", protocol},
                {"Tags", tags_of(input)},
                {"weir", {{"attributes", attribute_defaults(kAttributes, std::size(kAttributes))},
                          {"extra_certificates", Json::array()}}}};
  apply_tls(context, input, listener);
  listener["DefaultActions"] = checked_actions(context, array(input, "DefaultActions"), protocol, balancer_arn);
  return listener;
}

Json create_listener(Context& context, const Json& input) {
  std::string balancer_arn = required(input, "LoadBalancerArn");
  std::string protocol = text(input, "Protocol");
  check_protocol(protocol);
  int64_t port = checked_port(input);
  if (!array(input, "AlpnPolicy").empty()) {
    raise("ValidationError", fmt::format("ALPN policies are not supported for {} listeners", protocol));
  }
  Json listener;
  transaction(context, [&] {
    Json balancer = load_load_balancer(context, balancer_arn);
    if (is_deleting(balancer)) {
      raise("LoadBalancerNotFound", fmt::format("Load balancers '[{}]' not found", balancer_arn));
    }
    auto existing = list_where(context, kListenerKind, "LoadBalancerArn", balancer_arn);
    if (existing.size() >= kListenersMax) {
      raise("TooManyListeners", "The quota of listeners per load balancer has been reached");
    }
    listener = make_listener(context, input, balancer_arn, port, protocol);
    for (const auto& other : existing) {
      if (!same_settings(other, listener)) continue;
      listener = other;
      return;
    }
    check_port_free(context, balancer_arn, port, "");
    put(context, kListenerKind, text(listener, "ListenerArn"), listener);
  });
  return {{"Listeners", Json::array({shown(listener)})}};
}

Json describe_listeners(Context& context, const Json& input) {
  Json found = Json::array();
  Json arns = array(input, "ListenerArns");
  std::string balancer = text(input, "LoadBalancerArn");
  if (arns.empty() && balancer.empty()) {
    raise("ValidationError", "You must specify either listener ARNs or a load balancer ARN");
  }
  for (const auto& arn : arns) {
    found.push_back(shown(load_listener(context, arn.is_string() ? arn.get<std::string>() : "")));
  }
  if (arns.empty()) {
    load_load_balancer(context, balancer);
    for (auto& listener : list_where(context, kListenerKind, "LoadBalancerArn", balancer)) {
      found.push_back(shown(listener));
    }
  }
  return {{"Listeners", found}};
}

// Rules of a listener that becomes HTTP must not forward to gRPC groups.
void recheck_rules(Context& context, const Json& listener) {
  for (const auto& rule : list_where(context, kRuleKind, "ListenerArn", text(listener, "ListenerArn"))) {
    checked_actions(context, array(rule, "Actions"), text(listener, "Protocol"), text(listener, "LoadBalancerArn"));
  }
}

Json modify_listener(Context& context, const Json& input) {
  std::string id = required(input, "ListenerArn");
  Json listener;
  transaction(context, [&] {
    listener = load_listener(context, id);
    std::string balancer = text(listener, "LoadBalancerArn");
    if (has(input, "Port")) {
      listener["Port"] = checked_port(input);
      check_port_free(context, balancer, integer(listener, "Port", 0), id);
    }
    if (has(input, "Protocol")) {
      check_protocol(text(input, "Protocol"));
      listener["Protocol"] = text(input, "Protocol");
    }
    apply_tls(context, input, listener);
    Json actions = has(input, "DefaultActions") ? array(input, "DefaultActions") : array(listener, "DefaultActions");
    listener["DefaultActions"] = checked_actions(context, actions, text(listener, "Protocol"), balancer);
    recheck_rules(context, listener);
    put(context, kListenerKind, id, listener);
  });
  return {{"Listeners", Json::array({shown(listener)})}};
}

Json delete_listener(Context& context, const Json& input) {
  std::string id = required(input, "ListenerArn");
  transaction(context, [&] {
    load_listener(context, id);
    for (const auto& rule : list_where(context, kRuleKind, "ListenerArn", id)) {
      erase(context, kRuleKind, text(rule, "RuleArn"));
    }
    erase(context, kListenerKind, id);
  });
  return Json::object();
}

Json describe_attributes(Context& context, const Json& input) {
  Json listener = load_listener(context, required(input, "ListenerArn"));
  return {{"Attributes", attribute_list(listener["weir"]["attributes"])}};
}

Json modify_attributes(Context& context, const Json& input) {
  std::string id = required(input, "ListenerArn");
  Json listener;
  transaction(context, [&] {
    listener = load_listener(context, id);
    apply_attributes(listener["weir"]["attributes"], array(input, "Attributes"), kAttributes, std::size(kAttributes),
                     "Listener");
    put(context, kListenerKind, id, listener);
  });
  return {{"Attributes", attribute_list(listener["weir"]["attributes"])}};
}

Json describe_certificates(Context& context, const Json& input) {
  Json listener = load_listener(context, required(input, "ListenerArn"));
  Json certificates = Json::array();
  for (const auto& certificate : array(listener, "Certificates")) {
    certificates.push_back({{"CertificateArn", certificate["CertificateArn"]}, {"IsDefault", true}});
  }
  for (const auto& certificate : array(listener["weir"], "extra_certificates")) {
    certificates.push_back({{"CertificateArn", certificate["CertificateArn"]}, {"IsDefault", false}});
  }
  return {{"Certificates", certificates}};
}

Json add_certificates(Context& context, const Json& input) {
  std::string id = required(input, "ListenerArn");
  Json added = checked_certificates(context, array(input, "Certificates"));
  transaction(context, [&] {
    Json listener = load_listener(context, id);
    Json& extra = listener["weir"]["extra_certificates"];
    if (!extra.is_array()) extra = Json::array();
    for (const auto& certificate : added) {
      bool known = false;
      for (const auto& other : extra) known = known || other == certificate;
      if (!known) extra.push_back(certificate);
    }
    if (extra.size() >= kCertificatesMax) {
      raise("TooManyCertificates", "The quota of certificates per load balancer has been reached");
    }
    put(context, kListenerKind, id, listener);
  });
  for (auto& certificate : added) certificate["IsDefault"] = false;
  return {{"Certificates", added}};
}

Json remove_certificates(Context& context, const Json& input) {
  std::string id = required(input, "ListenerArn");
  transaction(context, [&] {
    Json listener = load_listener(context, id);
    Json kept = Json::array();
    for (const auto& certificate : array(listener["weir"], "extra_certificates")) {
      bool removed = false;
      for (const auto& given : array(input, "Certificates")) {
        removed = removed || text(given, "CertificateArn") == text(certificate, "CertificateArn");
      }
      if (!removed) kept.push_back(certificate);
    }
    listener["weir"]["extra_certificates"] = kept;
    put(context, kListenerKind, id, listener);
  });
  return Json::object();
}

}  // namespace

Json load_listener(Context& context, const std::string& arn) {
  return load(context, kListenerKind, arn, {"ListenerNotFound", "One or more listeners not found", 400});
}

void add_listener_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "elbv2",
      {{"CreateListener", create_listener},
       {"DescribeListeners", describe_listeners},
       {"ModifyListener", modify_listener},
       {"DeleteListener", delete_listener},
       {"DescribeListenerAttributes", describe_attributes},
       {"ModifyListenerAttributes", modify_attributes},
       {"DescribeListenerCertificates", describe_certificates},
       {"AddListenerCertificates", add_certificates},
       {"RemoveListenerCertificates", remove_certificates}});
}

}  // namespace weir::api
