#include "cfn/unknown.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace weir::cfn {

using nlohmann::json;

namespace {
constexpr std::uint64_t kNoValue = 9;
}

json unknown(Shape shape) {
  return json::binary({}, static_cast<std::uint64_t>(shape));
}
json no_value() {
  return json::binary({}, kNoValue);
}
bool is_unknown(const json& v) {
  return v.is_binary() && v.get_binary().subtype() != kNoValue;
}
bool is_no_value(const json& v) {
  return v.is_binary() && v.get_binary().subtype() == kNoValue;
}
Shape shape_of(const json& v) {
  return static_cast<Shape>(v.get_binary().subtype());
}
bool is_list_like(const json& v) {
  return v.is_array() || (is_unknown(v) && shape_of(v) == Shape::List);
}
bool has_unknown(const json& v) {
  if (v.is_structured())
    return std::any_of(v.begin(), v.end(), [](const json& item) { return has_unknown(item); });
  return is_unknown(v);
}

}  // namespace weir::cfn
