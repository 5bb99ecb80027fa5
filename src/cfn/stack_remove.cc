// Deleting: a whole stack, what a failed creation left, and what an update no longer needs. A resource goes
// when nothing that needs it is left.
#include <algorithm>

#include "cfn/provider_util.h"
#include "cfn/stack_run.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

constexpr int64_t kInUseTimeoutMs = 30 * 60 * 1000;
constexpr int64_t kGoneTimeoutMs = 3 * 3600 * 1000;

// Others still hold it, which ends by itself when their deletion goes on.
bool still_in_use(const api::ApiError& e) {
  for (const char* part :
       {"DependencyViolation", "InUse", "DeleteConflict", "ClusterContains", "OperationNotPermitted"}) {
    if (e.code.find(part) != std::string::npos) return true;
  }
  return false;
}

bool ended(const json& resource) {
  const std::string status = resource["ResourceStatus"];
  return status == "DELETE_COMPLETE" || status == "DELETE_SKIPPED";
}

}  // namespace

std::vector<StackRun::Victim> StackRun::victims(bool everything) {
  std::vector<Victim> out;
  Dependencies graph;
  if (!everything) {
    std::unique_ptr<StackTemplate> tpl = template_of(context_, state_.stack);
    Diagnostics ignored;
    Evaluator evaluator(tpl->tpl, tpl->pseudo, tpl->parameters, nullptr, ignored);
    graph = dependencies(tpl->tpl, evaluator);
  }
  for (const auto& [name, resource] : state_.resources) {
    const json& weir = resource["weir"];
    size_t replaced = weir.contains("replaced") ? weir["replaced"].size() : 0;
    for (size_t i = 0; i < replaced; ++i) out.push_back({name, static_cast<int>(i)});
    bool unwanted = everything || !graph.contains(name);
    if (unwanted && !ended(resource)) out.push_back({name, -1});
  }
  return out;
}

json& StackRun::entry_of(const Victim& v) {
  json& weir = state_.resources.at(v.logical_id)["weir"];
  return v.replaced < 0 ? weir : weir["replaced"][static_cast<size_t>(v.replaced)];
}

bool StackRun::blocked(const Victim& v, const std::vector<Victim>& all) {
  return std::any_of(all.begin(), all.end(), [&](const Victim& other) {
    if (other.logical_id == v.logical_id) return false;
    const json needs = entry_of(other).value("depends_on", json::array());
    return std::find(needs.begin(), needs.end(), json(v.logical_id)) != needs.end();
  });
}

// Forward work that was under way ends here; what an unanswered create() may have made is looked for.
void StackRun::settle_unfinished() {
  for (auto& [name, resource] : state_.resources) {
    json& weir = resource["weir"];
    std::string task = weir.value("task", "");
    if (task.empty() || task == "delete" || task == "gone") continue;
    if (task == "create") {
      auto d = call_for(resource, weir);
      try {
        resource["PhysicalResourceId"] = d->provider->find(*d->call);
      } catch (const api::ApiError&) {
        resource["PhysicalResourceId"] = "";
      }
    }
    weir["task"] = "";
    state_.touch(name);
  }
}

StackRun::Outcome StackRun::remove(bool everything) {
  settle_unfinished();
  if (everything) {
    for (auto& [name, resource] : state_.resources) {
      if (!resource["weir"].contains("previous")) continue;
      json old = resource["weir"]["previous"];
      resource["weir"].erase("previous");
      if (old["PhysicalResourceId"] != resource["PhysicalResourceId"]) keep_replaced(resource, std::move(old));
      state_.touch(name);
    }
  }
  if (state_.changed()) commit();
  std::vector<Victim> all = victims(everything);
  std::vector<Victim> live;
  for (const Victim& v : all) {
    bool failed = entry_of(v).value("delete_failed", false);
    if (!failed && !blocked(v, all)) live.push_back(v);
  }
  if (live.empty()) {
    remove_finished(everything);
    return Outcome::Progress;
  }
  // From the back, so that erasing one replaced entry leaves the places of the others.
  Outcome total = Outcome::Waiting;
  for (auto v = live.rbegin(); v != live.rend(); ++v) {
    if (remove_one(*v, everything) == Outcome::Progress) total = Outcome::Progress;
  }
  return total;
}

bool StackRun::retained(const Victim& v) {
  const json& entry = entry_of(v);
  if (v.replaced >= 0) {
    bool after_success = state_.status() == "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS";
    return after_success && entry.value("replace_policy", "Delete") == "Retain";
  }
  const json keep = state_.stack["weir"].value("retain", json::array());
  if (std::find(keep.begin(), keep.end(), json(v.logical_id)) != keep.end()) return true;
  std::string policy = entry.value("deletion_policy", "Delete");
  bool undoing = state_.status() == "ROLLBACK_IN_PROGRESS" ||
                 state_.status() == "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS";
  return policy == "Retain" || (policy == "RetainExceptOnCreate" && !undoing);
}

StackRun::Outcome StackRun::remove_one(const Victim& v, bool everything) {
  json& resource = state_.resources.at(v.logical_id);
  json& entry = entry_of(v);
  std::string physical =
      v.replaced < 0 ? resource.value("PhysicalResourceId", "") : entry.value("PhysicalResourceId", "");
  if (physical.empty()) {
    removed(v, everything, "DELETE_COMPLETE");
    return Outcome::Progress;
  }
  if (entry.value("task", "").empty()) {
    if (retained(v)) {
      removed(v, everything, "DELETE_SKIPPED");
      return Outcome::Progress;
    }
    entry["task"] = "delete";
    entry["since"] = now_ms();
    if (v.replaced < 0) state_.set_resource_status(resource, "DELETE_IN_PROGRESS");
    else state_.event(resource, physical, "DELETE_IN_PROGRESS");
    state_.touch(v.logical_id);
    commit();
  }
  const Provider& provider = *find_provider(resource["ResourceType"].get<std::string>());
  int64_t waited = now_ms() - entry.value("since", int64_t{0});
  try {
    Outcome o = remove_calls(v, entry);
    if (o == Outcome::Finished) {
      removed(v, everything, "DELETE_COMPLETE");
      return Outcome::Progress;
    }
    if (waited < kGoneTimeoutMs) return o;
    remove_failed(v, everything, reason_text("Exceeded attempts to wait"));
  } catch (const api::ApiError& e) {
    if (still_in_use(e) && waited < kInUseTimeoutMs) return Outcome::Waiting;
    remove_failed(v, everything, error_text(provider, e));
  }
  return Outcome::Progress;
}

StackRun::Outcome StackRun::remove_calls(const Victim& v, json& entry) {
  json& resource = state_.resources.at(v.logical_id);
  json what = entry;
  if (v.replaced < 0) what["PhysicalResourceId"] = resource["PhysicalResourceId"];
  auto d = call_for(resource, what);
  if (entry["task"] == "delete") {
    if (d->provider->remove != nullptr) d->provider->remove(*d->call);
    if (d->provider->gone == nullptr) return Outcome::Finished;
    if (!d->provider->gone(*d->call)) {
      entry["task"] = "gone";
      state_.touch(v.logical_id);
      commit();
      return Outcome::Waiting;
    }
    return Outcome::Finished;
  }
  return d->provider->gone(*d->call) ? Outcome::Finished : Outcome::Waiting;
}

void StackRun::removed(const Victim& v, bool everything, const std::string& status) {
  json& resource = state_.resources.at(v.logical_id);
  if (v.replaced >= 0) {
    json& list = resource["weir"]["replaced"];
    state_.event(resource, list[static_cast<size_t>(v.replaced)].value("PhysicalResourceId", ""), status);
    list.erase(static_cast<size_t>(v.replaced));
    state_.touch(v.logical_id);
    if (!everything && list.empty() && ended(resource)) state_.erase(v.logical_id);
  } else {
    resource["weir"]["task"] = "";
    state_.set_resource_status(resource, status);
    bool more = resource["weir"].contains("replaced") && !resource["weir"]["replaced"].empty();
    if (!everything && !more) state_.erase(v.logical_id);
  }
  commit();
}

void StackRun::remove_failed(const Victim& v, bool everything, const std::string& reason) {
  json& resource = state_.resources.at(v.logical_id);
  json& entry = entry_of(v);
  entry["task"] = "";
  entry["delete_failed"] = true;
  if (v.replaced < 0) {
    state_.set_resource_status(resource, "DELETE_FAILED", reason);
  } else {
    state_.event(resource, entry.value("PhysicalResourceId", ""), "DELETE_FAILED", reason);
    // After an update nobody asks again for what could not be deleted; a stack's deletion must not lose it.
    if (!everything) resource["weir"]["replaced"].erase(static_cast<size_t>(v.replaced));
    state_.touch(v.logical_id);
  }
  commit();
}

std::vector<std::string> StackRun::failed_deletions() {
  std::vector<std::string> out;
  for (const Victim& v : victims(true)) {
    if (out.empty() || out.back() != v.logical_id) {
      if (entry_of(v).value("delete_failed", false)) out.push_back(v.logical_id);
    }
  }
  return out;
}

void StackRun::remove_finished(bool everything) {
  const std::string status = state_.status();
  if (!everything) {
    for (auto& [name, resource] : state_.resources) {
      if (resource["weir"].erase("failed") > 0) state_.touch(name);
    }
    state_.set_status(status == "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS" ? "UPDATE_COMPLETE"
                                                                      : "UPDATE_ROLLBACK_COMPLETE");
  } else if (std::vector<std::string> failed = failed_deletions(); !failed.empty()) {
    state_.set_status(status == "ROLLBACK_IN_PROGRESS" ? "ROLLBACK_FAILED" : "DELETE_FAILED",
                      "The following resource(s) failed to delete: " + bracketed(failed) + ". ");
  } else if (status == "ROLLBACK_IN_PROGRESS") {
    state_.set_status("ROLLBACK_COMPLETE");
  } else {
    state_.stack["DeletionTime"] = now_seconds(context_);
    state_.set_status("DELETE_COMPLETE");
  }
  commit();
}

}  // namespace weir::cfn
