// Small pieces of log lines. A line is written where its bytes will stand, with room for the most it can take, so that
// no piece asks for room: lines are what a balancer with its access log on does most beside forwarding.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/copy.h"

namespace weir::proxy {

// Writes forward from where it is put. Whoever makes one has room for all that comes, and kSlack bytes behind.
class LogLine {
 public:
  static constexpr size_t kSlack = 16;
  static constexpr size_t kTimeBytes = 27;
  static constexpr size_t kNumberBytesMax = 20;
  static constexpr size_t kEscapedMax = 6;  // bytes that one byte of a text may become

  explicit LogLine(char* at) : at_(at) {}
  char* end() const { return at_; }

  [[gnu::always_inline]] LogLine& operator+=(char c) {
    *at_++ = c;
    return *this;
  }
  template <size_t size>
  [[gnu::always_inline]] LogLine& operator+=(const char (&literal)[size]) {
    std::memcpy(at_, literal, size - 1);
    at_ += size - 1;
    return *this;
  }
  LogLine& operator+=(std::string_view text) {
    copy_short(at_, text.data(), text.size());
    at_ += text.size();
    return *this;
  }
  // "2026-11-25T22:53:27.000123Z"
  void time(int64_t unix_ns);
  // Seconds with three digits behind the point, rounded down; "-1" for a negative value (ALB's "not dispatched").
  void seconds(int64_t micros);
  void number(int64_t value);
  // So many digits, zeros in front.
  void padded(uint32_t value, int digits);
  // `text` between double quotes; '"', '\\' and what is not printable ASCII as \xHH. Empty: "-".
  void quoted(std::string_view text);
  // The same without quotes around it, for a part of a quoted field.
  void escaped(std::string_view text);
  void escaped_or_dash(std::string_view text) {
    if (text.empty()) *this += '-';
    else escaped(text);
  }
  // A JSON string.
  void json_text(std::string_view text);

 private:
  std::string_view copy_plain(std::string_view text);
  char* at_;
};

// Appends to `out` what f(LogLine&) writes, at most `most` bytes.
template <class F>
void append_line(std::string& out, size_t most, F&& f) {
  size_t before = out.size();
  out.resize_and_overwrite(before + most + LogLine::kSlack, [&](char* bytes, size_t) {
    LogLine line(bytes + before);
    f(line);
    return static_cast<size_t>(line.end() - bytes);
  });
}

// A JSON object on a line of its own.
class JsonLine {
 public:
  explicit JsonLine(LogLine& out) : out_(out) { out_ += '{'; }
  template <size_t size>
  void text(const char (&key)[size], std::string_view value) {
    name(key);
    out_.json_text(value);
  }
  template <size_t size>
  void optional_text(const char (&key)[size], std::string_view value) {
    if (!value.empty()) text(key, value);
  }
  template <size_t size>
  void number(const char (&key)[size], int64_t value) {
    name(key);
    out_.number(value);
  }
  // Microseconds are kept; negative: null.
  template <size_t size>
  void seconds(const char (&key)[size], int64_t micros) {
    name(key);
    write_seconds(micros);
  }
  template <size_t size>
  void time(const char (&key)[size], int64_t unix_ns) {
    name(key);
    out_ += '"';
    out_.time(unix_ns);
    out_ += '"';
  }
  void end() { out_ += "}\n"; }

 private:
  template <size_t size>
  [[gnu::always_inline]] void name(const char (&key)[size]) {
    if (!first_) out_ += ',';
    first_ = false;
    out_ += '"';
    out_ += key;
    out_ += "\":";
  }
  void write_seconds(int64_t micros);
  LogLine& out_;
  bool first_ = true;
};

}  // namespace weir::proxy
