#include "proxy/log_text.h"

#include <charconv>
#include <cstring>
#include <ctime>

namespace weir::proxy {

namespace {
constexpr char kHex[] = "0123456789abcdef";

bool plain(unsigned char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; }

// How many bytes from `from` on are plain; looks at eight of them at once as long as all are.
size_t plain_run(std::string_view text, size_t from) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHigh = 0x8080808080808080;
  auto zero_in = [](uint64_t word) { return (word - kOnes) & ~word & kHigh; };  // right about whether there is one
  auto all_plain = [&](size_t at) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, sizeof word);
    uint64_t below_blank = (word - kOnes * ' ') & ~word & kHigh;
    return (below_blank | (word & kHigh) | zero_in(word ^ kOnes * 0x7f) | zero_in(word ^ kOnes * '"') |
            zero_in(word ^ kOnes * '\\')) == 0;
  };
  constexpr size_t kWord = sizeof(uint64_t);
  size_t at = from;
  while (text.size() - at >= kWord && all_plain(at)) at += kWord;
  size_t left = text.size() - at;
  if (left < kWord && at - from >= kWord && all_plain(text.size() - kWord)) return text.size() - from;  // overlapping
  while (at < text.size() && plain(static_cast<unsigned char>(text[at]))) ++at;
  return at - from;
}

void append_padded(std::string& out, int64_t value, int digits) {
  char text[16];
  for (int i = digits - 1; i >= 0; --i, value /= 10) text[i] = static_cast<char>('0' + value % 10);
  out.append(text, static_cast<size_t>(digits));
}
}  // namespace

void append_number(std::string& out, int64_t value) {
  char text[24];
  char* end = std::to_chars(text, text + sizeof text, value).ptr;
  out.append(text, static_cast<size_t>(end - text));
}

// Lines of the same second come together: its text is made once per thread.
void append_time(std::string& out, int64_t unix_ns) {
  thread_local std::time_t known = -1;
  thread_local char date[32];
  std::time_t second = unix_ns / 1'000'000'000;
  if (second != known) {
    std::tm broken{};
    gmtime_r(&second, &broken);
    std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S.", &broken);
    known = second;
  }
  out += date;
  append_padded(out, unix_ns % 1'000'000'000 / 1000, 6);
  out += 'Z';
}

void append_seconds(std::string& out, int64_t micros) {
  if (micros < 0) {
    out += "-1";
    return;
  }
  append_number(out, micros / 1'000'000);
  out += '.';
  append_padded(out, micros % 1'000'000 / 1000, 3);
}

void append_escaped(std::string& out, std::string_view text) {
  for (size_t at = 0;; ++at) {
    size_t run = plain_run(text, at);
    out.append(text.substr(at, run));
    at += run;
    if (at == text.size()) return;
    auto c = static_cast<unsigned char>(text[at]);
    out += "\\x";
    out += kHex[c >> 4];
    out += kHex[c & 15];
  }
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  if (text.empty()) {
    out += '-';
  } else {
    append_escaped(out, text);
  }
  out += '"';
}

// Bytes above ASCII become \u00HH: header values have no encoding, and the line must stay JSON.
void append_json_text(std::string& out, std::string_view text) {
  out += '"';
  for (size_t at = 0;; ++at) {
    size_t run = plain_run(text, at);
    out.append(text.substr(at, run));
    at += run;
    if (at == text.size()) break;
    auto c = static_cast<unsigned char>(text[at]);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else {
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    }
  }
  out += '"';
}

void JsonLine::name(std::string_view text) {
  if (!first_) out_ += ',';
  first_ = false;
  out_ += '"';
  out_ += text;
  out_ += "\":";
}

void JsonLine::text(std::string_view key, std::string_view value) {
  name(key);
  append_json_text(out_, value);
}

void JsonLine::number(std::string_view key, int64_t value) {
  name(key);
  append_number(out_, value);
}

void JsonLine::seconds(std::string_view key, int64_t micros) {
  name(key);
  if (micros < 0) {
    out_ += "null";
    return;
  }
  append_number(out_, micros / 1'000'000);
  out_ += '.';
  append_padded(out_, micros % 1'000'000, 6);
}

void JsonLine::time(std::string_view key, int64_t unix_ns) {
  name(key);
  out_ += '"';
  append_time(out_, unix_ns);
  out_ += '"';
}

}  // namespace weir::proxy
