#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/elbv2/elbv2.h"

namespace weir::api {
namespace {

using Type = AttributeSpec::Type;
constexpr size_t kListenersMax = 50;

constexpr AttributeSpec kAttributes[] = {
    {Type::Boolean, "routing.http.response.server.enabled", "true"},
    {Type::HeaderValue, "routing.http.response.strict_transport_security.header_value", ""},
    {Type::HeaderValue, "routing.http.response.access_control_allow_origin.header_value", ""},
    {Type::HeaderValue, "routing.http.response.access_control_allow_methods.header_value", ""},
    {Type::HeaderValue, "routing.http.response.access_control_allow_headers.header_value", ""},
    {Type::Choice, "routing.http.response.access_control_allow_credentials.header_value", "", 0, 0, "||true|"},
    {Type::HeaderValue, "routing.http.response.access_control_expose_headers.header_value", ""},
    {Type::Integer, "routing.http.response.access_control_max_age.header_value", "", 0, 86400, "||"},
    {Type::HeaderValue, "routing.http.response.content_security_policy.header_value", ""},
    {Type::Choice, "routing.http.response.x_content_type_options.header_value", "", 0, 0, "||nosniff|"},
    {Type::HeaderValue, "routing.http.response.x_frame_options.header_value", ""},
    {Type::HeaderName, "routing.http.request.x_amzn_tls_version.header_name", "X-Amzn-Tls-Version"},
    {Type::HeaderName, "routing.http.request.x_amzn_tls_cipher_suite.header_name", "X-Amzn-Tls-Cipher-Suite"},
    {Type::HeaderName, "routing.http.request.x_amzn_mtls_clientcert.header_name", "X-Amzn-Mtls-Clientcert"},
    {Type::HeaderName, "routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name",
     "X-Amzn-Mtls-Clientcert-Serial-Number"},
    {Type::HeaderName, "routing.http.request.x_amzn_mtls_clientcert_issuer.header_name",
     "X-Amzn-Mtls-Clientcert-Issuer"},
    {Type::HeaderName, "routing.http.request.x_amzn_mtls_clientcert_subject.header_name",
     "X-Amzn-Mtls-Clientcert-Subject"},
    {Type::HeaderName, "routing.http.request.x_amzn_mtls_clientcert_validity.header_name",
     "X-Amzn-Mtls-Clientcert-Validity"},
    {Type::HeaderName, "routing.http.request.x_amzn_mtls_clientcert_leaf.header_name", "X-Amzn-Mtls-Clientcert-Leaf"},
};

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
  apply_listener_tls(context, input, listener);
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
    apply_listener_tls(context, input, listener);
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
       {"ModifyListenerAttributes", modify_attributes}});
}

}  // namespace weir::api
