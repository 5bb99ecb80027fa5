#include "proxy/flight_recorder.h"

#include "proxy/log_text.h"

namespace weir::proxy {

using http::h2::FrameType;
using http::h2::TracedFrame;

namespace {

std::string_view type_name(FrameType type) {
  switch (type) {
    case FrameType::Data: return "DATA";
    case FrameType::Headers: return "HEADERS";
    case FrameType::Priority: return "PRIORITY";
    case FrameType::RstStream: return "RST_STREAM";
    case FrameType::Settings: return "SETTINGS";
    case FrameType::PushPromise: return "PUSH_PROMISE";
    case FrameType::Ping: return "PING";
    case FrameType::GoAway: return "GOAWAY";
    case FrameType::WindowUpdate: return "WINDOW_UPDATE";
    case FrameType::Continuation: return "CONTINUATION";
  }
  return "";
}

void append_flags(std::string& line, const TracedFrame& f) {
  struct Flag {
    uint8_t bit;
    const char* name;
    bool fits;
  };
  bool head = f.type() == FrameType::Headers || f.type() == FrameType::Continuation;
  bool acked = f.type() == FrameType::Settings || f.type() == FrameType::Ping;
  bool body = f.type() == FrameType::Data || f.type() == FrameType::Headers;
  const Flag flags[] = {{http::h2::kFlagEndStream, "END_STREAM", body},
                        {http::h2::kFlagAck, "ACK", acked},
                        {http::h2::kFlagEndHeaders, "END_HEADERS", head},
                        {http::h2::kFlagPadded, "PADDED", body},
                        {http::h2::kFlagPriority, "PRIORITY", f.type() == FrameType::Headers}};
  const char* before = " flags=";
  for (const Flag& flag : flags) {
    if (!flag.fits || !(f.flags() & flag.bit)) continue;
    line += before;
    line += flag.name;
    before = "|";
  }
}

std::string line_of(const TracedFrame& f, int worker, int64_t unix_ns) {
  std::string line;
  append_line(line, LogLine::kTimeBytes, [&](LogLine& out) { out.time(unix_ns); });
  line += " w" + std::to_string(worker) + " c" + std::to_string(f.connection()) + (f.written() ? " > " : " < ");
  std::string_view name = type_name(f.type());
  line += name.empty() ? "type" + std::to_string(static_cast<int>(f.type())) : std::string(name);
  line += " stream=" + std::to_string(f.stream()) + " length=" + std::to_string(f.length());
  append_flags(line, f);
  return line;
}

bool fits(const TracedFrame& f, const FrameFilter& filter) {
  if (filter.connection != 0 && f.connection() != filter.connection) return false;
  return filter.stream_id == 0 || f.stream() == filter.stream_id || f.stream() == 0;
}

}  // namespace

std::vector<std::string> frame_lines(const http::h2::FrameTrace& trace, const FrameFilter& filter, int worker,
                                     TimePoint now, int64_t unix_ms) {
  uint64_t fitting = 0;
  trace.for_each(UINT64_MAX, [&](const TracedFrame& f) { fitting += fits(f, filter); });
  uint64_t skip = fitting > filter.limit ? fitting - filter.limit : 0;
  uint32_t micros_now = http::h2::FrameTrace::micros_of(now);
  std::vector<std::string> lines;
  trace.for_each(UINT64_MAX, [&](const TracedFrame& f) {
    if (!fits(f, filter)) return;
    if (skip > 0) {
      --skip;
      return;
    }
    uint32_t ago = micros_now - f.micros;  // modulo 2^32
    lines.push_back(line_of(f, worker, unix_ms * 1'000'000 - int64_t{ago} * 1000));
  });
  return lines;
}

}  // namespace weir::proxy
