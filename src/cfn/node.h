// A template as a tree of values with their places in the text. The parsers (YAML, JSON) build it; short
// tags (`!Ref X`) arrive as their long form (`{Ref: X}`), so that the rest of the module knows one spelling.
//
// Limits: text 1 MB, 64 levels, 100,000 values, 2,000 keys in one mapping.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cfn/diagnostic.h"

namespace weir::cfn {

inline constexpr size_t kTemplateBytesMax = 1'000'000;
inline constexpr size_t kNodeDepthMax = 64;
inline constexpr size_t kNodesMax = 100'000;
inline constexpr size_t kMembersMax = 2'000;  // of one mapping

struct Member;

struct Node {
  enum class Kind { Null, Scalar, List, Map };
  Kind kind = Kind::Null;
  bool quoted = false;  // a scalar that is text whatever it looks like
  std::string text;     // Scalar: as written
  std::vector<Node> items;
  std::vector<Member> members;  // in the order written; keys are unique
  Mark mark;

  bool is_scalar() const { return kind == Kind::Scalar; }
  bool is_list() const { return kind == Kind::List; }
  bool is_map() const { return kind == Kind::Map; }
  const Node* find(std::string_view key) const;
  const Member* find_member(std::string_view key) const;
};

struct Member {
  std::string key;
  Mark key_mark;
  Node value;
};

// What a plain scalar means in YAML 1.1 as far as templates go: dates stay text.
enum class PlainKind { Null, Boolean, Integer, Octal, Float, Text };
PlainKind classify_plain(std::string_view text);
// yes/no/on/off/true/false in YAML 1.1's spellings.
std::optional<bool> yaml_boolean(std::string_view text);
// The text of a scalar as CloudFormation passes it on: plain booleans become true or false.
std::string scalar_text(const Node& node);
// "a list", "a mapping", "the text \"x\"", "nothing": for messages.
std::string describe_node(const Node& node);

// JSON when the text begins with '{' and a quoted key, else YAML 1.1. Syntax errors, duplicate keys,
// aliases, unknown tags and exceeded limits are added to `diagnostics`; nullopt when there is no tree.
std::optional<Node> parse_text(std::string_view text, Diagnostics& diagnostics);

// The two parsers behind parse_text().
std::optional<Node> parse_yaml(std::string_view text, Diagnostics& diagnostics);
std::optional<Node> parse_json(std::string_view text, Diagnostics& diagnostics);

}  // namespace weir::cfn
