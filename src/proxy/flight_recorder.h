// The flight recorder's text: one line per frame header.
//
//   2026-11-25T22:53:27.000123Z w0 c12 < HEADERS stream=1 length=57 flags=END_STREAM|END_HEADERS
//
// w: worker, c: connection of that worker, '<' received, '>' written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "http/h2/frame_trace.h"

namespace weir::proxy {

struct FrameFilter {
  uint32_t limit = 1000;      // of the latest that fit
  uint32_t connection = 0;    // 0: all
  uint32_t stream_id = 0;     // 0: all; else also the frames of the connection itself (stream 0)
};
// `now` and `unix_ms` are the same moment.
std::vector<std::string> frame_lines(const http::h2::FrameTrace& trace, const FrameFilter& filter, int worker,
                                     TimePoint now, int64_t unix_ms);

}  // namespace weir::proxy
