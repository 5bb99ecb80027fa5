// Everything that can be known to be wrong with a template before anything is made.
#pragma once

#include <expected>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cfn/evaluator.h"

namespace weir::cfn {

struct ValidatedTemplate {
  std::shared_ptr<const Template> tpl;
  ParameterValues parameters;  // every parameter that has a value
};

struct ValidateOptions {
  Pseudo pseudo;
  bool require_parameters = true;  // false: a parameter without a value is unknown instead of missing
};

// Without side effects. The diagnostics are all there are, ordered by place.
std::expected<ValidatedTemplate, std::vector<Diagnostic>> validate(std::string_view text,
                                                                   const ParameterValues& parameters,
                                                                   const ValidateOptions& options = {});

// The resources in force and what each depends on (DependsOn and references).
using Dependencies = std::map<std::string, std::vector<std::string>>;
Dependencies dependencies(const Template& tpl, Evaluator& evaluator);

// Names on a cycle, in order of name; empty when there is none.
std::vector<std::string> find_cycle(const Dependencies& graph);

}  // namespace weir::cfn
