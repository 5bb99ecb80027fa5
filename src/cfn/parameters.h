// Parameters of a template: their definitions, the values given, the constraints.
#pragma once

#include <map>
#include <string>

#include "cfn/template.h"

namespace weir::cfn {

using ParameterValues = std::map<std::string, std::string>;

// Checks every definition (type, known attributes, default against its own constraints).
void check_parameter_definitions(const Template& tpl, Diagnostics& diagnostics);

// The value of every parameter: the one given, else the default. Checks unknown names, missing values
// (only when `require_all`) and all constraints, with AWS's texts. List members are trimmed.
ParameterValues resolve_parameters(const Template& tpl, const ParameterValues& given, bool require_all,
                                   Diagnostics& diagnostics);

}  // namespace weir::cfn
