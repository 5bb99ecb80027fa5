// Rolling an update back: everything that was changed gets its former properties or its former self.
#include "cfn/stack_run.h"

namespace weir::cfn {

using nlohmann::json;

StackRun::Outcome StackRun::restore() {
  const std::string mark = state_.operation() + "/rollback";
  auto open = [&](const std::string& name) {
    json* resource = state_.resource(name);
    return resource != nullptr && (*resource)["weir"].contains("previous");
  };
  Outcome total = Outcome::Finished;
  for (auto& [name, resource] : state_.resources) {
    if (!open(name)) continue;
    bool ready = true;
    for (const json& need : resource["weir"]["previous"].value("depends_on", json::array())) {
      ready = ready && !open(need.get<std::string>());
    }
    Outcome o = ready ? restore_one(resource) : Outcome::Waiting;
    if (o == Outcome::Failed) {
      restore_failed();
      return Outcome::Progress;
    }
    if (o == Outcome::Progress || total == Outcome::Finished) total = o;
  }
  if (total == Outcome::Finished) {
    restore_finished();
    return Outcome::Progress;
  }
  return total;
}

StackRun::Outcome StackRun::restore_one(json& resource) {
  json& weir = resource["weir"];
  if (!weir.value("task", "").empty()) return advance(resource, false);
  json previous = weir["previous"];
  if (previous["PhysicalResourceId"] == resource["PhysicalResourceId"]) {
    weir["old_properties"] = weir["properties"];
    weir["properties"] = previous["properties"];
    weir["mode"] = "restore";
    weir["task"] = "update";
    weir["since"] = now_ms();
    weir.erase("failed");
    weir["depends_on"] = previous.value("depends_on", json::array());
    state_.set_resource_status(resource, "UPDATE_IN_PROGRESS");
    commit();
    return advance(resource, true);
  }
  keep_replaced(resource, snapshot(resource));
  resource["PhysicalResourceId"] = previous["PhysicalResourceId"];
  for (const char* key :
       {"properties", "attributes", "name", "depends_on", "deletion_policy", "replace_policy"}) {
    if (previous.contains(key)) weir[key] = previous[key];
  }
  weir.erase("previous");
  weir.erase("failed");
  state_.set_resource_status(resource, "UPDATE_COMPLETE");
  commit();
  return Outcome::Progress;
}

void StackRun::restore_failed() {
  cancel_others();
  state_.set_status("UPDATE_ROLLBACK_FAILED",
                    "The following resource(s) failed to update: " + bracketed(failed_resources()) + ". ");
  commit();
}

void StackRun::restore_finished() {
  json& stack = state_.stack;
  json previous = stack["weir"].value("previous", json::object());
  for (const char* key : {"TemplateBody", "Parameters", "Tags", "Description"}) {
    if (previous.contains(key)) stack[key] = previous[key];
  }
  if (previous.contains("parameters")) stack["weir"]["parameters"] = previous["parameters"];
  stack["weir"].erase("previous");
  state_.set_status("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS");
  commit();
}

}  // namespace weir::cfn
