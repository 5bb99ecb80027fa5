// Small pieces of log lines, appended to a string.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::proxy {

// "2026-11-25T22:53:27.000123Z"
void append_time(std::string& out, int64_t unix_ns);
// Seconds with three digits behind the point, rounded down; "-1" for a negative value (ALB's "not dispatched").
void append_seconds(std::string& out, int64_t micros);
void append_number(std::string& out, int64_t value);
// `text` between double quotes; '"', '\\' and what is not printable ASCII as \xHH. Empty: "-".
void append_quoted(std::string& out, std::string_view text);
// The same without quotes around it, for a part of a quoted field.
void append_escaped(std::string& out, std::string_view text);
// A JSON string.
void append_json_text(std::string& out, std::string_view text);

// Members of a JSON object: writes `,"NAME":` between them.
class JsonLine {
 public:
  explicit JsonLine(std::string& out) : out_(out) { out_ += '{'; }
  void text(std::string_view name, std::string_view value);
  void optional_text(std::string_view name, std::string_view value) {
    if (!value.empty()) text(name, value);
  }
  void number(std::string_view name, int64_t value);
  void seconds(std::string_view name, int64_t micros);  // microseconds are kept; negative: null
  void time(std::string_view name, int64_t unix_ns);
  void end() { out_ += "}\n"; }

 private:
  void name(std::string_view text);
  std::string& out_;
  bool first_ = true;
};

}  // namespace weir::proxy
