#include "proxy/log_text.h"

#include <array>
#include <charconv>
#include <ctime>

namespace weir::proxy {

namespace {
constexpr char kHex[] = "0123456789abcdef";
constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kSecondUs = 1'000'000;

bool plain(unsigned char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; }

using EightBytes = signed char __attribute__((vector_size(8)));
using SixteenBytes = signed char __attribute__((vector_size(16)));

// Copies so many bytes; true when all of them are plain.
template <class Bytes>
[[gnu::always_inline]] inline bool copy_bytes(char* to, const char* from) {
  Bytes bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  std::memcpy(to, &bytes, sizeof bytes);
  constexpr signed char kBlank = ' ', kDelete = 0x7f, kQuote = '"', kBackslash = '\\';
  // Bytes above 0x7f are negative, so they are below the blank, too.
  Bytes odd = (bytes < kBlank) | (bytes == kDelete) | (bytes == kQuote) | (bytes == kBackslash);
  uint64_t words[sizeof(Bytes) / sizeof(uint64_t)];
  std::memcpy(words, &odd, sizeof odd);
  return (words[0] | words[sizeof(Bytes) / sizeof(uint64_t) - 1]) == 0;
}

// "2026-11-25T22:53:27." of some seconds: most lines are about the latest ones.
struct KnownSecond {
  static constexpr size_t kBytes = LogLine::kTimeBytes - 7;
  std::time_t second = -1;
  char text[32];
};

const char* date_of(std::time_t second) {
  thread_local std::array<KnownSecond, 8> known;
  KnownSecond& k = known[static_cast<size_t>(second) % known.size()];
  if (k.second != second) [[unlikely]] {
    std::tm broken{};
    gmtime_r(&second, &broken);
    std::strftime(k.text, sizeof k.text, "%Y-%m-%dT%H:%M:%S.", &broken);
    k.second = second;
  }
  return k.text;
}
}  // namespace

void LogLine::number(int64_t value) {
  if (value >= 0 && value < 10) {
    *at_++ = static_cast<char>('0' + value);
  } else {
    at_ = std::to_chars(at_, at_ + kNumberBytesMax, value).ptr;
  }
}

void LogLine::padded(uint32_t value, int digits) {
  for (int i = digits - 1; i >= 0; --i, value /= 10) at_[i] = static_cast<char>('0' + value % 10);
  at_ += digits;
}

void LogLine::time(int64_t unix_ns) {
  std::memcpy(at_, date_of(unix_ns / kSecondNs), KnownSecond::kBytes);
  at_ += KnownSecond::kBytes;
  padded(static_cast<uint32_t>(unix_ns % kSecondNs / 1000), 6);
  *at_++ = 'Z';
}

void LogLine::seconds(int64_t micros) {
  if (micros < 0) {
    *this += "-1";
    return;
  }
  number(micros / kSecondUs);
  *at_++ = '.';
  padded(static_cast<uint32_t>(micros % kSecondUs / 1000), 3);
}

// Copies the plain bytes that `text` begins with; returns the rest. Bytes are copied before they are looked at: what
// is not plain is overwritten.
[[gnu::always_inline]] inline std::string_view LogLine::copy_plain(std::string_view text) {
  const char* const from = text.data();
  const size_t size = text.size();
  size_t done = 0;
  while (size - done >= sizeof(SixteenBytes) && copy_bytes<SixteenBytes>(at_ + done, from + done)) {
    done += sizeof(SixteenBytes);
  }
  auto finish = [&]<class Bytes>(Bytes) {  // with the last bytes of the text, which overlap what was copied
    if (size < sizeof(Bytes) || size - done > sizeof(Bytes)) return false;
    if (!copy_bytes<Bytes>(at_ + size - sizeof(Bytes), from + size - sizeof(Bytes))) return false;
    done = size;
    return true;
  };
  if (size > done && !finish(SixteenBytes{}) && !finish(EightBytes{})) {
    for (; done < size && plain(static_cast<unsigned char>(from[done])); ++done) at_[done] = from[done];
  }
  at_ += done;
  return text.substr(done);
}

void LogLine::escaped(std::string_view text) {
  for (;;) {
    text = copy_plain(text);
    if (text.empty()) return;
    auto c = static_cast<unsigned char>(text[0]);
    *this += "\\x";
    *at_++ = kHex[c >> 4];
    *at_++ = kHex[c & 15];
    text.remove_prefix(1);
  }
}

void LogLine::quoted(std::string_view text) {
  *at_++ = '"';
  escaped_or_dash(text);
  *at_++ = '"';
}

// Bytes above ASCII become \u00HH: header values have no encoding, and the line must stay JSON.
void LogLine::json_text(std::string_view text) {
  *at_++ = '"';
  for (;;) {
    text = copy_plain(text);
    if (text.empty()) break;
    auto c = static_cast<unsigned char>(text[0]);
    if (c == '"' || c == '\\') {
      *at_++ = '\\';
      *at_++ = static_cast<char>(c);
    } else {
      *this += "\\u00";
      *at_++ = kHex[c >> 4];
      *at_++ = kHex[c & 15];
    }
    text.remove_prefix(1);
  }
  *at_++ = '"';
}

void JsonLine::write_seconds(int64_t micros) {
  if (micros < 0) {
    out_ += "null";
    return;
  }
  out_.number(micros / kSecondUs);
  out_ += '.';
  out_.padded(static_cast<uint32_t>(micros % kSecondUs), 6);
}

}  // namespace weir::proxy
