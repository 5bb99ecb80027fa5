#include "cfn/operations_describe.h"

#include <algorithm>

#include "cfn/provider_util.h"
#include "cfn/validate.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

constexpr size_t kEventsPerPage = 100;

[[noreturn]] void no_such_stack(const std::string& name) {
  throw api::ApiError{"ValidationError", "Stack with id " + name + " does not exist", 400};
}

json public_stack(json stack) {
  stack.erase("weir");
  stack.erase("TemplateBody");
  stack["DriftInformation"] = {{"StackDriftStatus", "NOT_CHECKED"}};
  stack["RollbackConfiguration"] = json::object();
  stack["NotificationARNs"] = json::array();
  return stack;
}

json required_stack(StackContext& context, const json& input) {
  std::string name = text_at(input, "StackName");
  std::optional<json> stack = find_stack(context, name);
  if (!stack) no_such_stack(name);
  return std::move(*stack);
}

}  // namespace

std::optional<json> find_stack(StackContext& context, const std::string& name_or_id) {
  if (name_or_id.starts_with("arn:")) {
    auto document = context.store.get("cfn.stack", name_or_id);
    if (!document) return std::nullopt;
    return json::parse(document->body);
  }
  for (const store::Document& d : context.store.list_where("cfn.stack", "StackName", name_or_id)) {
    json stack = json::parse(d.body);
    if (stack["StackStatus"] != "DELETE_COMPLETE") return stack;
  }
  return std::nullopt;
}

void erase_stack(StackContext& context, const std::string& stack_id) {
  Result<void> done = context.store.transaction([&]() -> Result<void> {
    for (const char* kind : {"cfn.resource", "cfn.event"}) {
      for (const store::Document& d : context.store.list_where(kind, "StackId", stack_id)) {
        WEIR_TRY(context.store.erase(kind, d.id));
      }
    }
    return context.store.erase("cfn.stack", stack_id);
  });
  if (!done) throw api::ApiError{"InternalFailure", done.error().message, 500};
}

json describe_stacks(StackContext& context, const json& input) {
  if (!text_at(input, "StackName").empty())
    return {{"Stacks", json::array({public_stack(required_stack(context, input))})}};
  json stacks = json::array();
  for (const store::Document& d : context.store.list("cfn.stack")) {
    json stack = json::parse(d.body);
    if (stack["StackStatus"] != "DELETE_COMPLETE") stacks.push_back(public_stack(std::move(stack)));
  }
  return {{"Stacks", stacks}};
}

json describe_stack_events(StackContext& context, const json& input) {
  std::string id = required_stack(context, input)["StackId"];
  std::vector<store::Document> all = context.store.list_where("cfn.event", "StackId", id);
  std::reverse(all.begin(), all.end());
  // The token is the id of the last event of the page before.
  std::string token = text_at(input, "NextToken");
  size_t from = 0;
  while (!token.empty() && from < all.size() && all[from].id >= token) ++from;
  json out = {{"StackEvents", json::array()}};
  size_t end = std::min(all.size(), from + kEventsPerPage);
  for (size_t i = from; i < end; ++i) out["StackEvents"].push_back(json::parse(all[i].body));
  if (end < all.size()) out["NextToken"] = all[end - 1].id;
  return out;
}

json describe_stack_resources(StackContext& context, const json& input) {
  std::string id = required_stack(context, input)["StackId"];
  std::string only = text_at(input, "LogicalResourceId");
  json out = json::array();
  for (const store::Document& d : context.store.list_where("cfn.resource", "StackId", id)) {
    json resource = json::parse(d.body);
    resource.erase("weir");
    if (only.empty() || resource["LogicalResourceId"] == only) out.push_back(std::move(resource));
  }
  return {{"StackResources", out}};
}

json list_stacks(StackContext& context, const json& input) {
  json filter = input.value("StackStatusFilter", json::array());
  json out = json::array();
  for (const store::Document& d : context.store.list("cfn.stack")) {
    json stack = json::parse(d.body);
    if (!filter.empty() && std::find(filter.begin(), filter.end(), stack["StackStatus"]) == filter.end())
      continue;
    json summary = pick(stack, {"StackId", "StackName", "CreationTime", "LastUpdatedTime", "DeletionTime",
                                "StackStatus", "StackStatusReason"});
    summary["TemplateDescription"] = stack.value("Description", "");
    summary["DriftInformation"] = {{"StackDriftStatus", "NOT_CHECKED"}};
    out.push_back(std::move(summary));
  }
  return {{"StackSummaries", out}};
}

json get_template(StackContext& context, const json& input) {
  return {{"TemplateBody", required_stack(context, input)["TemplateBody"]},
          {"StagesAvailable", json::array({"Original", "Processed"})}};
}

json validate_template(StackContext& context, const json& input) {
  ParameterValues given;
  for (const json& p : input.value("Parameters", json::array()))
    given[text_at(p, "ParameterKey")] = text_at(p, "ParameterValue");
  ValidateOptions options;
  options.pseudo.region = context.region;
  options.pseudo.account = context.account;
  options.require_parameters = input.contains("Parameters");
  auto result = validate(text_at(input, "TemplateBody"), given, options);
  if (!result) {
    json all = json::array();
    for (const Diagnostic& d : result.error()) {
      all.push_back({{"Line", d.line}, {"Column", d.column}, {"Message", d.message}});
    }
    if (input.value("WeirDiagnostics", false)) return {{"WeirDiagnostics", all}};
    const Diagnostic& first = result.error().front();
    throw api::ApiError{"ValidationError",
                        first.message + " (line " + std::to_string(first.line) + ", column " +
                            std::to_string(first.column) + ")",
                        400};
  }
  json parameters = json::array();
  bool iam = false;
  for (const ParameterDefinition& p : result->tpl->parameters) {
    json entry = {{"ParameterKey", p.name}, {"NoEcho", p.no_echo}};
    if (const Node* value = p.definition->find("Default")) entry["DefaultValue"] = scalar_text(*value);
    if (const Node* text = p.definition->find("Description")) entry["Description"] = text->text;
    parameters.push_back(std::move(entry));
  }
  for (const ResourceDefinition& r : result->tpl->resources) iam = iam || r.type.starts_with("AWS::IAM::");
  json out = {{"Parameters", parameters},
              {"Description", result->tpl->description},
              {"WeirDiagnostics", json::array()}};
  if (iam) {
    out["Capabilities"] = json::array({"CAPABILITY_IAM"});
    out["CapabilitiesReason"] = "The following resource(s) require capabilities: [AWS::IAM::Role]";
  }
  return out;
}

}  // namespace weir::cfn
