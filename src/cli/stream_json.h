// Open streams as `weir top` and the operation DescribeStreams show them.
#pragma once

#include <optional>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "model/link.h"

namespace weir::cli {

nlohmann::json stream_json(const model::StreamRow& row);
// "rate", "bytes", "messages", "age", "idle", "blocked".
std::optional<model::StreamOrder> stream_order(std::string_view name);

}  // namespace weir::cli
