// AWS::Logs, AWS::IAM, AWS::CertificateManager, AWS::CDK.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "cfn/provider_util.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

json log_group_of(const ResourceCall& c, const std::string& name) {
  for (const json& group :
       describe(c, "logs", "DescribeLogGroups", {{"logGroupNamePrefix", name}}, "logGroups")) {
    if (text_at(group, "logGroupName") == name) return group;
  }
  return {};
}

std::string create_log_group(const ResourceCall& c) {
  c.api.call("logs", "CreateLogGroup", {{"logGroupName", c.name}, {"tags", map_tags(c)}});
  return c.name;
}

std::string find_log_group(const ResourceCall& c) {
  if (log_group_of(c, c.name).is_null()) return {};
  json out = c.api.call("logs", "ListTagsLogGroup", {{"logGroupName", c.name}});
  return is_ours(c, out.value("tags", json::object())) ? c.name : std::string();
}

void configure_log_group(const ResourceCall& c) {
  if (c.properties.contains("RetentionInDays")) {
    c.api.call("logs", "PutRetentionPolicy",
               {{"logGroupName", c.physical_id}, {"retentionInDays", c.properties["RetentionInDays"]}});
  } else if (c.old_properties.contains("RetentionInDays")) {
    c.api.call("logs", "DeleteRetentionPolicy", {{"logGroupName", c.physical_id}});
  }
}

json log_group_values(const ResourceCall& c) {
  std::string arn = text_at(log_group_of(c, c.physical_id), "arn");
  return {{"Arn", arn.empty() || arn.ends_with(":*") ? arn : arn + ":*"}};
}

json role_of(const ResourceCall& c, const std::string& name) {
  try {
    return c.api.call("iam", "GetRole", {{"RoleName", name}}).value("Role", json());
  } catch (const api::ApiError& e) {
    if (is_not_found(e)) return {};
    throw;
  }
}

std::string create_role(const ResourceCall& c) {
  json input = pick(c.properties, {"Path", "Description", "MaxSessionDuration", "PermissionsBoundary"});
  input["RoleName"] = c.name;
  input["AssumeRolePolicyDocument"] = document_text(c.properties["AssumeRolePolicyDocument"]);
  input["Tags"] = c.tags;
  c.api.call("iam", "CreateRole", input);
  return c.name;
}

std::string find_role(const ResourceCall& c) {
  json role = role_of(c, c.name);
  return role.is_object() && is_ours(c, role.value("Tags", json::array())) ? c.name : std::string();
}

void put_policy(const ResourceCall& c, const json& role, const json& policy) {
  c.api.call("iam", "PutRolePolicy",
             {{"RoleName", role},
              {"PolicyName", policy["PolicyName"]},
              {"PolicyDocument", document_text(policy["PolicyDocument"])}});
}

void configure_role(const ResourceCall& c) {
  for (const json& arn : c.properties.value("ManagedPolicyArns", json::array())) {
    c.api.call("iam", "AttachRolePolicy", {{"RoleName", c.physical_id}, {"PolicyArn", arn}});
  }
  for (const json& policy : c.properties.value("Policies", json::array())) put_policy(c, c.physical_id, policy);
}

bool holds(const json& list, const json& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

void drop_policies(const ResourceCall& c, const json& of, const json& keep) {
  json kept_arns = keep.value("ManagedPolicyArns", json::array());
  for (const json& arn : of.value("ManagedPolicyArns", json::array())) {
    if (!holds(kept_arns, arn))
      call_if_exists(c, "iam", "DetachRolePolicy", {{"RoleName", c.physical_id}, {"PolicyArn", arn}});
  }
  json kept_names = json::array();
  for (const json& policy : keep.value("Policies", json::array())) kept_names.push_back(policy["PolicyName"]);
  for (const json& policy : of.value("Policies", json::array())) {
    if (holds(kept_names, policy["PolicyName"])) continue;
    call_if_exists(c, "iam", "DeleteRolePolicy",
                   {{"RoleName", c.physical_id}, {"PolicyName", policy["PolicyName"]}});
  }
}

void update_role(const ResourceCall& c) {
  if (changed(c, "AssumeRolePolicyDocument")) {
    c.api.call("iam", "UpdateAssumeRolePolicy",
               {{"RoleName", c.physical_id},
                {"PolicyDocument", document_text(c.properties["AssumeRolePolicyDocument"])}});
  }
  if (any_changed(c, {"Description", "MaxSessionDuration"})) {
    json input = pick(c.properties, {"Description", "MaxSessionDuration"});
    input["RoleName"] = c.physical_id;
    c.api.call("iam", "UpdateRole", input);
  }
  configure_role(c);
  drop_policies(c, c.old_properties, c.properties);
  if (changed(c, "Tags") && !tag_list(c.properties).empty()) {
    c.api.call("iam", "TagRole", {{"RoleName", c.physical_id}, {"Tags", tag_list(c.properties)}});
  }
}

void remove_role(const ResourceCall& c) {
  drop_policies(c, c.properties, json::object());
  call_if_exists(c, "iam", "DeleteRole", {{"RoleName", c.physical_id}});
}

json role_values(const ResourceCall& c) {
  json role = role_of(c, c.physical_id);
  return {{"Arn", text_at(role, "Arn")}, {"RoleId", text_at(role, "RoleId")}};
}

std::string nothing_to_find(const ResourceCall&) {
  return {};
}

std::string create_policy(const ResourceCall& c) {
  for (const json& role : c.properties.value("Roles", json::array())) put_policy(c, role, c.properties);
  return c.name;
}

void delete_policy(const ResourceCall& c, const json& of, const json& kept_roles) {
  for (const json& role : of.value("Roles", json::array())) {
    if (holds(kept_roles, role)) continue;
    call_if_exists(c, "iam", "DeleteRolePolicy", {{"RoleName", role}, {"PolicyName", of["PolicyName"]}});
  }
}

void update_policy(const ResourceCall& c) {
  create_policy(c);
  delete_policy(c, c.old_properties,
                changed(c, "PolicyName") ? json::array() : c.properties.value("Roles", json::array()));
}

json certificate_of(const ResourceCall& c) {
  try {
    return c.api.call("acm", "DescribeCertificate", {{"CertificateArn", c.physical_id}})
        .value("Certificate", json());
  } catch (const api::ApiError& e) {
    if (is_not_found(e)) return {};
    throw;
  }
}

std::string create_certificate(const ResourceCall& c) {
  json input =
      pick(c.properties, {"DomainName", "SubjectAlternativeNames", "ValidationMethod", "KeyAlgorithm"});
  input["Tags"] = c.tags;
  return text_at(c.api.call("acm", "RequestCertificate", input), "CertificateArn");
}

std::string find_certificate(const ResourceCall& c) {
  for (const json& item : describe(c, "acm", "ListCertificates", json::object(), "CertificateSummaryList")) {
    std::string arn = text_at(item, "CertificateArn");
    if (excluded(c, arn)) continue;
    if (is_ours(c, describe(c, "acm", "ListTagsForCertificate", {{"CertificateArn", arn}}, "Tags"))) return arn;
  }
  return {};
}

Progress certificate_stabilized(const ResourceCall& c) {
  json certificate = certificate_of(c);
  std::string status = text_at(certificate, "Status");
  if (status == "ISSUED") return Progress::done();
  if (status == "PENDING_VALIDATION") return Progress::waiting();
  return Progress::failed("Certificate " + c.physical_id + " is " + (status.empty() ? "gone" : status) + ". " +
                          text_at(certificate, "FailureReason"));
}

const std::vector<Provider> kTable = {
      {.type = "AWS::Logs::LogGroup",
       .service = "CloudWatchLogs",
       .properties = "LogGroupName^: string; RetentionInDays: integer(1..3653); Tags: [Tag];"
                     "LogGroupClass: string(STANDARD); -KmsKeyId; -DataProtectionPolicy",
       .attributes = "Arn",
       .name_property = "LogGroupName",
       .name_max = 512,
       .create = create_log_group,
       .find = find_log_group,
       .configure = configure_log_group,
       .update = configure_log_group,
       .values = log_group_values,
       .remove =
           [](const ResourceCall& c) {
             call_if_exists(c, "logs", "DeleteLogGroup", {{"logGroupName", c.physical_id}});
           }},
      {.type = "AWS::IAM::Role",
       .service = "Iam",
       .properties =
           "AssumeRolePolicyDocument*: json; ManagedPolicyArns: [string]; Path^: string; RoleName^: string;"
           "Policies: [{PolicyName*: string; PolicyDocument*: json}]; Description: string;"
           "MaxSessionDuration: integer(3600..43200); PermissionsBoundary: string; Tags: [Tag]",
       .attributes = "Arn RoleId",
       .name_property = "RoleName",
       .name_max = 64,
       .create = create_role,
       .find = find_role,
       .configure = configure_role,
       .update = update_role,
       .values = role_values,
       .remove = remove_role},
      {.type = "AWS::IAM::Policy",
       .service = "Iam",
       .properties = "PolicyName*: string; PolicyDocument*: json; Roles: [string]; -Users; -Groups",
       .attributes = "Id",
       .create = create_policy,
       .find = nothing_to_find,
       .update = update_policy,
       .values = [](const ResourceCall& c) { return json{{"Id", c.physical_id}}; },
       .remove = [](const ResourceCall& c) { delete_policy(c, c.properties, json::array()); }},
      {.type = "AWS::CertificateManager::Certificate",
       .service = "Acm",
       .properties =
           "DomainName*^: string; SubjectAlternativeNames^: [string]; ValidationMethod^: string(DNS|EMAIL);"
           "DomainValidationOptions^: [{DomainName*: string; HostedZoneId: string; ValidationDomain: string}];"
           "KeyAlgorithm^: string; CertificateTransparencyLoggingPreference: string; Tags: [Tag]; "
           "-CertificateAuthorityArn",
       .attributes = "",
       .create = create_certificate,
       .find = find_certificate,
       .stabilized = certificate_stabilized,
       .remove =
           [](const ResourceCall& c) {
             call_if_exists(c, "acm", "DeleteCertificate", {{"CertificateArn", c.physical_id}});
           }},
      {.type = "AWS::CDK::Metadata",
       .service = "Cdk",
       .properties = "Analytics: string",
       .attributes = "",
       .create = [](const ResourceCall& c) { return c.name; },
       .find = nothing_to_find,
       .update = [](const ResourceCall&) {}},
  };

}  // namespace

const std::vector<Provider>& other_providers() {
  return kTable;
}

}  // namespace weir::cfn
