#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/support.h"

namespace weir::api {
namespace {

constexpr const char* kKind = "iam.role";
constexpr size_t kNameMax = 64;

Json load_role(Context& context, const Json& input) {
  std::string name = text(input, "RoleName");
  return load(context, kKind, name,
              {"NoSuchEntity", fmt::format("The role with name {} cannot be found.", name), 404});
}

void check_name(const std::string& name) {
  bool valid = !name.empty() && name.size() <= kNameMax && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("+=,.@_-").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (!valid) {
    raise("ValidationError", "The specified value for roleName is invalid. It must contain only alphanumeric "
                             "characters and/or the following: +=,.@_- and must not be longer than 64 characters");
  }
}

std::string role_id(Context& context) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string id = "AROA";
  while (id.size() < 21) id += letters[context.random.below(letters.size())];
  return id;
}

// A policy is an object, or JSON text.
Json policy(const Json& input, const char* member) {
  if (!has(input, member)) raise("ValidationError", fmt::format("{} must be specified", member));
  const Json& given = input[member];
  Json document = given.is_string() ? Json::parse(given.get<std::string>(), nullptr, false) : given;
  if (!document.is_object() || !has(document, "Statement")) {
    raise("MalformedPolicyDocument", "The policy is not in the valid JSON format.");
  }
  return document;
}

Json shown(Json role) {
  for (const char* member : {"Policies", "ManagedPolicyArns"}) role.erase(member);
  return public_view(std::move(role));
}

Json create_role(Context& context, const Json& input) {
  std::string name = text(input, "RoleName");
  check_name(name);
  std::string path = text(input, "Path", "/");
  if (path.empty() || path.front() != '/' || path.back() != '/') {
    raise("ValidationError", "The specified value for path is invalid. It must begin and end with /");
  }
  Json role{{"RoleName", name},
            {"Path", path},
            {"RoleId", role_id(context)},
            {"Arn", fmt::format("arn:aws:iam::{}:role{}{}", context.account, path, name)},
            {"AssumeRolePolicyDocument", policy(input, "AssumeRolePolicyDocument")},
            {"Description", text(input, "Description")},
            {"MaxSessionDuration", integer(input, "MaxSessionDuration", 3600)},
            {"CreateDate", now_seconds(context)},
            {"Policies", Json::array()},
            {"ManagedPolicyArns", Json::array()},
            {"Tags", tags_of(input)}};
  transaction(context, [&] {
    if (!find(context, kKind, name).is_null()) {
      raise("EntityAlreadyExists", fmt::format("Role with name {} already exists.", name), 409);
    }
    put(context, kKind, name, role);
  });
  return {{"Role", shown(role)}};
}

Json get_role(Context& context, const Json& input) { return {{"Role", shown(load_role(context, input))}}; }

Json list_roles(Context& context, const Json&) {
  Json roles = Json::array();
  for (auto& role : list(context, kKind)) roles.push_back(shown(role));
  return {{"Roles", roles}, {"IsTruncated", false}};
}

template <class Change>
Json change(Context& context, const Json& input, Change apply) {
  transaction(context, [&] {
    Json role = load_role(context, input);
    apply(role);
    put(context, kKind, text(role, "RoleName"), role);
  });
  return Json::object();
}

Json update_role(Context& context, const Json& input) {
  return change(context, input, [&input](Json& role) {
    role["Description"] = text(input, "Description", text(role, "Description"));
    role["MaxSessionDuration"] = integer(input, "MaxSessionDuration", integer(role, "MaxSessionDuration", 3600));
  });
}

Json update_assume_policy(Context& context, const Json& input) {
  Json document = policy(input, "PolicyDocument");
  return change(context, input, [&document](Json& role) { role["AssumeRolePolicyDocument"] = document; });
}

Json delete_role(Context& context, const Json& input) {
  transaction(context, [&] {
    Json role = load_role(context, input);
    if (!role["ManagedPolicyArns"].empty()) {
      raise("DeleteConflict", "Cannot delete entity, must detach all policies first.", 409);
    }
    if (!role["Policies"].empty()) raise("DeleteConflict", "Cannot delete entity, must delete policies first.", 409);
    erase(context, kKind, text(role, "RoleName"));
  });
  return Json::object();
}

void take_policy(Json& role, const std::string& name) {
  Json kept = Json::array();
  for (const auto& entry : role["Policies"]) {
    if (entry["PolicyName"] != name) kept.push_back(entry);
  }
  role["Policies"] = std::move(kept);
}

Json put_policy(Context& context, const Json& input) {
  Json document = policy(input, "PolicyDocument");
  return change(context, input, [&](Json& role) {
    std::string name = text(input, "PolicyName");
    take_policy(role, name);
    role["Policies"].push_back({{"PolicyName", name}, {"PolicyDocument", document}});
  });
}

Json get_policy(Context& context, const Json& input) {
  Json role = load_role(context, input);
  std::string name = text(input, "PolicyName");
  for (const auto& entry : role["Policies"]) {
    if (entry["PolicyName"] == name) {
      return {{"RoleName", role["RoleName"]}, {"PolicyName", name}, {"PolicyDocument", entry["PolicyDocument"]}};
    }
  }
  raise("NoSuchEntity", fmt::format("The role policy with name {} cannot be found.", name), 404);
}

Json delete_policy(Context& context, const Json& input) {
  return change(context, input, [&](Json& role) {
    std::string name = text(input, "PolicyName");
    size_t before = role["Policies"].size();
    take_policy(role, name);
    if (role["Policies"].size() == before) {
      raise("NoSuchEntity", fmt::format("The role policy with name {} cannot be found.", name), 404);
    }
  });
}

Json list_policies(Context& context, const Json& input) {
  Json names = Json::array();
  for (const auto& entry : load_role(context, input)["Policies"]) names.push_back(entry["PolicyName"]);
  return {{"PolicyNames", names}, {"IsTruncated", false}};
}

Json attach_policy(Context& context, const Json& input) {
  std::string policy_arn = text(input, "PolicyArn");
  if (!policy_arn.starts_with("arn:")) raise("ValidationError", fmt::format("ARN {} is not valid.", policy_arn));
  return change(context, input, [&policy_arn](Json& role) {
    for (const auto& other : role["ManagedPolicyArns"]) {
      if (other == policy_arn) return;
    }
    role["ManagedPolicyArns"].push_back(policy_arn);
  });
}

Json detach_policy(Context& context, const Json& input) {
  return change(context, input, [&input](Json& role) {
    std::string policy_arn = text(input, "PolicyArn");
    Json kept = Json::array();
    for (const auto& other : role["ManagedPolicyArns"]) {
      if (other != policy_arn) kept.push_back(other);
    }
    if (kept.size() == role["ManagedPolicyArns"].size()) {
      raise("NoSuchEntity", fmt::format("Policy {} was not found.", policy_arn), 404);
    }
    role["ManagedPolicyArns"] = kept;
  });
}

Json list_attached(Context& context, const Json& input) {
  Json attached = Json::array();
  for (const auto& policy_arn : load_role(context, input)["ManagedPolicyArns"]) {
    std::string id = policy_arn;
    attached.push_back({{"PolicyName", id.substr(id.rfind('/') + 1)}, {"PolicyArn", id}});
  }
  return {{"AttachedPolicies", attached}, {"IsTruncated", false}};
}

Json list_profiles(Context& context, const Json& input) {
  load_role(context, input);
  return {{"InstanceProfiles", Json::array()}, {"IsTruncated", false}};
}

Json tag_role(Context& context, const Json& input) {
  Json tags = tags_of(input);
  return change(context, input, [&tags](Json& role) { merge_tags(role["Tags"], tags); });
}

Json untag_role(Context& context, const Json& input) {
  Json keys = array(input, "TagKeys");
  return change(context, input, [&keys](Json& role) { remove_tags(role["Tags"], keys); });
}

Json list_role_tags(Context& context, const Json& input) {
  return {{"Tags", array(load_role(context, input), "Tags")}, {"IsTruncated", false}};
}

Json caller_identity(Context& context, const Json&) {
  return {{"Account", context.account}, {"UserId", context.account},
          {"Arn", fmt::format("arn:aws:iam::{}:root", context.account)}};
}

}  // namespace

void add_iam_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "iam",
      {{"CreateRole", create_role},
       {"GetRole", get_role},
       {"ListRoles", list_roles},
       {"UpdateRole", update_role},
       {"UpdateAssumeRolePolicy", update_assume_policy},
       {"DeleteRole", delete_role},
       {"PutRolePolicy", put_policy},
       {"GetRolePolicy", get_policy},
       {"DeleteRolePolicy", delete_policy},
       {"ListRolePolicies", list_policies},
       {"AttachRolePolicy", attach_policy},
       {"DetachRolePolicy", detach_policy},
       {"ListAttachedRolePolicies", list_attached},
       {"ListInstanceProfilesForRole", list_profiles},
       {"TagRole", tag_role},
       {"UntagRole", untag_role},
       {"ListRoleTags", list_role_tags}});
}

void add_sts_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "sts", {{"GetCallerIdentity", caller_identity}});
}

}  // namespace weir::api
