#include "http/h2/frame.h"

namespace weir::http::h2 {

std::string_view to_string(ErrorCode code) {
  static constexpr std::string_view kNames[] = {
      "NO_ERROR",         "PROTOCOL_ERROR",     "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
      "STREAM_CLOSED",    "FRAME_SIZE_ERROR",   "REFUSED_STREAM", "CANCEL",             "COMPRESSION_ERROR",
      "CONNECT_ERROR",    "ENHANCE_YOUR_CALM",  "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"};
  auto index = static_cast<uint32_t>(code);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

}  // namespace weir::http::h2
