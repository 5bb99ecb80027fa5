#include "cfn/node.h"

#include <algorithm>
#include <array>

namespace weir::cfn {

namespace {

bool all_of_digits(std::string_view s, char top = '9') {
  return !s.empty() &&
         std::all_of(s.begin(), s.end(), [top](char c) { return (c >= '0' && c <= top) || c == '_'; });
}

bool is_float(std::string_view s) {
  size_t digits = 0;
  size_t i = 0;
  while (i < s.size() && s[i] >= '0' && s[i] <= '9') ++i, ++digits;
  if (i < s.size() && s[i] == '.') {
    ++i;
    while (i < s.size() && s[i] >= '0' && s[i] <= '9') ++i, ++digits;
  }
  if (digits == 0) return false;
  if (i < s.size() && (s[i] == 'e' || s[i] == 'E')) {
    ++i;
    if (i < s.size() && (s[i] == '+' || s[i] == '-')) ++i;
    return i < s.size() && all_of_digits(s.substr(i));
  }
  return i == s.size();
}

}  // namespace

const Member* Node::find_member(std::string_view key) const {
  auto found = std::find_if(members.begin(), members.end(), [key](const Member& m) { return m.key == key; });
  return found == members.end() ? nullptr : &*found;
}

const Node* Node::find(std::string_view key) const {
  const Member* member = find_member(key);
  return member == nullptr ? nullptr : &member->value;
}

std::optional<bool> yaml_boolean(std::string_view text) {
  static constexpr std::array<std::string_view, 9> kYes = {"yes",  "Yes", "YES", "true", "True",
                                                           "TRUE", "on",  "On",  "ON"};
  static constexpr std::array<std::string_view, 9> kNo = {"no",    "No",  "NO",  "false", "False",
                                                          "FALSE", "off", "Off", "OFF"};
  if (std::find(kYes.begin(), kYes.end(), text) != kYes.end()) return true;
  if (std::find(kNo.begin(), kNo.end(), text) != kNo.end()) return false;
  return std::nullopt;
}

PlainKind classify_plain(std::string_view text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return PlainKind::Null;
  if (yaml_boolean(text)) return PlainKind::Boolean;
  std::string_view digits = text;
  if (digits[0] == '-' || digits[0] == '+') digits.remove_prefix(1);
  if (digits.size() > 1 && digits[0] == '0' && all_of_digits(digits)) {
    return all_of_digits(digits, '7') ? PlainKind::Octal : PlainKind::Text;
  }
  if (!digits.empty() && digits[0] != '_' && all_of_digits(digits)) return PlainKind::Integer;
  if (is_float(digits)) return PlainKind::Float;
  return PlainKind::Text;
}

std::string scalar_text(const Node& node) {
  if (!node.quoted) {
    if (std::optional<bool> b = yaml_boolean(node.text)) return *b ? "true" : "false";
  }
  return node.text;
}

std::string describe_node(const Node& node) {
  switch (node.kind) {
    case Node::Kind::Null: return "nothing";
    case Node::Kind::List: return "a list";
    case Node::Kind::Map: return "a mapping";
    case Node::Kind::Scalar: break;
  }
  constexpr size_t kShown = 60;
  return "\"" + (node.text.size() > kShown ? node.text.substr(0, kShown) + "…" : node.text) + "\"";
}

std::optional<Node> parse_text(std::string_view text, Diagnostics& diagnostics) {
  if (text.size() > kTemplateBytesMax) {
    diagnostics.add({1, 1}, "The template is larger than " + std::to_string(kTemplateBytesMax) + " bytes.");
    return std::nullopt;
  }
  size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) {
    diagnostics.add({1, 1}, "The template is empty.");
    return std::nullopt;
  }
  if (text[first] != '{') return parse_yaml(text, diagnostics);
  // YAML's flow form also begins with a brace, but only JSON always quotes its keys.
  size_t key = text.find_first_not_of(" \t\r\n", first + 1);
  bool json = key != std::string_view::npos && (text[key] == '"' || text[key] == '}');
  return json ? parse_json(text, diagnostics) : parse_yaml(text, diagnostics);
}

}  // namespace weir::cfn
