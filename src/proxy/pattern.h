// Patterns of rule conditions, compiled (ELB API: RuleCondition; alb.md 1.5).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/buffer.h"

namespace weir::proxy {

// '*' matches any number of characters, '?' exactly one; "\*" and "\?" match themselves.
enum class Case : uint8_t { Sensitive, Insensitive };
bool matches_wildcard(std::string_view pattern, std::string_view text, Case letters);

// Such a pattern, classified once: most are a text, or a text and one star, and then matching is a comparison.
class Pattern {
 public:
  Pattern(std::string_view text, Case letters);
  bool matches(std::string_view text) const;

 private:
  enum class Kind : uint8_t { Anything, Exact, Prefix, Suffix, General };
  bool same(std::string_view piece) const;  // as text_, of the same size
  Kind kind_ = Kind::General;
  Case letters_;
  std::string text_;  // without the star and escapes, but for General
};

// The path that patterns see: percent-encoded unreserved characters decoded, other encodings in upper case, and dot
// segments removed (RFC 3986 §6.2.2). What needs no change is returned as it is; other results stand in the arena.
std::string_view normal_path(std::string_view path, Arena& arena);

}  // namespace weir::proxy
