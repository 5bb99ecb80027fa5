// AWS::ElasticLoadBalancingV2: listeners and rules. Conditions and actions go to the API as they are.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "cfn/provider_util.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

const std::vector<std::string> kListener = {"Port",         "Protocol",       "SslPolicy",
                                            "Certificates", "DefaultActions", "AlpnPolicy"};

bool tagged_ours(const ResourceCall& c, const std::string& arn) {
  json tags = describe_one(c, "elbv2", "DescribeTags", {{"ResourceArns", {arn}}}, "TagDescriptions");
  return tags.is_object() && is_ours(c, tags.value("Tags", json::array())) && !excluded(c, arn);
}

std::string create_listener(const ResourceCall& c) {
  json input = pick(c.properties, kListener);
  input["LoadBalancerArn"] = c.properties["LoadBalancerArn"];
  input["Tags"] = c.tags;
  return text_at(c.api.call("elbv2", "CreateListener", input)["Listeners"].at(0), "ListenerArn");
}

std::string find_listener(const ResourceCall& c) {
  for (const json& l : describe(c, "elbv2", "DescribeListeners",
                                {{"LoadBalancerArn", c.properties["LoadBalancerArn"]}}, "Listeners")) {
    if (tagged_ours(c, text_at(l, "ListenerArn"))) return text_at(l, "ListenerArn");
  }
  return {};
}

void configure_listener(const ResourceCall& c) {
  json attributes = c.properties.value("ListenerAttributes", json::array());
  if (attributes.empty()) return;
  c.api.call("elbv2", "ModifyListenerAttributes", {{"ListenerArn", c.physical_id}, {"Attributes", attributes}});
}

void update_listener(const ResourceCall& c) {
  if (any_changed(c, kListener)) {
    json input = pick(c.properties, kListener);
    input["ListenerArn"] = c.physical_id;
    c.api.call("elbv2", "ModifyListener", input);
  }
  if (changed(c, "ListenerAttributes")) configure_listener(c);
}

// The balancer as this machine sees it: which listener sockets are open. Null where nobody can tell.
json local_balancer(const ResourceCall& c) {
  if (!c.api.knows("weir", "DescribeStatus")) return nullptr;
  std::string arn = text_at(c.properties, "LoadBalancerArn");
  json status = c.api.call("weir", "DescribeStatus", json::object());
  json balancers = status.value("LoadBalancers", json::array());
  for (const json& stack : status.value("Stacks", json::array())) {
    for (const json& b : stack.value("LoadBalancers", json::array())) balancers.push_back(b);
  }
  for (const json& b : balancers) {
    if (text_at(b, "Arn") == arn) return b;
  }
  return nullptr;
}

// Done when the listener accepts connections here; a port that cannot be bound is a failure that says why.
Progress listener_stabilized(const ResourceCall& c) {
  json balancer = local_balancer(c);
  if (balancer.is_null()) return Progress::done();
  for (const json& l : balancer.value("Listeners", json::array())) {
    if (text_at(l, "Arn") == c.physical_id && !l.value("Endpoints", json::array()).empty()) return Progress::done();
  }
  if (text_at(balancer, "State") != "failed") return Progress::waiting();
  return Progress::failed("The listener does not open: " + text_at(balancer, "Reason"));
}

std::string create_rule(const ResourceCall& c) {
  json input = pick(c.properties, {"ListenerArn", "Conditions", "Priority", "Actions"});
  input["Tags"] = c.tags;
  return text_at(c.api.call("elbv2", "CreateRule", input)["Rules"].at(0), "RuleArn");
}

std::string find_rule(const ResourceCall& c) {
  for (const json& r :
       describe(c, "elbv2", "DescribeRules", {{"ListenerArn", c.properties["ListenerArn"]}}, "Rules")) {
    if (tagged_ours(c, text_at(r, "RuleArn"))) return text_at(r, "RuleArn");
  }
  return {};
}

void update_rule(const ResourceCall& c) {
  if (any_changed(c, {"Conditions", "Actions"})) {
    json input = pick(c.properties, {"Conditions", "Actions"});
    input["RuleArn"] = c.physical_id;
    c.api.call("elbv2", "ModifyRule", input);
  }
  if (!changed(c, "Priority")) return;
  c.api.call("elbv2", "SetRulePriorities",
             {{"RulePriorities",
               json::array({{{"RuleArn", c.physical_id}, {"Priority", c.properties["Priority"]}}})}});
}

// Certificates of the resource in `properties` that the listener's list holds, or does not hold.
json certificates_in_list(const ResourceCall& c, const json& properties, bool held) {
  json out = json::array();
  json list = describe(c, "elbv2", "DescribeListenerCertificates", {{"ListenerArn", c.properties["ListenerArn"]}},
                       "Certificates");
  for (const json& certificate : properties.value("Certificates", json::array())) {
    bool found = false;
    for (const json& other : list) {
      bool same = text_at(other, "CertificateArn") == text_at(certificate, "CertificateArn");
      found = found || (same && !other.value("IsDefault", false));
    }
    if (found == held) out.push_back(certificate);
  }
  return out;
}

void change_certificates(const ResourceCall& c, std::string_view operation, const json& certificates) {
  for (const json& each : certificates) {  // one in each call
    json input = {{"ListenerArn", c.properties["ListenerArn"]}, {"Certificates", json::array({each})}};
    call_if_exists(c, "elbv2", operation, input);
  }
}

// The listener's certificates have no id of their own.
std::string certificate_id(const ResourceCall& c) {
  return text_at(c.properties, "ListenerArn") + "|" + c.stack_name + "-" + c.logical_id;
}

std::string find_listener_certificate(const ResourceCall& c) {
  bool all = certificates_in_list(c, c.properties, false).empty();
  return all && !excluded(c, certificate_id(c)) ? certificate_id(c) : std::string();
}

std::string create_listener_certificate(const ResourceCall& c) {
  for (const json& each : c.properties["Certificates"]) {
    c.api.call("elbv2", "AddListenerCertificates",
               {{"ListenerArn", c.properties["ListenerArn"]}, {"Certificates", json::array({each})}});
  }
  return certificate_id(c);
}

void update_listener_certificate(const ResourceCall& c) {
  json wanted = c.properties["Certificates"];
  json dropped = json::array();
  for (const json& each : certificates_in_list(c, c.old_properties, true)) {
    if (std::find(wanted.begin(), wanted.end(), each) == wanted.end()) dropped.push_back(each);
  }
  change_certificates(c, "AddListenerCertificates", certificates_in_list(c, c.properties, false));
  change_certificates(c, "RemoveListenerCertificates", dropped);
}

#define WEIR_CFN_ACTION                                                                                      \
  "{Type*: string(forward|redirect|fixed-response|authenticate-oidc|authenticate-cognito); TargetGroupArn: " \
  "string;"                                                                                                  \
  " Order: integer(1..50000); ForwardConfig: {TargetGroups: [{TargetGroupArn*: string; Weight: "             \
  "integer(0..999)}];"                                                                                       \
  " TargetGroupStickinessConfig: {Enabled: boolean; DurationSeconds: integer(1..604800)}};"                  \
  " RedirectConfig: {StatusCode*: string(HTTP_301|HTTP_302); Protocol: string; Port: string; Host: string;"  \
  " Path: string; Query: string}; FixedResponseConfig: {StatusCode*: string; ContentType: string;"           \
  " MessageBody: string}; -AuthenticateOidcConfig; -AuthenticateCognitoConfig; -JwtValidationConfig}"

}  // namespace

const std::vector<Provider>& listener_providers() {
  static const std::vector<Provider> kTable = {
      {.type = "AWS::ElasticLoadBalancingV2::Listener",
       .service = "ElasticLoadBalancingV2",
       .properties = "LoadBalancerArn*^: string; DefaultActions*: [" WEIR_CFN_ACTION
                     "]; Port*: integer(1..65535); Protocol*: string(HTTP|HTTPS); SslPolicy: string;"
                     "Certificates: [{CertificateArn*: string}]; AlpnPolicy: [string];"
                     "ListenerAttributes: [{Key*: string; Value*: string}]; -MutualAuthentication",
       .attributes = "ListenerArn",
       .create = create_listener,
       .find = find_listener,
       .configure = configure_listener,
       .update = update_listener,
       .stabilized = listener_stabilized,
       .values = [](const ResourceCall& c) { return json{{"ListenerArn", c.physical_id}}; },
       .remove =
           [](const ResourceCall& c) {
             call_if_exists(c, "elbv2", "DeleteListener", {{"ListenerArn", c.physical_id}});
           }},
      {.type = "AWS::ElasticLoadBalancingV2::ListenerCertificate",
       .service = "ElasticLoadBalancingV2",
       .properties = "ListenerArn*^: string; Certificates*: [{CertificateArn*: string}]",
       .attributes = "",
       .create = create_listener_certificate,
       .find = find_listener_certificate,
       .update = update_listener_certificate,
       .remove =
           [](const ResourceCall& c) {
             change_certificates(c, "RemoveListenerCertificates", certificates_in_list(c, c.properties, true));
           }},
      {.type = "AWS::ElasticLoadBalancingV2::ListenerRule",
       .service = "ElasticLoadBalancingV2",
       .properties = "ListenerArn*^: string; Priority*: integer(1..50000); Actions*: [" WEIR_CFN_ACTION
                     "]; Conditions*: [{Field: string(host-header|path-pattern|http-header|http-request-method|"
                     "query-string|source-ip); Values: [string]; HostHeaderConfig: {Values: [string]; "
                     "RegexValues: [string]};"
                     "PathPatternConfig: {Values: [string]; RegexValues: [string]};"
                     "HttpHeaderConfig: {HttpHeaderName: string; Values: [string]; RegexValues: [string]};"
                     "HttpRequestMethodConfig: {Values: [string]}; QueryStringConfig: {Values: [{Key: string;"
                     "Value: string}]}; SourceIpConfig: {Values: [string]}}]; -Transforms",
       .attributes = "RuleArn IsDefault",
       .create = create_rule,
       .find = find_rule,
       .update = update_rule,
       .values = [](const ResourceCall& c) { return json{{"RuleArn", c.physical_id}, {"IsDefault", "false"}}; },
       .remove =
           [](const ResourceCall& c) {
             call_if_exists(c, "elbv2", "DeleteRule", {{"RuleArn", c.physical_id}});
           }},
  };
  return kTable;
}

}  // namespace weir::cfn
