#include "proxy/pattern.h"

#include <cstring>

namespace weir::proxy {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_letter(char a, char b, Case letters) {
  return a == b || (letters == Case::Insensitive && lower(a) == lower(b));
}

// A backslash before '*' or '?' takes its meaning away (ELB API: QueryStringConditionConfig).
bool is_escaped(std::string_view pattern, size_t at) {
  return pattern[at] == '\\' && at + 1 < pattern.size() && (pattern[at + 1] == '*' || pattern[at + 1] == '?');
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_unreserved(int c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

// RFC 3986 §6.2.2.1 and §6.2.2.2. Returns the end of what it wrote; never more than it read.
char* decode_unreserved(std::string_view path, char* out) {
  for (size_t i = 0; i < path.size(); ++i) {
    int high = path[i] == '%' && i + 2 < path.size() ? hex_value(path[i + 1]) : -1;
    int low = high >= 0 ? hex_value(path[i + 2]) : -1;
    if (low < 0) {
      *out++ = path[i];
      continue;
    }
    static constexpr char kDigits[] = "0123456789ABCDEF";
    if (is_unreserved(high * 16 + low)) {
      *out++ = static_cast<char>(high * 16 + low);
    } else {
      *out++ = '%';
      *out++ = kDigits[high];
      *out++ = kDigits[low];
    }
    i += 2;
  }
  return out;
}

// RFC 3986 §5.2.4, in place, for a path that begins with '/'. Returns the new end.
char* remove_dot_segments(char* begin, char* end) {
  char* out = begin;
  for (char* in = begin; in < end;) {
    auto* next = static_cast<char*>(std::memchr(in + 1, '/', static_cast<size_t>(end - in - 1)));
    if (next == nullptr) next = end;
    std::string_view segment(in + 1, static_cast<size_t>(next - in - 1));
    bool last = next == end;
    if (segment == "..") {
      while (out > begin && *--out != '/') {
      }
      if (last) *out++ = '/';
    } else if (segment == ".") {
      if (last) *out++ = '/';
    } else {
      std::memmove(out, in, static_cast<size_t>(next - in));
      out += next - in;
    }
    in = next;
  }
  return out;
}

}  // namespace

bool matches_wildcard(std::string_view pattern, std::string_view text, Case letters) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;
  size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && is_escaped(pattern, p) && text[t] == pattern[p + 1]) {
      p += 2;
      ++t;
    } else if (p < pattern.size() && !is_escaped(pattern, p) &&
               (pattern[p] == '?' || same_letter(pattern[p], text[t], letters))) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Pattern::Pattern(std::string_view text, Case letters) : letters_(letters) {
  size_t stars = 0;
  size_t star_at = 0;
  bool question = false;
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_escaped(text, i)) {
      plain += text[++i];
    } else if (text[i] == '*') {
      ++stars;
      star_at = plain.size();
    } else {
      question = question || text[i] == '?';
      plain += text[i];
    }
  }
  if (question || stars > 1 || (stars == 1 && star_at != 0 && star_at != plain.size())) {
    text_ = text;
    return;
  }
  text_ = plain;
  if (letters_ == Case::Insensitive) {
    for (char& c : text_) c = lower(c);
  }
  if (stars == 0) {
    kind_ = Kind::Exact;
  } else if (text_.empty()) {
    kind_ = Kind::Anything;
  } else {
    kind_ = star_at == 0 ? Kind::Suffix : Kind::Prefix;
  }
}

bool Pattern::same(std::string_view piece) const {
  if (letters_ == Case::Sensitive) return std::memcmp(piece.data(), text_.data(), text_.size()) == 0;
  for (size_t i = 0; i < text_.size(); ++i) {
    if (lower(piece[i]) != text_[i]) return false;
  }
  return true;
}

bool Pattern::matches(std::string_view text) const {
  switch (kind_) {
    case Kind::Anything: return true;
    case Kind::Exact: return text.size() == text_.size() && same(text);
    case Kind::Prefix: return text.size() >= text_.size() && same(text);
    case Kind::Suffix: return text.size() >= text_.size() && same(text.substr(text.size() - text_.size()));
    case Kind::General: return matches_wildcard(text_, text, letters_);
  }
  return false;
}

std::string_view normal_path(std::string_view path, Arena& arena) {
  bool encoded = path.find('%') != std::string_view::npos;
  if (path.empty() || path[0] != '/' || (!encoded && path.find("/.") == std::string_view::npos)) return path;
  char* begin = arena.allocate(path.size());
  char* end = remove_dot_segments(begin, decode_unreserved(path, begin));
  return {begin, static_cast<size_t>(end - begin)};
}

}  // namespace weir::proxy
