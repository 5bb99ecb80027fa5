// JSON (RFC 8259) with the place of every value.
#include <cstdint>
#include <utility>

#include "cfn/node.h"

namespace weir::cfn {

namespace {

struct SyntaxError {
  Mark where;
  std::string message;
};

void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

class JsonReader {
 public:
  JsonReader(std::string_view text, Diagnostics& diagnostics) : text_(text), diagnostics_(diagnostics) {}

  Node document() {
    Node root = value(0);
    skip_space();
    if (at_ != text_.size()) fail("unexpected text after the template");
    return root;
  }

 private:
  Mark here() const { return {line_, static_cast<int>(at_ - line_start_) + 1}; }
  [[noreturn]] void fail(std::string what) const {
    throw SyntaxError{here(), "JSON: " + std::move(what) + "."};
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size()) {
      char c = text_[at_];
      if (c == '\n') {
        ++line_;
        line_start_ = at_ + 1;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
      ++at_;
    }
  }

  void expect(char c) {
    skip_space();
    if (peek() != c || at_ >= text_.size()) fail(std::string("expected '") + c + "'");
    ++at_;
  }

  Node value(size_t depth) {
    skip_space();
    Node node;
    node.mark = here();
    if (depth > kNodeDepthMax) fail("nested too deeply");
    if (++nodes_ > kNodesMax) fail("too many values");
    switch (peek()) {
      case '{': object(node, depth); break;
      case '[': array(node, depth); break;
      case '"':
        node.kind = Node::Kind::Scalar;
        node.quoted = true;
        node.text = string();
        break;
      default: word(node); break;
    }
    return node;
  }

  void object(Node& node, size_t depth) {
    node.kind = Node::Kind::Map;
    ++at_;
    skip_space();
    if (peek() == '}') {
      ++at_;
      return;
    }
    for (;;) {
      skip_space();
      Mark key_mark = here();
      if (peek() != '"') fail("expected a quoted key");
      if (node.members.size() >= kMembersMax) fail("a mapping has too many keys");
      std::string key = string();
      expect(':');
      Node member = value(depth + 1);
      if (const Member* first = node.find_member(key)) {
        diagnostics_.add(key_mark, "Duplicate key " + key + "; the first is at line " +
                                       std::to_string(first->key_mark.line) + ".");
      } else {
        node.members.push_back({std::move(key), key_mark, std::move(member)});
      }
      skip_space();
      if (peek() == ',') {
        ++at_;
        continue;
      }
      expect('}');
      return;
    }
  }

  void array(Node& node, size_t depth) {
    node.kind = Node::Kind::List;
    ++at_;
    skip_space();
    if (peek() == ']') {
      ++at_;
      return;
    }
    for (;;) {
      node.items.push_back(value(depth + 1));
      skip_space();
      if (peek() == ',') {
        ++at_;
        continue;
      }
      expect(']');
      return;
    }
  }

  void word(Node& node) {
    size_t start = at_;
    while (at_ < text_.size() && std::string_view(" \t\r\n,]}:\"").find(text_[at_]) == std::string_view::npos)
      ++at_;
    std::string_view w = text_.substr(start, at_ - start);
    PlainKind kind = classify_plain(w);
    bool known =
        w == "true" || w == "false" || w == "null" || kind == PlainKind::Integer || kind == PlainKind::Float;
    if (!known || w[0] == '+') {
      at_ = start;
      fail(w.empty() ? "expected a value" : "unknown word " + std::string(w.substr(0, 40)));
    }
    node.kind = w == "null" ? Node::Kind::Null : Node::Kind::Scalar;
    node.text = w;
  }

  std::string string() {
    std::string out;
    ++at_;
    while (at_ < text_.size()) {
      char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
      if (c == '\\') {
        escape(out);
      } else {
        out += c;
        ++at_;
      }
    }
    fail("the string does not end");
  }

  void escape(std::string& out) {
    static constexpr std::string_view kNames = "\"\\/bfnrt";
    static constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
    ++at_;
    if (peek() == 'u') {
      uint32_t c = hex4();
      if (c >= 0xD800 && c < 0xDC00 && text_.substr(at_).starts_with("\\u")) {
        ++at_;
        uint32_t low = hex4();
        if (low < 0xDC00 || low > 0xDFFF) fail("half a surrogate pair");
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
      } else if (c >= 0xD800 && c <= 0xDFFF) {
        fail("half a surrogate pair");
      }
      append_utf8(out, c);
      return;
    }
    size_t index = at_ < text_.size() ? kNames.find(text_[at_]) : std::string_view::npos;
    if (index == std::string_view::npos) fail("unknown escape in a string");
    out += kValues[index];
    ++at_;
  }

  uint32_t hex4() {
    ++at_;
    uint32_t c = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      char d = peek();
      int digit = d >= '0' && d <= '9'   ? d - '0'
                  : d >= 'a' && d <= 'f' ? d - 'a' + 10
                  : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                         : -1;
      if (digit < 0) fail("\\u needs four hexadecimal digits");
      c = c * 16 + static_cast<uint32_t>(digit);
    }
    return c;
  }

  std::string_view text_;
  Diagnostics& diagnostics_;
  size_t at_ = 0;
  size_t line_start_ = 0;
  int line_ = 1;
  size_t nodes_ = 0;
};

}  // namespace

std::optional<Node> parse_json(std::string_view text, Diagnostics& diagnostics) {
  try {
    return JsonReader(text, diagnostics).document();
  } catch (const SyntaxError& e) {
    diagnostics.add(e.where, e.message);
    return std::nullopt;
  }
}

}  // namespace weir::cfn
