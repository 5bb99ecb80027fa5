// One step of one stack. Include from .cc files only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cfn/provider.h"
#include "cfn/stack_state.h"
#include "cfn/validate.h"

namespace weir::cfn {

// A store that failed; the step ends and is tried again.
struct StoreFailure {
  std::string message;
};

class StackRun {
 public:
  StackRun(StackContext& context, StackState state);
  control::StepResult step();

 private:
  enum class Outcome { Progress, Waiting, Finished, Failed };

  // stack_forward.cc: creating and updating.
  Outcome forward();
  Outcome start_ready(const Dependencies& graph, Evaluator& evaluator);
  Outcome start(const ResourceDefinition& definition, const std::vector<std::string>& needs,
                Evaluator& evaluator);
  void begin_create(const ResourceDefinition& definition, nlohmann::json properties, bool replace);
  void begin_update(nlohmann::json& resource, nlohmann::json properties);
  void describe_resource(nlohmann::json& resource, const ResourceDefinition& definition,
                         const std::vector<std::string>& needs);
  Outcome advance(nlohmann::json& resource, bool fresh);
  Outcome advance_calls(nlohmann::json& resource, bool fresh);
  Outcome finish(nlohmann::json& resource, const ResourceCall& call);
  void fail(nlohmann::json& resource, const std::string& reason);
  void cancel_others();
  void forward_failed();
  void forward_finished(Evaluator& evaluator, const StackTemplate& tpl);
  void check_timeout();

  // stack_restore.cc: rolling an update back.
  Outcome restore();
  Outcome restore_one(nlohmann::json& resource);
  void restore_failed();
  void restore_finished();

  // stack_remove.cc: deleting.
  struct Victim {
    std::string logical_id;
    int replaced = -1;  // index into weir.replaced, or -1 for the resource itself
  };
  Outcome remove(bool everything);
  std::vector<Victim> victims(bool everything);
  nlohmann::json& entry_of(const Victim& victim);  // where its deletion state is kept
  bool blocked(const Victim& victim, const std::vector<Victim>& all);
  Outcome remove_one(const Victim& victim, bool everything);
  Outcome remove_calls(const Victim& victim, nlohmann::json& entry);
  void removed(const Victim& victim, bool everything, const std::string& status);
  void remove_failed(const Victim& victim, bool everything, const std::string& reason);
  bool retained(const Victim& victim);
  void settle_unfinished();
  void remove_finished(bool everything);
  std::vector<std::string> failed_deletions();

  // stack_run.cc: shared.
  void commit();
  struct CallData;
  std::unique_ptr<CallData> call_for(const nlohmann::json& resource, const nlohmann::json& what);
  std::string generated_name(const Provider& provider, const ResourceDefinition& definition,
                             const nlohmann::json& properties);
  std::string error_text(const Provider& provider, const api::ApiError& error);
  std::string reason_text(const std::string& reason);
  static nlohmann::json snapshot(const nlohmann::json& resource);
  static void keep_replaced(nlohmann::json& resource, nlohmann::json old);
  int64_t now_ms() const { return context_.clock.unix_ms(); }
  std::vector<std::string> failed_resources();

  StackContext& context_;
  StackState state_;
};

// What a ResourceCall points into.
struct StackRun::CallData {
  nlohmann::json properties;
  nlohmann::json old_properties;
  nlohmann::json tags;
  std::vector<std::string> not_these;
  std::unique_ptr<ResourceCall> call;
  const Provider* provider = nullptr;
};

}  // namespace weir::cfn
