#include "cfn/operations.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "cfn/operations_describe.h"
#include "cfn/provider_util.h"
#include "cfn/stack_state.h"
#include "cfn/unknown.h"
#include "cfn/validate.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

constexpr size_t kNameMax = 128;
constexpr size_t kStacksMax = 200;
constexpr size_t kDeletedStacksMax = 100;

[[noreturn]] void validation_error(const std::string& message) {
  throw api::ApiError{"ValidationError", message, 400};
}

void check_name(const std::string& name) {
  bool good =
      !name.empty() && name.size() <= kNameMax && std::isalpha(static_cast<unsigned char>(name[0])) != 0 &&
      std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '-'; });
  if (good) return;
  validation_error(
      "1 validation error detected: Value '" + name +
      "' at 'stackName' failed to satisfy constraint: Member must satisfy regular expression pattern: "
      "[a-zA-Z][-a-zA-Z0-9]*");
}

void save(StackState& state) {
  Result<void> done = state.commit();
  if (!done) throw api::ApiError{"InternalFailure", done.error().message, 500};
}

// The values given, with UsePreviousValue taken from `before`.
ParameterValues given_parameters(const json& input, const json* before) {
  ParameterValues out;
  for (const json& p : input.value("Parameters", json::array())) {
    std::string key = text_at(p, "ParameterKey");
    if (!p.value("UsePreviousValue", false)) {
      out[key] = text_at(p, "ParameterValue");
    } else if (before != nullptr && (*before)["weir"]["parameters"].contains(key)) {
      out[key] = (*before)["weir"]["parameters"][key].get<std::string>();
    } else {
      validation_error("Parameters: [" + key + "] must have values");
    }
  }
  return out;
}

ValidatedTemplate validated(const StackContext& context, const json& input, const std::string& body,
                            const json* before, const std::string& stack_name) {
  ValidateOptions options;
  options.pseudo = {context.region, context.account,
                    before == nullptr ? "" : (*before)["StackId"].get<std::string>(), stack_name};
  auto result = validate(body, given_parameters(input, before), options);
  if (result) return std::move(*result);
  const Diagnostic& first = result.error().front();
  std::string where = first.line == 0 ? "" : fmt::format(" (line {}, column {})", first.line, first.column);
  validation_error(first.message + where);
}

void check_capabilities(const json& input, const Template& tpl) {
  bool iam = false;
  bool named = false;
  for (const ResourceDefinition& r : tpl.resources) {
    if (!r.type.starts_with("AWS::IAM::")) continue;
    iam = true;
    named = named || (r.properties != nullptr && r.properties->find("RoleName") != nullptr);
  }
  json have = input.value("Capabilities", json::array());
  auto has = [&](const char* name) { return std::find(have.begin(), have.end(), json(name)) != have.end(); };
  if (named && !has("CAPABILITY_NAMED_IAM")) {
    throw api::ApiError{"InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_NAMED_IAM]",
                        400};
  }
  if (iam && !has("CAPABILITY_IAM") && !has("CAPABILITY_NAMED_IAM")) {
    throw api::ApiError{"InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]", 400};
  }
}

json shown_parameters(const ValidatedTemplate& v) {
  json out = json::array();
  for (const ParameterDefinition& p : v.tpl->parameters) {
    auto found = v.parameters.find(p.name);
    if (found == v.parameters.end()) continue;
    out.push_back({{"ParameterKey", p.name}, {"ParameterValue", p.no_echo ? "****" : found->second}});
  }
  return out;
}

std::string template_body(const json& input) {
  std::string body = text_at(input, "TemplateBody");
  if (!body.empty()) return body;
  if (input.contains("TemplateURL"))
    validation_error("TemplateURL is not supported by Weir; pass the template as TemplateBody.");
  validation_error("Either Template URL or Template Body must be specified.");
}

std::string on_failure(const json& input) {
  if (input.contains("OnFailure") && input.contains("DisableRollback")) {
    validation_error("Only one of OnFailure and DisableRollback may be specified.");
  }
  if (input.value("DisableRollback", false)) return "DO_NOTHING";
  return input.value("OnFailure", "ROLLBACK");
}

// Old deleted stacks make room; living ones have a limit.
void make_room(StackContext& context) {
  std::vector<std::pair<double, std::string>> deleted;
  size_t living = 0;
  for (const store::Document& d : context.store.list("cfn.stack")) {
    json stack = json::parse(d.body);
    if (stack["StackStatus"] == "DELETE_COMPLETE")
      deleted.emplace_back(stack["CreationTime"].get<double>(), d.id);
    else ++living;
  }
  if (living >= kStacksMax) {
    throw api::ApiError{"LimitExceededException",
                        fmt::format("Limit for stack has been exceeded ({})", kStacksMax), 400};
  }
  std::sort(deleted.begin(), deleted.end());
  for (size_t i = 0; deleted.size() - i > kDeletedStacksMax; ++i) erase_stack(context, deleted[i].second);
}

json create_stack(StackContext& context, const json& input) {
  std::string name = text_at(input, "StackName");
  check_name(name);
  std::string body = template_body(input);
  if (find_stack(context, name))
    throw api::ApiError{"AlreadyExistsException", "Stack [" + name + "] already exists", 400};
  std::string policy = on_failure(input);
  ValidatedTemplate v = validated(context, input, body, nullptr, name);
  check_capabilities(input, *v.tpl);
  make_room(context);
  std::string id = fmt::format("arn:aws:cloudformation:{}:{}:stack/{}/{}", context.region, context.account,
                               name, context.random.uuid());
  json stack = {{"StackId", id},
                {"StackName", name},
                {"TemplateBody", body},
                {"Parameters", shown_parameters(v)},
                {"Tags", input.value("Tags", json::array())},
                {"Capabilities", input.value("Capabilities", json::array())},
                {"DisableRollback", policy == "DO_NOTHING"},
                {"CreationTime", now_seconds(context)},
                {"EnableTerminationProtection", input.value("EnableTerminationProtection", false)},
                {"Outputs", json::array()},
                {"StackStatus", ""}};
  if (!v.tpl->description.empty()) stack["Description"] = v.tpl->description;
  if (input.contains("TimeoutInMinutes")) stack["TimeoutInMinutes"] = input["TimeoutInMinutes"];
  stack["weir"] = {{"operation", context.random.uuid()},
                   {"parameters", v.parameters},
                   {"on_failure", policy},
                   {"token", text_at(input, "ClientRequestToken")}};
  StackState state(context, std::move(stack));
  state.set_status("CREATE_IN_PROGRESS", "User Initiated");
  save(state);
  return {{"StackId", id}, {"OperationId", state.operation()}};
}

StackState existing(StackContext& context, const json& input) {
  std::string name = text_at(input, "StackName");
  std::optional<json> stack = find_stack(context, name);
  if (!stack) validation_error("Stack with id " + name + " does not exist");
  return std::move(*StackState::load(context, (*stack)["StackId"]));
}

void check_updatable(const StackState& state) {
  const std::string status = state.status();
  bool good = status == "CREATE_COMPLETE" || status == "UPDATE_COMPLETE" ||
              status == "UPDATE_ROLLBACK_COMPLETE" || status == "UPDATE_FAILED" ||
              (status == "CREATE_FAILED" && state.stack.value("DisableRollback", false));
  if (!good) validation_error("Stack:" + state.id() + " is in " + status + " state and can not be updated.");
}

// True when bringing `state` to the template would touch something.
bool differs(const StackState& state, const ValidatedTemplate& v, const json& next,
             const StackContext& context) {
  Diagnostics ignored;
  StateValues values(state);
  Pseudo pseudo{context.region, context.account, next["StackId"], next["StackName"]};
  Evaluator evaluator(*v.tpl, pseudo, v.parameters, &values, ignored);
  size_t present = 0;
  for (const ResourceDefinition& r : v.tpl->resources) {
    if (!evaluator.present(r)) continue;
    ++present;
    auto found = state.resources.find(r.name);
    if (found == state.resources.end() || found->second["weir"].value("failed", false)) return true;
    const json& weir = found->second["weir"];
    if (weir["properties"] != resolved_properties(next, r, evaluator)) return true;
    if (weir.value("deletion_policy", "Delete") != r.deletion_policy) return true;
  }
  return present != state.resources.size() ||
         resolved_outputs(*v.tpl, evaluator) != state.stack.value("Outputs", json::array());
}

void check_types_kept(const StackState& state, const Template& tpl) {
  std::vector<std::string> names;
  for (const ResourceDefinition& r : tpl.resources) {
    auto found = state.resources.find(r.name);
    if (found != state.resources.end() && found->second["ResourceType"] != r.type) names.push_back(r.name);
  }
  if (names.empty()) return;
  validation_error(
      "Update of resource type is not permitted. The new template modifies resource type of the "
      "following resources: " +
      bracketed(names));
}

json update_stack(StackContext& context, const json& input) {
  StackState state = existing(context, input);
  json& stack = state.stack;
  check_updatable(state);
  std::string body = input.value("UsePreviousTemplate", false) ? stack["TemplateBody"].get<std::string>()
                                                               : template_body(input);
  ValidatedTemplate v = validated(context, input, body, &stack, stack["StackName"]);
  check_capabilities(input, *v.tpl);
  check_types_kept(state, *v.tpl);
  json next = stack;
  next["TemplateBody"] = body;
  next["Parameters"] = shown_parameters(v);
  if (input.contains("Tags")) next["Tags"] = input["Tags"];
  if (!differs(state, v, next, context)) validation_error("No updates are to be performed.");
  json previous = {{"TemplateBody", stack["TemplateBody"]},
                   {"Parameters", stack["Parameters"]},
                   {"Tags", stack["Tags"]},
                   {"parameters", stack["weir"]["parameters"]},
                   {"Description", stack.value("Description", "")}};
  next["LastUpdatedTime"] = now_seconds(context);
  next["Description"] = v.tpl->description;
  next["weir"]["previous"] = std::move(previous);
  next["weir"]["parameters"] = v.parameters;
  next["weir"]["operation"] = context.random.uuid();
  next["weir"]["on_failure"] = input.value("DisableRollback", false) ? "DO_NOTHING" : "ROLLBACK";
  next["weir"]["token"] = text_at(input, "ClientRequestToken");
  stack = std::move(next);
  for (auto& [name, resource] : state.resources) {
    if (resource["weir"].erase("failed") > 0) state.touch(name);
  }
  state.set_status("UPDATE_IN_PROGRESS", "User Initiated");
  save(state);
  return {{"StackId", state.id()}, {"OperationId", state.operation()}};
}

json delete_stack(StackContext& context, const json& input) {
  std::optional<json> found = find_stack(context, text_at(input, "StackName"));
  if (!found || (*found)["StackStatus"] == "DELETE_COMPLETE" ||
      (*found)["StackStatus"] == "DELETE_IN_PROGRESS") {
    return json::object();
  }
  StackState state = std::move(*StackState::load(context, (*found)["StackId"]));
  if (state.stack.value("EnableTerminationProtection", false)) {
    validation_error("Stack [" + state.stack["StackName"].get<std::string>() +
                     "] cannot be deleted while TerminationProtection is enabled");
  }
  json& weir = state.stack["weir"];
  weir["operation"] = context.random.uuid();
  weir["token"] = text_at(input, "ClientRequestToken");
  weir["retain"] = input.value("RetainResources", json::array());
  for (auto& [name, resource] : state.resources) {
    resource["weir"].erase("delete_failed");
    for (json& old : resource["weir"].contains("replaced") ? resource["weir"]["replaced"] : json::array()) {
      old.erase("delete_failed");
    }
    state.touch(name);
  }
  state.set_status("DELETE_IN_PROGRESS", "User Initiated");
  save(state);
  return json::object();
}

}  // namespace

void register_operations(api::Dispatcher& dispatcher, StackEngine& engine) {
  auto add = [&](const char* operation, json (*handler)(StackContext&, const json&)) {
    dispatcher.add("cloudformation", operation,
                   [&engine, handler](const json& input) { return handler(engine.context(), input); });
  };
  add("CreateStack", create_stack);
  add("UpdateStack", update_stack);
  add("DeleteStack", delete_stack);
  add("DescribeStacks", describe_stacks);
  add("DescribeStackEvents", describe_stack_events);
  add("DescribeStackResources", describe_stack_resources);
  add("ListStacks", list_stacks);
  add("GetTemplate", get_template);
  add("ValidateTemplate", validate_template);
}

}  // namespace weir::cfn
