#include "cli/stream_json.h"

#include <nlohmann/json.hpp>

namespace weir::cli {

namespace {
const char* name_of(model::StreamBlock block) {
  switch (block) {
    case model::StreamBlock::None: return "none";
    case model::StreamBlock::ClientWindow: return "client";
    case model::StreamBlock::ClientConnection: return "client connection";
    case model::StreamBlock::TargetWindow: return "target";
    case model::StreamBlock::TargetConnection: return "target connection";
    case model::StreamBlock::NoTarget: return "no target";
  }
  return "none";
}
}  // namespace

nlohmann::json stream_json(const model::StreamRow& row) {
  nlohmann::json out{{"Key", row.key},
                     {"Method", row.method},
                     {"Client", row.client},
                     {"Target", row.target},
                     {"TargetGroupArn", row.group_arn},
                     {"AgeMs", row.age_ms},
                     {"IdleMs", row.idle_ms},
                     {"RequestMessages", row.request_messages},
                     {"ResponseMessages", row.response_messages},
                     {"RequestBytes", row.request_bytes},
                     {"ResponseBytes", row.response_bytes},
                     {"RequestRate", static_cast<double>(row.request_rate) / 1000},
                     {"ResponseRate", static_cast<double>(row.response_rate) / 1000},
                     {"ByteRate", row.byte_rate},
                     {"WaitingBytes", row.waiting_bytes},
                     {"Blocked", name_of(row.blocked)},
                     {"Attempts", row.attempts},
                     {"IsGrpc", row.is_grpc},
                     {"Connection", row.connection},
                     {"StreamId", row.stream_id}};
  if (row.deadline_ms != 0) out["DeadlineMs"] = row.deadline_ms;
  return out;
}

std::optional<model::StreamOrder> stream_order(std::string_view name) {
  constexpr const char* kNames[] = {"rate", "bytes", "messages", "age", "idle", "blocked"};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i]) return static_cast<model::StreamOrder>(i);
  }
  return std::nullopt;
}

}  // namespace weir::cli
