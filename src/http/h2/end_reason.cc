#include "http/h2/end_reason.h"

namespace weir::http::h2 {

namespace {
constexpr std::string_view kReasons[] = {
    "none",           "bad_preface",       "protocol_error",       "flow_control_error",   "frame_size_error",
    "stream_closed_error", "compression_error", "other_error",     "reset_flood",          "stream_error_flood",
    "refused_stream_flood", "closed_stream_flood", "ping_flood",   "settings_flood",       "priority_flood",
    "goaway_flood",   "informational_flood", "empty_data_flood",   "continuation_flood",   "unknown_frame_flood",
    "tiny_window_flood", "tls_message_flood", "slow_handshake",    "slow_preface",         "slow_header_block",
    "slow_reader",
    "tls_error",      "connect_failed",    "closed_by_peer",       "broken",               "idle",
    "drained"};
static_assert(std::size(kReasons) == kEndReasons);

constexpr std::string_view kEventNames[] = {
    "reset_received", "ping_received", "settings_received", "priority_received", "goaway_received",
    "informational_received", "empty_data", "continuation", "unknown_frame", "late_frame", "tiny_frame_forced",
    "stream_refused", "stream_error", "malformed_head", "header_list_too_large"};
static_assert(std::size(kEventNames) == kEvents);
}  // namespace

std::string_view to_string(EndReason reason) { return kReasons[static_cast<size_t>(reason)]; }
std::string_view to_string(Event event) { return kEventNames[static_cast<size_t>(event)]; }

EndReason reason_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::ProtocolError: return EndReason::ProtocolError;
    case ErrorCode::FlowControlError: return EndReason::FlowControlError;
    case ErrorCode::FrameSizeError: return EndReason::FrameSizeError;
    case ErrorCode::StreamClosed: return EndReason::StreamClosedError;
    case ErrorCode::CompressionError: return EndReason::CompressionError;
    default: return EndReason::OtherError;
  }
}

}  // namespace weir::http::h2
