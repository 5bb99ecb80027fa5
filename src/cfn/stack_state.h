// A stack's documents in memory for one step or one operation. Include from .cc files only.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cfn/stack_engine.h"

namespace weir::cfn {

class StackState {
 public:
  // nullopt when there is no such stack.
  static std::optional<StackState> load(StackContext& context, const std::string& stack_id);
  StackState(StackContext& context, nlohmann::json of) : context_(&context), stack(std::move(of)) {}

  std::string id() const { return stack["StackId"]; }
  std::string status() const { return stack["StackStatus"]; }
  std::string operation() const { return stack["weir"].value("operation", ""); }
  nlohmann::json* resource(const std::string& logical_id);

  // Changes are kept until commit(), which writes them in one transaction.
  void touch(const std::string& logical_id) { dirty_.insert(logical_id); }
  void erase(const std::string& logical_id);
  // Status of the stack or of a resource, with its event.
  void set_status(const std::string& status, const std::string& reason = {});
  void set_resource_status(nlohmann::json& resource, const std::string& status, const std::string& reason = {});
  // An event about `physical_id` that changes nothing in the resource itself.
  void event(const nlohmann::json& resource, const std::string& physical_id, const std::string& status,
             const std::string& reason = {});
  Result<void> commit();
  bool changed() const { return !dirty_.empty() || !events_.empty() || !erased_.empty(); }

 private:
  Result<void> write();
  StackContext* context_;

 public:
  nlohmann::json stack;
  std::map<std::string, nlohmann::json> resources;  // by logical id

 private:
  std::set<std::string> dirty_;
  std::set<std::string> erased_;
  std::vector<nlohmann::json> events_;
};

// Seconds since the epoch with milliseconds, as documents hold time.
double now_seconds(const StackContext& context);
std::string iso_time(double seconds);

// The template of a stack document with the parameter values in force; parsed, not validated.
struct StackTemplate {
  Template tpl;
  ParameterValues parameters;
  Pseudo pseudo;
};
std::unique_ptr<StackTemplate> template_of(const StackContext& context, const nlohmann::json& stack);

// Ref and GetAtt from the resource documents.
class StateValues final : public ResourceValues {
 public:
  explicit StateValues(const StackState& state) : state_(state) {}
  bool ref(std::string_view logical_id, nlohmann::json& out) const override;
  bool attribute(std::string_view logical_id, std::string_view name, nlohmann::json& out) const override;

 private:
  const StackState& state_;
};

// Properties of a resource as they are to be applied: resolved, coerced, the stack's tags merged in.
nlohmann::json resolved_properties(const nlohmann::json& stack, const ResourceDefinition& resource,
                                   Evaluator& evaluator);
nlohmann::json resolved_outputs(const Template& tpl, Evaluator& evaluator);

// "[A, B]".
std::string bracketed(const std::vector<std::string>& names);

}  // namespace weir::cfn
