// The operations that only read. Include from .cc files only.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "cfn/stack_engine.h"

namespace weir::cfn {

// By name (deleted stacks excluded) or by StackId.
std::optional<nlohmann::json> find_stack(StackContext& context, const std::string& name_or_id);
// Removes a stack's documents with its resources' and events'.
void erase_stack(StackContext& context, const std::string& stack_id);

nlohmann::json describe_stacks(StackContext& context, const nlohmann::json& input);
nlohmann::json describe_stack_events(StackContext& context, const nlohmann::json& input);
nlohmann::json describe_stack_resources(StackContext& context, const nlohmann::json& input);
nlohmann::json list_stacks(StackContext& context, const nlohmann::json& input);
nlohmann::json get_template(StackContext& context, const nlohmann::json& input);
nlohmann::json validate_template(StackContext& context, const nlohmann::json& input);

}  // namespace weir::cfn
