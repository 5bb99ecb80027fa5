#include "cfn/stack_run.h"

#include <algorithm>

#include <fmt/format.h>

#include "cfn/provider_util.h"

namespace weir::cfn {

using nlohmann::json;

namespace {
constexpr Duration kPoll = std::chrono::milliseconds(100);
constexpr size_t kRandomPart = 12;
}  // namespace

StackEngine::StackEngine(store::Store& store, const api::Dispatcher& api, const Clock& clock, Random& random,
                         std::string region, std::string account)
    : context_{store, api, clock, random, std::move(region), std::move(account), {}} {}

StackEngine::StackEngine(StackContext context) : context_(std::move(context)) {}

control::StepResult StackEngine::step(const std::string& stack_id) {
  std::optional<StackState> state = StackState::load(context_, stack_id);
  if (!state || !state->status().ends_with("_IN_PROGRESS")) return control::StepResult::done();
  try {
    return StackRun(context_, std::move(*state)).step();
  } catch (const StoreFailure& e) {
    return control::StepResult::failed(e.message);
  } catch (const json::exception& e) {
    return control::StepResult::failed(e.what());
  }
}

std::vector<std::string> StackEngine::unfinished() {
  std::vector<std::string> out;
  for (const store::Document& d : context_.store.list("cfn.stack")) {
    json stack = json::parse(d.body);
    if (stack["StackStatus"].get<std::string>().ends_with("_IN_PROGRESS")) out.push_back(d.id);
  }
  return out;
}

StackRun::StackRun(StackContext& context, StackState state) : context_(context), state_(std::move(state)) {}

control::StepResult StackRun::step() {
  const std::string status = state_.status();
  Outcome outcome = Outcome::Finished;
  if (status == "CREATE_IN_PROGRESS" || status == "UPDATE_IN_PROGRESS") outcome = forward();
  else if (status == "UPDATE_ROLLBACK_IN_PROGRESS") outcome = restore();
  else if (status.ends_with("CLEANUP_IN_PROGRESS")) outcome = remove(false);
  else if (status == "ROLLBACK_IN_PROGRESS" || status == "DELETE_IN_PROGRESS") outcome = remove(true);
  if (state_.changed()) commit();
  if (!state_.status().ends_with("_IN_PROGRESS")) return control::StepResult::done();
  return control::StepResult::requeue_after(outcome == Outcome::Waiting ? kPoll : Duration{0});
}

void StackRun::commit() {
  Result<void> done = state_.commit();
  if (!done) throw StoreFailure{done.error().message};
}

std::unique_ptr<StackRun::CallData> StackRun::call_for(const json& resource, const json& what) {
  auto data = std::make_unique<CallData>();
  data->provider = find_provider(resource["ResourceType"].get<std::string>());
  data->properties = what.value("properties", json::object());
  data->old_properties = what.value("old_properties", json::object());
  data->tags = tag_list(data->properties);
  const std::string logical = resource["LogicalResourceId"];
  data->tags.push_back({{"Key", "aws:cloudformation:stack-name"}, {"Value", state_.stack["StackName"]}});
  data->tags.push_back({{"Key", "aws:cloudformation:stack-id"}, {"Value", state_.id()}});
  data->tags.push_back({{"Key", "aws:cloudformation:logical-id"}, {"Value", logical}});
  const json& weir = resource["weir"];
  if (weir.contains("previous")) data->not_these.push_back(weir["previous"].value("PhysicalResourceId", ""));
  for (const json& old : weir.value("replaced", json::array())) {
    data->not_these.push_back(old.value("PhysicalResourceId", ""));
  }
  data->call = std::make_unique<ResourceCall>(
      ResourceCall{context_.api, context_.region, context_.account, state_.id(), state_.stack["StackName"],
                   logical, what.value("name", ""), what.value("PhysicalResourceId", ""), data->properties,
                   data->old_properties, data->tags, data->not_these});
  return data;
}

// STACK-LOGICAL-RANDOM, the first two shortened alike where the type's limit asks for it.
std::string StackRun::generated_name(const Provider& provider, const ResourceDefinition& definition,
                                     const json& properties) {
  if (std::string own = text_at(properties, provider.name_property); !own.empty()) return own;
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::string stack = state_.stack["StackName"];
  std::string logical = definition.name;
  size_t room = provider.name_max - kRandomPart - 2;
  if (stack.size() + logical.size() > room) {
    size_t for_logical = std::min(logical.size(), room / 2);
    stack.resize(std::min(stack.size(), room - for_logical));
    logical.resize(std::min(logical.size(), room - stack.size()));
  }
  while (stack.ends_with("-")) stack.pop_back();
  std::string name = stack + "-" + logical + "-";
  for (size_t i = 0; i < kRandomPart; ++i) name += kAlphabet[context_.random.below(kAlphabet.size())];
  return name;
}

std::string StackRun::error_text(const Provider& provider, const api::ApiError& error) {
  std::string code = "InvalidRequest";
  if (is_not_found(error)) code = "NotFound";
  else if (error.code.find("AlreadyExists") != std::string::npos ||
           error.code.find("Duplicate") != std::string::npos)
    code = "AlreadyExists";
  else if (error.http_status >= 500) code = "ServiceInternalError";
  return fmt::format(
      "Resource handler returned message: \"{} (Service: {}, Status Code: {}, Request ID: {})\" "
      "(RequestToken: {}, HandlerErrorCode: {})",
      error.message, provider.service, error.http_status, context_.random.uuid(), context_.random.uuid(), code);
}

std::string StackRun::reason_text(const std::string& reason) {
  return fmt::format("Resource handler returned message: \"{}\" (RequestToken: {}, HandlerErrorCode: {})",
                     reason, context_.random.uuid(),
                     reason.starts_with("Exceeded attempts") ? "NotStabilized" : "GeneralServiceException");
}

json StackRun::snapshot(const json& resource) {
  const json& weir = resource["weir"];
  json out = {{"PhysicalResourceId", resource.value("PhysicalResourceId", "")}};
  for (const char* key :
       {"properties", "attributes", "name", "depends_on", "deletion_policy", "replace_policy"}) {
    if (weir.contains(key)) out[key] = weir[key];
  }
  return out;
}

void StackRun::keep_replaced(json& resource, json old) {
  if (old.value("PhysicalResourceId", "").empty()) return;
  json& list = resource["weir"]["replaced"];
  if (list.is_null()) list = json::array();
  list.push_back(std::move(old));
}

std::vector<std::string> StackRun::failed_resources() {
  std::vector<std::string> cause;
  std::vector<std::string> cancelled;
  for (const auto& [name, resource] : state_.resources) {
    if (!resource["weir"].value("failed", false)) continue;
    bool is_cause = !resource.value("ResourceStatusReason", "").ends_with("cancelled");
    (is_cause ? cause : cancelled).push_back(name);
  }
  cause.insert(cause.end(), cancelled.begin(), cancelled.end());
  return cause;
}

}  // namespace weir::cfn
