#include "cfn/stack_state.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

#include "cfn/provider.h"
#include "cfn/unknown.h"

namespace weir::cfn {

using nlohmann::json;

namespace {
constexpr char kStackType[] = "AWS::CloudFormation::Stack";
}

double now_seconds(const StackContext& context) {
  return static_cast<double>(context.clock.unix_ms()) / 1000.0;
}

std::string iso_time(double seconds) {
  auto whole = static_cast<time_t>(seconds);
  tm parts{};
  gmtime_r(&whole, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     static_cast<int>((seconds - static_cast<double>(whole)) * 1000));
}

std::string bracketed(const std::vector<std::string>& names) {
  return fmt::format("[{}]", fmt::join(names, ", "));
}

std::optional<StackState> StackState::load(StackContext& context, const std::string& stack_id) {
  std::optional<store::Document> document = context.store.get("cfn.stack", stack_id);
  if (!document) return std::nullopt;
  StackState state(context, json::parse(document->body));
  for (const store::Document& d : context.store.list_where("cfn.resource", "StackId", stack_id)) {
    json resource = json::parse(d.body);
    std::string name = resource["LogicalResourceId"];
    state.resources.emplace(std::move(name), std::move(resource));
  }
  return state;
}

json* StackState::resource(const std::string& logical_id) {
  auto found = resources.find(logical_id);
  return found == resources.end() ? nullptr : &found->second;
}

void StackState::erase(const std::string& logical_id) {
  resources.erase(logical_id);
  dirty_.erase(logical_id);
  erased_.insert(logical_id);
}

void StackState::set_status(const std::string& status, const std::string& reason) {
  stack["StackStatus"] = status;
  if (reason.empty()) stack.erase("StackStatusReason");
  else stack["StackStatusReason"] = reason;
  json self = {{"LogicalResourceId", stack["StackName"]}, {"ResourceType", kStackType}};
  event(self, id(), status, reason);
}

void StackState::set_resource_status(json& resource, const std::string& status, const std::string& reason) {
  resource["ResourceStatus"] = status;
  if (reason.empty()) resource.erase("ResourceStatusReason");
  else resource["ResourceStatusReason"] = reason;
  resource["Timestamp"] = now_seconds(*context_);
  event(resource, resource.value("PhysicalResourceId", ""), status, reason);
  touch(resource["LogicalResourceId"]);
}

void StackState::event(const json& resource, const std::string& physical_id, const std::string& status,
                       const std::string& reason) {
  json e = {{"StackId", id()},
            {"StackName", stack["StackName"]},
            {"EventId", context_->random.uuid()},
            {"LogicalResourceId", resource["LogicalResourceId"]},
            {"PhysicalResourceId", physical_id},
            {"ResourceType", resource["ResourceType"]},
            {"ResourceStatus", status},
            {"Timestamp", now_seconds(*context_)}};
  if (!reason.empty()) e["ResourceStatusReason"] = reason;
  if (std::string token = stack["weir"].value("token", ""); !token.empty()) e["ClientRequestToken"] = token;
  if (resource.contains("weir") && resource["weir"].contains("properties")) {
    const json& weir = resource["weir"];
    e["ResourceProperties"] = weir[weir.contains("shown") ? "shown" : "properties"].dump();
  }
  events_.push_back(std::move(e));
}

Result<void> StackState::commit() {
  if (context_->before_commit) context_->before_commit();
  WEIR_TRY(context_->store.transaction([this] { return write(); }));
  dirty_.clear();
  erased_.clear();
  events_.clear();
  return {};
}

Result<void> StackState::write() {
  store::Store& store = context_->store;
  WEIR_TRY(store.put("cfn.stack", id(), stack.dump()));
  for (const std::string& name : dirty_) {
    WEIR_TRY(store.put("cfn.resource", id() + "|" + name, resources.at(name).dump()));
  }
  for (const std::string& name : erased_) {
    if (!resources.contains(name)) WEIR_TRY(store.erase("cfn.resource", id() + "|" + name));
  }
  for (const json& e : events_) {
    WEIR_TRY_ASSIGN(int64_t number, store.next_number("cfn.event:" + id()));
    WEIR_TRY(store.put("cfn.event", fmt::format("{}|{:012}", id(), number), e.dump()));
  }
  return {};
}

std::unique_ptr<StackTemplate> template_of(const StackContext& context, const json& stack) {
  auto out = std::make_unique<StackTemplate>();
  Diagnostics ignored;
  read_template(stack["TemplateBody"].get<std::string>(), out->tpl, ignored);
  out->parameters = stack["weir"].value("parameters", ParameterValues{});
  out->pseudo = {context.region, context.account, stack["StackId"], stack["StackName"]};
  return out;
}

bool StateValues::ref(std::string_view logical_id, json& out) const {
  auto found = state_.resources.find(std::string(logical_id));
  if (found == state_.resources.end()) return false;
  std::string id = found->second.value("PhysicalResourceId", "");
  if (id.empty()) return false;
  out = id;
  return true;
}

bool StateValues::attribute(std::string_view logical_id, std::string_view name, json& out) const {
  auto found = state_.resources.find(std::string(logical_id));
  if (found == state_.resources.end()) return false;
  const json& attributes = found->second["weir"]["attributes"];
  auto value = attributes.find(name);
  if (value == attributes.end()) return false;
  out = *value;
  return true;
}

json resolved_properties(const json& stack, const ResourceDefinition& resource, Evaluator& evaluator) {
  const Schema& schema = provider_schema(*find_provider(resource.type));
  json out = evaluator.properties(resource, schema);
  json stack_tags = stack.value("Tags", json::array());
  if (schema.find("Tags") == nullptr || stack_tags.empty()) return out;
  json& tags = out["Tags"];
  if (tags.is_null()) tags = json::array();
  for (const json& tag : stack_tags) {
    bool own = std::any_of(tags.begin(), tags.end(), [&](const json& t) { return t["Key"] == tag["Key"]; });
    if (!own) tags.push_back(tag);
  }
  return out;
}

json resolved_outputs(const Template& tpl, Evaluator& evaluator) {
  json out = json::array();
  for (const OutputDefinition& o : tpl.outputs) {
    if (o.value == nullptr) continue;
    if (!o.condition.empty() && !evaluator.condition(o.condition, o.condition_mark).value_or(true)) continue;
    json entry = {{"OutputKey", o.name}, {"OutputValue", evaluator.value(*o.value)}};
    if (!o.description.empty()) entry["Description"] = o.description;
    if (o.export_name != nullptr) entry["ExportName"] = evaluator.value(*o.export_name);
    if (!has_unknown(entry)) out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace weir::cfn
