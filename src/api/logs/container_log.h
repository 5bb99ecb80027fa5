// Reads the log file of a container: one "RFC3339NANO stdout|stderr F|P text" line per line written (CRI
// format); lines marked P continue in the next one of the same stream.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace weir::api {

struct LogEvent {
  int64_t timestamp_ms = 0;  // since the epoch
  std::string stream;        // "stdout" or "stderr"
  std::string message;
};

struct LogPage {
  std::vector<LogEvent> events;
  int64_t next_offset = 0;   // byte offset behind the last event; pass it back to go on
};

// Whole lines from byte `offset`, at most `events_max` of them and about 1 MiB. A missing file is an empty
// page (the container has not started); an offset behind the end starts at 0 (the file was replaced).
Result<LogPage> read_container_log(const std::string& path, int64_t offset, size_t events_max);
// The offset from which the last `events_max` lines begin.
Result<int64_t> tail_offset(const std::string& path, size_t events_max);
// "2026-11-22T21:53:12.123456789Z" (or with a numeric zone) as milliseconds since the epoch; -1: not a time.
int64_t parse_rfc3339_ms(const std::string& text);

}  // namespace weir::api
