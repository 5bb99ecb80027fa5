// What listeners have of TLS: security policies, the default certificate and the list for SNI.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/elbv2/elbv2.h"
#include "model/security_policies.h"

namespace weir::api {
namespace {

constexpr size_t kCertificatesMax = 25;  // per load balancer, default certificates not counted

void check_policy(Context& context, const Json& listener) {
  std::string name = text(listener, "SslPolicy");
  const model::SecurityPolicy* policy = model::find_security_policy(name);
  if (policy == nullptr) raise("SSLPolicyNotFound", fmt::format("SSL policy '{}' not found", name));
  for (const auto& other : list_where(context, kListenerKind, "LoadBalancerArn", text(listener, "LoadBalancerArn"))) {
    if (other["ListenerArn"] == listener["ListenerArn"] || text(other, "Protocol") != "HTTPS") continue;
    const model::SecurityPolicy* beside = model::find_security_policy(text(other, "SslPolicy"));
    if (beside == nullptr || model::compatible(*policy, *beside)) continue;
    raise("InvalidConfigurationRequest",
          fmt::format("Security policy '{}' cannot be used together with '{}' of listener '{}': FIPS and post-quantum "
                      "policies mix with each other only",
                      name, beside->name, text(other, "ListenerArn")));
  }
}

Json checked_certificate(Context& context, const Json& certificate) {
  if (has(certificate, "IsDefault")) raise("ValidationError", "IsDefault cannot be set for a certificate");
  std::string id = text(certificate, "CertificateArn");
  if (find(context, "acm.certificate", id).is_null()) {
    raise("CertificateNotFound", fmt::format("Certificate '{}' not found", id));
  }
  return {{"CertificateArn", id}};
}

bool holds(const Json& certificates, const std::string& id) {
  for (const auto& certificate : certificates) {
    if (text(certificate, "CertificateArn") == id) return true;
  }
  return false;
}

Json extra_certificates(const Json& listener) { return array(listener["weir"], "extra_certificates"); }

// The one certificate of a call that adds or removes one.
const Json& single(const Json& certificates) {
  if (certificates.size() == 1) return certificates[0];
  raise("ValidationError", certificates.empty() ? "A certificate must be specified"
                                                : "Up to one certificate can be specified at the same time");
}

Json describe_certificates(Context& context, const Json& input) {
  Json listener = load_listener(context, required(input, "ListenerArn"));
  Json certificates = Json::array();
  for (const auto& certificate : array(listener, "Certificates")) {
    certificates.push_back({{"CertificateArn", certificate["CertificateArn"]}, {"IsDefault", true}});
  }
  for (const auto& certificate : extra_certificates(listener)) {
    certificates.push_back({{"CertificateArn", certificate["CertificateArn"]}, {"IsDefault", false}});
  }
  return {{"Certificates", certificates}};
}

Json add_certificates(Context& context, const Json& input) {
  std::string id = required(input, "ListenerArn");
  Json certificates = array(input, "Certificates");
  Json added;
  transaction(context, [&] {
    Json listener = load_listener(context, id);
    added = checked_certificate(context, single(certificates));
    if (text(listener, "Protocol") != "HTTPS") {
      raise("ValidationError", "Certificates cannot be specified for HTTP listeners");
    }
    Json extra = extra_certificates(listener);
    if (holds(extra, text(added, "CertificateArn"))) return;
    size_t count = 0;
    for (const auto& each : list_where(context, kListenerKind, "LoadBalancerArn", text(listener, "LoadBalancerArn"))) {
      count += extra_certificates(each).size();
    }
    if (count >= kCertificatesMax) {
      raise("TooManyCertificates", "The quota of certificates per load balancer has been reached");
    }
    extra.push_back(added);
    listener["weir"]["extra_certificates"] = extra;
    put(context, kListenerKind, id, listener);
  });
  added["IsDefault"] = false;
  return {{"Certificates", Json::array({added})}};
}

Json remove_certificates(Context& context, const Json& input) {
  std::string id = required(input, "ListenerArn");
  Json certificates = array(input, "Certificates");
  transaction(context, [&] {
    Json listener = load_listener(context, id);
    std::string removed = text(single(certificates), "CertificateArn");
    Json extra = extra_certificates(listener);
    if (!holds(extra, removed) && holds(array(listener, "Certificates"), removed)) {
      raise("OperationNotPermitted", "The default certificate of a listener cannot be removed");
    }
    Json kept = Json::array();
    for (const auto& certificate : extra) {
      if (text(certificate, "CertificateArn") != removed) kept.push_back(certificate);
    }
    listener["weir"]["extra_certificates"] = kept;
    put(context, kListenerKind, id, listener);
  });
  return Json::object();
}

Json shown(const model::SecurityPolicy& policy) {
  Json versions = Json::array();
  for (auto v = static_cast<int>(policy.highest); v >= static_cast<int>(policy.lowest); --v) {
    versions.push_back(model::to_string(static_cast<model::TlsVersion>(v)));
  }
  Json ciphers = Json::array();
  for (std::string_view cipher : policy.ciphers) {
    ciphers.push_back({{"Name", cipher}, {"Priority", ciphers.size() + 1}});
  }
  return {{"Name", policy.name},
          {"SslProtocols", versions},
          {"Ciphers", ciphers},
          {"SupportedLoadBalancerTypes", {"application", "network"}}};
}

Json describe_policies(Context&, const Json& input) {
  Json found = Json::array();
  Json names = array(input, "Names");
  for (const auto& name : names) {
    std::string wanted = name.is_string() ? name.get<std::string>() : "";
    const model::SecurityPolicy* policy = model::find_security_policy(wanted);
    if (policy == nullptr) raise("SSLPolicyNotFound", fmt::format("SSL policy '{}' not found", wanted));
    found.push_back(shown(*policy));
  }
  if (names.empty()) {
    for (const model::SecurityPolicy& policy : model::security_policies()) found.push_back(shown(policy));
  }
  return {{"SslPolicies", found}};
}

}  // namespace

void apply_listener_tls(Context& context, const Json& input, Json& listener) {
  if (listener["Protocol"] != "HTTPS") {
    if (!array(input, "Certificates").empty()) {
      raise("ValidationError", "Certificates cannot be specified for HTTP listeners");
    }
    listener.erase("Certificates");
    listener.erase("SslPolicy");
    listener["weir"]["extra_certificates"] = Json::array();
    return;
  }
  if (has(input, "Certificates")) {
    Json certificates = array(input, "Certificates");
    if (certificates.size() > 1) raise("ValidationError", "Up to one default certificate can be specified");
    Json normal = Json::array();
    for (const auto& certificate : certificates) normal.push_back(checked_certificate(context, certificate));
    listener["Certificates"] = normal;
  }
  if (array(listener, "Certificates").empty()) {
    raise("ValidationError", "A certificate must be specified for HTTPS listeners");
  }
  std::string fallback(model::kDefaultSecurityPolicy);
  listener["SslPolicy"] = text(input, "SslPolicy", text(listener, "SslPolicy", fallback.c_str()));
  check_policy(context, listener);
}

void add_listener_tls_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "elbv2",
      {{"DescribeListenerCertificates", describe_certificates},
       {"AddListenerCertificates", add_certificates},
       {"RemoveListenerCertificates", remove_certificates},
       {"DescribeSSLPolicies", describe_policies}});
}

}  // namespace weir::api
