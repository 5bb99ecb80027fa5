// Two values that no template can write: "unknown until resources exist" and AWS::NoValue. Both are JSON
// binary values, which templates cannot hold. Include from .cc files only.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace weir::cfn {

enum class Shape { Scalar = 1, List = 2, Any = 3 };

nlohmann::json unknown(Shape shape);
nlohmann::json no_value();
bool is_unknown(const nlohmann::json& v);
bool is_no_value(const nlohmann::json& v);
Shape shape_of(const nlohmann::json& unknown_value);
bool is_list_like(const nlohmann::json& v);  // a list, or an unknown list
bool has_unknown(const nlohmann::json& v);   // anywhere inside

}  // namespace weir::cfn
