// Patterns, addresses and paths as rules see them. Input: a pattern, a NUL, a text; the text is also taken as a path,
// and both as addresses.
//
// Matching agrees with a plain definition of wildcards; normalising a path twice is normalising it once.
#include <cctype>
#include <string>
#include <vector>

#include "check.h"
#include "proxy/cidr.h"
#include "proxy/pattern.h"

namespace {

using weir::proxy::Case;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

struct Piece {
  enum class Kind { Star, Any, Letter } kind;
  char letter = 0;
};

std::vector<Piece> pieces_of(std::string_view pattern) {
  std::vector<Piece> out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size() && (pattern[i + 1] == '*' || pattern[i + 1] == '?')) {
      out.push_back({Piece::Kind::Letter, pattern[++i]});
    } else if (pattern[i] == '*') {
      out.push_back({Piece::Kind::Star});
    } else if (pattern[i] == '?') {
      out.push_back({Piece::Kind::Any});
    } else {
      out.push_back({Piece::Kind::Letter, pattern[i]});
    }
  }
  return out;
}

// Which prefixes of the text the pieces so far match.
bool plain_match(const std::vector<Piece>& pieces, std::string_view text, Case letters) {
  std::vector<bool> reach(text.size() + 1);
  reach[0] = true;
  for (const Piece& piece : pieces) {
    std::vector<bool> next(text.size() + 1);
    for (size_t i = 0; i <= text.size(); ++i) {
      if (piece.kind == Piece::Kind::Star) {
        next[i] = reach[i] || (i > 0 && next[i - 1]);
      } else if (i > 0 && reach[i - 1]) {
        char a = text[i - 1];
        char b = piece.letter;
        next[i] = piece.kind == Piece::Kind::Any || a == b || (letters == Case::Insensitive && lower(a) == lower(b));
      }
    }
    reach = std::move(next);
  }
  return reach[text.size()];
}

// What is left of a lone '%' may make an encoding with what follows it.
bool well_encoded(std::string_view path) {
  auto is_hex = [&](size_t i) { return i < path.size() && std::isxdigit(static_cast<unsigned char>(path[i])) != 0; };
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '%' && !(is_hex(i + 1) && is_hex(i + 2))) return false;
  }
  return true;
}

void check_path(std::string path) {
  if (path.empty() || path[0] != '/') path.insert(path.begin(), '/');  // every :path begins so
  weir::Arena arena;
  std::string once(weir::proxy::normal_path(path, arena));
  CHECK(once.size() <= path.size() + 1);
  if (well_encoded(path)) CHECK(weir::proxy::normal_path(once, arena) == once);
}

void check_addresses(const std::string& block, const std::string& address) {
  auto cidr = weir::proxy::Cidr::parse(block);
  auto ip = weir::proxy::IpAddress::parse(address);
  bool holds = cidr.has_value() && ip.family != weir::proxy::IpAddress::Family::None && cidr->holds(ip);
  CHECK(weir::proxy::address_in_cidr(address, block) == holds);
  // A lone address is the block of itself.
  if (ip.family != weir::proxy::IpAddress::Family::None) CHECK(weir::proxy::address_in_cidr(address, address));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 300) return 0;
  std::string_view all(reinterpret_cast<const char*>(data), size);
  size_t cut = all.find('\0');
  std::string pattern(all.substr(0, cut));
  std::string text(cut == std::string_view::npos ? std::string_view{} : all.substr(cut + 1));
  auto pieces = pieces_of(pattern);
  for (Case letters : {Case::Sensitive, Case::Insensitive}) {
    bool expected = plain_match(pieces, text, letters);
    CHECK(weir::proxy::matches_wildcard(pattern, text, letters) == expected);
    CHECK(weir::proxy::Pattern(pattern, letters).matches(text) == expected);
  }
  check_path(text);
  check_addresses(pattern, text);
  return 0;
}
