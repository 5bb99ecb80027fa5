// Creating and updating: bring every resource of the template in force to its properties.
#include <algorithm>

#include "cfn/provider_util.h"
#include "cfn/stack_run.h"
#include "cfn/unknown.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

constexpr int kStartsMax = 16;  // of one step
constexpr int64_t kServiceTimeoutMs = 3 * 3600 * 1000;
constexpr int64_t kTimeoutMs = 30 * 60 * 1000;
constexpr char kReplacing[] =
    "Requested update requires the creation of a new physical resource; hence creating one.";

bool busy(const json& resource) {
  return !resource["weir"].value("task", "").empty();
}

bool create_only_changed(const Schema& schema, const json& now, const json& before) {
  for (const SchemaProperty& p : schema.properties) {
    if (p.create_only && now.value(p.name, json()) != before.value(p.name, json())) return true;
  }
  return false;
}

}  // namespace

StackRun::Outcome StackRun::forward() {
  std::unique_ptr<StackTemplate> tpl = template_of(context_, state_.stack);
  check_timeout();
  Outcome total = Outcome::Finished;
  for (auto& [name, resource] : state_.resources) {
    if (!busy(resource)) continue;
    Outcome o = advance(resource, false);
    if (o == Outcome::Progress || (o == Outcome::Waiting && total == Outcome::Finished)) total = o;
  }
  Diagnostics diagnostics;
  StateValues values(state_);
  Evaluator evaluator(tpl->tpl, tpl->pseudo, tpl->parameters, &values, diagnostics);
  Dependencies graph = dependencies(tpl->tpl, evaluator);
  if (failed_resources().empty()) {
    Outcome o = start_ready(graph, evaluator);
    if (o == Outcome::Progress || (o == Outcome::Waiting && total == Outcome::Finished)) total = o;
  }
  if (!failed_resources().empty()) {
    forward_failed();
    return Outcome::Progress;
  }
  for (const auto& [name, needs] : graph) {
    json* resource = state_.resource(name);
    if (resource == nullptr || busy(*resource) ||
        (*resource)["weir"].value("operation", "") != state_.operation()) {
      return total == Outcome::Finished ? Outcome::Progress : total;
    }
  }
  forward_finished(evaluator, *tpl);
  return Outcome::Progress;
}

StackRun::Outcome StackRun::start_ready(const Dependencies& graph, Evaluator& evaluator) {
  auto finished = [&](const std::string& name) {
    json* resource = state_.resource(name);
    return resource != nullptr && !busy(*resource) &&
           (*resource)["weir"].value("operation", "") == state_.operation();
  };
  Outcome total = Outcome::Finished;
  int started = 0;
  std::unique_ptr<StackTemplate> tpl = template_of(context_, state_.stack);
  for (const auto& [name, needs] : graph) {
    json* resource = state_.resource(name);
    if (finished(name) || (resource != nullptr && busy(*resource))) continue;
    if (!std::all_of(needs.begin(), needs.end(), finished)) continue;
    if (++started > kStartsMax) return Outcome::Progress;
    Outcome o = start(*tpl->tpl.resource(name), needs, evaluator);
    if (o == Outcome::Failed) return o;
    if (o == Outcome::Progress || total == Outcome::Finished) total = o;
  }
  return total;
}

StackRun::Outcome StackRun::start(const ResourceDefinition& definition, const std::vector<std::string>& needs,
                                  Evaluator&) {
  std::unique_ptr<StackTemplate> tpl = template_of(context_, state_.stack);
  const ResourceDefinition& d = *tpl->tpl.resource(definition.name);
  StateValues values(state_);
  Diagnostics diagnostics;
  Evaluator evaluator(tpl->tpl, tpl->pseudo, tpl->parameters, &values, diagnostics);
  json properties = resolved_properties(state_.stack, d, evaluator);
  if (diagnostics.empty() && has_unknown(properties))
    diagnostics.add(d.mark, "An attribute it refers to has no value.");
  const Provider& provider = *find_provider(d.type);
  json* resource = state_.resource(d.name);
  bool fresh_start = resource == nullptr || (*resource)["ResourceStatus"] == "DELETE_COMPLETE" ||
                     (*resource)["ResourceStatus"] == "CREATE_FAILED";
  bool replace = false;
  if (!fresh_start) {
    const json& applied = (*resource)["weir"]["properties"];
    if (diagnostics.empty() && applied == properties) {
      describe_resource(*resource, d, needs);
      (*resource)["weir"]["operation"] = state_.operation();
      commit();
      return Outcome::Progress;
    }
    replace = provider.update == nullptr || create_only_changed(provider_schema(provider), properties, applied);
  }
  if (fresh_start || replace) begin_create(d, properties, replace);
  else begin_update(*resource, properties);
  resource = state_.resource(d.name);
  describe_resource(*resource, d, needs);
  std::string own_name = text_at(properties, provider.name_property);
  if (!diagnostics.empty()) {
    fail(*resource, diagnostics.sorted()[0].message);
  } else if (replace && !own_name.empty() && (*resource)["weir"]["previous"].value("name", "") == own_name) {
    fail(*resource,
         "CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename " +
             own_name + " and update the stack again.");
  }
  commit();
  if ((*resource)["weir"].value("failed", false)) return Outcome::Failed;
  return advance(*resource, true);
}

void StackRun::describe_resource(json& resource, const ResourceDefinition& d,
                                 const std::vector<std::string>& needs) {
  json& weir = resource["weir"];
  weir["depends_on"] = needs;
  weir["deletion_policy"] = d.deletion_policy;
  weir["replace_policy"] = d.update_replace_policy;
  state_.touch(d.name);
}

void StackRun::begin_create(const ResourceDefinition& d, json properties, bool replace) {
  json* old = state_.resource(d.name);
  json resource = {{"StackId", state_.id()},      {"StackName", state_.stack["StackName"]},
                   {"LogicalResourceId", d.name}, {"ResourceType", d.type},
                   {"PhysicalResourceId", ""},    {"weir", json::object()}};
  json& weir = resource["weir"];
  if (old != nullptr && (*old)["weir"].contains("replaced")) weir["replaced"] = (*old)["weir"]["replaced"];
  if (replace) {
    if ((*old)["weir"].contains("previous")) keep_replaced(resource, (*old)["weir"]["previous"]);
    weir["previous"] = snapshot(*old);
  } else if (old != nullptr && (*old)["ResourceStatus"] == "CREATE_FAILED") {
    keep_replaced(resource, snapshot(*old));
  }
  weir["mode"] = replace ? "replace" : "create";
  weir["task"] = "create";
  weir["since"] = now_ms();
  weir["name"] = generated_name(*find_provider(d.type), d, properties);
  weir["attributes"] = json::object();
  std::unique_ptr<StackTemplate> masked = template_of(context_, state_.stack);
  bool secret = false;
  for (const ParameterDefinition& p : masked->tpl.parameters) {
    if (!p.no_echo || !masked->parameters.contains(p.name)) continue;
    masked->parameters[p.name] = "****";
    secret = true;
  }
  if (secret) {
    Diagnostics ignored;
    StateValues values(state_);
    Evaluator evaluator(masked->tpl, masked->pseudo, masked->parameters, &values, ignored);
    json shown = resolved_properties(state_.stack, *masked->tpl.resource(d.name), evaluator);
    weir["shown"] = has_unknown(shown) ? json::object() : std::move(shown);
  }
  weir["properties"] = has_unknown(properties) ? json::object() : std::move(properties);
  json& stored = state_.resources[d.name] = std::move(resource);
  if (!replace) {
    state_.set_resource_status(stored, "CREATE_IN_PROGRESS");
    return;
  }
  stored["ResourceStatus"] = "UPDATE_IN_PROGRESS";
  stored["ResourceStatusReason"] = kReplacing;
  state_.event(stored, stored["weir"]["previous"].value("PhysicalResourceId", ""), "UPDATE_IN_PROGRESS",
               kReplacing);
  state_.touch(d.name);
}

void StackRun::begin_update(json& resource, json properties) {
  json& weir = resource["weir"];
  if (weir.contains("previous") && weir["previous"]["PhysicalResourceId"] != resource["PhysicalResourceId"]) {
    keep_replaced(resource, weir["previous"]);
  }
  weir["previous"] = snapshot(resource);
  weir["old_properties"] = weir["properties"];
  if (!has_unknown(properties)) weir["properties"] = std::move(properties);
  weir["mode"] = "update";
  weir["task"] = "update";
  weir["since"] = now_ms();
  weir.erase("failed");
  state_.set_resource_status(resource, "UPDATE_IN_PROGRESS");
}

StackRun::Outcome StackRun::advance(json& resource, bool fresh) {
  const Provider& provider = *find_provider(resource["ResourceType"].get<std::string>());
  try {
    Outcome o = advance_calls(resource, fresh);
    if (o != Outcome::Waiting) return o;
    bool service = provider.type == "AWS::ECS::Service";
    if (now_ms() - resource["weir"].value("since", int64_t{0}) < (service ? kServiceTimeoutMs : kTimeoutMs))
      return o;
    fail(resource, reason_text("Exceeded attempts to wait"));
  } catch (const api::ApiError& e) {
    fail(resource, error_text(provider, e));
  }
  commit();
  return Outcome::Failed;
}

StackRun::Outcome StackRun::advance_calls(json& resource, bool fresh) {
  json& weir = resource["weir"];
  auto data = [&] {
    json what = weir;
    what["PhysicalResourceId"] = resource["PhysicalResourceId"];
    return call_for(resource, what);
  };
  if (weir["task"] == "create") {
    auto d = data();
    std::string id = fresh ? std::string() : d->provider->find(*d->call);
    if (id.empty()) id = d->provider->create(*d->call);
    resource["PhysicalResourceId"] = id;
    weir["task"] = "configure";
    state_.set_resource_status(resource, weir["mode"] == "create" ? "CREATE_IN_PROGRESS" : "UPDATE_IN_PROGRESS",
                               "Resource creation Initiated");
    commit();
  }
  auto d = data();
  if (weir["task"] == "configure" && d->provider->configure != nullptr) d->provider->configure(*d->call);
  if (weir["task"] == "update") d->provider->update(*d->call);
  Progress progress = d->provider->stabilized == nullptr ? Progress::done() : d->provider->stabilized(*d->call);
  if (progress.kind == Progress::Kind::Done) return finish(resource, *d->call);
  if (progress.kind == Progress::Kind::Failed) {
    fail(resource, reason_text(progress.reason));
    commit();
    return Outcome::Failed;
  }
  if (weir["task"] != "stabilize") {
    weir["task"] = "stabilize";
    state_.touch(resource["LogicalResourceId"]);
    commit();
  }
  return Outcome::Waiting;
}

StackRun::Outcome StackRun::finish(json& resource, const ResourceCall& call) {
  json& weir = resource["weir"];
  const Provider& provider = *find_provider(resource["ResourceType"].get<std::string>());
  weir["attributes"] = provider.values == nullptr ? json::object() : provider.values(call);
  weir["task"] = "";
  bool restoring = weir["mode"] == "restore";
  weir["operation"] = state_.operation() + (restoring ? "/rollback" : "");
  weir.erase("old_properties");
  if (restoring) weir.erase("previous");
  state_.set_resource_status(resource, weir["mode"] == "create" ? "CREATE_COMPLETE" : "UPDATE_COMPLETE");
  commit();
  return Outcome::Progress;
}

void StackRun::fail(json& resource, const std::string& reason) {
  json& weir = resource["weir"];
  weir["task"] = "";
  weir["failed"] = true;
  state_.set_resource_status(resource, weir["mode"] == "create" ? "CREATE_FAILED" : "UPDATE_FAILED", reason);
}

// What other resources were doing ends; what an unanswered create() may have made is looked for first.
void StackRun::cancel_others() {
  for (auto& [name, resource] : state_.resources) {
    json& weir = resource["weir"];
    if (!busy(resource)) continue;
    if (weir["task"] == "create") {
      auto d = call_for(resource, weir);
      try {
        resource["PhysicalResourceId"] = d->provider->find(*d->call);
      } catch (const api::ApiError&) {
        // It cannot be known; what was made stays, and its name is in the resource's events.
      }
    }
    fail(resource, weir["mode"] == "create" ? "Resource creation cancelled" : "Resource update cancelled");
  }
}

void StackRun::forward_failed() {
  cancel_others();
  json& weir = state_.stack["weir"];
  std::string names = bracketed(failed_resources());
  bool creating = state_.status() == "CREATE_IN_PROGRESS";
  std::string on_failure = weir.value("on_failure", "ROLLBACK");
  if (creating) {
    std::string reason = "The following resource(s) failed to create: " + names + ". ";
    if (on_failure == "DO_NOTHING") state_.set_status("CREATE_FAILED", reason);
    else if (on_failure == "DELETE")
      state_.set_status("DELETE_IN_PROGRESS", reason + "Delete requested by user.");
    else state_.set_status("ROLLBACK_IN_PROGRESS", reason + "Rollback requested by user.");
  } else {
    std::string reason = "The following resource(s) failed to update: " + names + ". ";
    std::vector<std::string> created;
    for (const std::string& name : failed_resources()) {
      if (state_.resources.at(name)["ResourceStatus"] == "CREATE_FAILED") created.push_back(name);
    }
    if (created.size() == failed_resources().size()) {
      reason = "The following resource(s) failed to create: " + names + ". ";
    }
    state_.set_status(on_failure == "DO_NOTHING" ? "UPDATE_FAILED" : "UPDATE_ROLLBACK_IN_PROGRESS", reason);
  }
  commit();
}

void StackRun::forward_finished(Evaluator& evaluator, const StackTemplate& tpl) {
  state_.stack["Outputs"] = resolved_outputs(tpl.tpl, evaluator);
  if (state_.status() == "CREATE_IN_PROGRESS") {
    state_.set_status("CREATE_COMPLETE");
    commit();
    return;
  }
  for (auto& [name, resource] : state_.resources) {
    json& weir = resource["weir"];
    if (!weir.contains("previous")) continue;
    json old = weir["previous"];
    weir.erase("previous");
    if (old["PhysicalResourceId"] != resource["PhysicalResourceId"]) keep_replaced(resource, std::move(old));
    state_.touch(name);
  }
  state_.stack["weir"].erase("previous");
  state_.set_status("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS");
  commit();
}

void StackRun::check_timeout() {
  int64_t minutes = state_.stack.value("TimeoutInMinutes", int64_t{0});
  if (minutes == 0 || state_.status() != "CREATE_IN_PROGRESS") return;
  if (now_seconds(context_) - state_.stack["CreationTime"].get<double>() < static_cast<double>(minutes) * 60)
    return;
  for (auto& [name, resource] : state_.resources) {
    if (busy(resource))
      fail(resource,
           "Stack creation time exceeded the specified timeout of " + std::to_string(minutes) + " minutes");
  }
}

}  // namespace weir::cfn
