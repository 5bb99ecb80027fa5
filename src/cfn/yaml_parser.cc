// YAML 1.1 by yaml-cpp's event interface: events carry the place of every value, show every duplicate
// key, and leave scalars as they were written.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <istream>
#include <streambuf>
#include <utility>

#include "cfn/node.h"

namespace weir::cfn {

namespace {

constexpr std::array<std::string_view, 15> kShortForms = {
    "Sub", "GetAtt", "Join",   "Select",    "Split", "If",     "Equals",     "And",
    "Or",  "Not",    "Base64", "FindInMap", "Cidr",  "GetAZs", "ImportValue"};

struct TooMuch {
  Mark where;
  std::string message;
};

Mark mark_of(const YAML::Mark& m) {
  return {m.line + 1, m.column + 1};
}

// Long name of a short tag, "" when there is none.
std::string long_form(std::string_view tag) {
  std::string_view name = tag.substr(1);
  if (name == "Ref" || name == "Condition") return std::string(name);
  if (name == "Transform" || std::find(kShortForms.begin(), kShortForms.end(), name) != kShortForms.end()) {
    return "Fn::" + std::string(name);
  }
  return {};
}

class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}

  std::optional<Node> take() { return std::exchange(root_, std::nullopt); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    close(open_node(mark, Node::Kind::Null, "?"));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    diagnostics_.add(mark_of(mark), "CloudFormation templates cannot use YAML aliases (*name).");
    close(open_node(mark, Node::Kind::Null, "?"));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    Frame frame = open_node(mark, Node::Kind::Scalar, tag);
    frame.node.text = value;
    frame.node.quoted = tag == "!" || tag == "tag:yaml.org,2002:str" || !frame.function.empty();
    if (tag == "?" && classify_plain(value) == PlainKind::Null) frame.node.kind = Node::Kind::Null;
    close(std::move(frame));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    push(open_node(mark, Node::Kind::List, tag));
  }
  void OnSequenceEnd() override { pop(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    push(open_node(mark, Node::Kind::Map, tag));
  }
  void OnMapEnd() override { pop(); }

 private:
  struct Frame {
    Node node;
    std::string function;     // long name of the short tag on this node
    bool has_key = false;     // Map: a key was read, its value comes next
    bool drop_value = false;  // Map: the key was bad or a duplicate
    Member pending;
  };

  Frame open_node(const YAML::Mark& mark, Node::Kind kind, const std::string& tag) {
    if (++nodes_ > kNodesMax) throw TooMuch{mark_of(mark), "The template has too many values."};
    Frame frame;
    frame.node.kind = kind;
    frame.node.mark = mark_of(mark);
    if (tag.size() > 1 && tag[0] == '!') {
      frame.function = long_form(tag);
      if (frame.function.empty())
        diagnostics_.add(frame.node.mark, "Unknown tag " + tag + "." + suggestion(tag));
    } else if (tag.starts_with("tag:") && !known_type_tag(tag)) {
      diagnostics_.add(frame.node.mark, "CloudFormation does not know the YAML type " + tag + ".");
    }
    return frame;
  }

  static bool known_type_tag(std::string_view tag) {
    std::string_view name = tag.substr(tag.rfind(':') + 1);
    return name == "str" || name == "int" || name == "bool" || name == "float" || name == "null" ||
           name == "map" || name == "seq";
  }

  static std::string suggestion(const std::string& tag) {
    std::vector<std::string> names = {"!Ref", "!Condition"};
    for (std::string_view name : kShortForms) names.push_back("!" + std::string(name));
    return did_you_mean(tag, names);
  }

  void push(Frame frame) {
    if (stack_.size() >= kNodeDepthMax) throw TooMuch{frame.node.mark, "The template is nested too deeply."};
    stack_.push_back(std::move(frame));
  }

  void pop() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    close(std::move(frame));
  }

  // A value is complete: wrap it in its short function, then give it to what contains it.
  void close(Frame frame) {
    if (!frame.function.empty()) {
      Node call;
      call.kind = Node::Kind::Map;
      call.mark = frame.node.mark;
      call.members.push_back({frame.function, frame.node.mark, std::move(frame.node)});
      frame.node = std::move(call);
    }
    if (stack_.empty()) {
      root_ = std::move(frame.node);
      return;
    }
    Frame& parent = stack_.back();
    if (parent.node.is_list()) {
      parent.node.items.push_back(std::move(frame.node));
    } else if (!parent.has_key) {
      take_key(parent, frame.node);
    } else {
      parent.has_key = false;
      if (parent.drop_value) return;
      parent.pending.value = std::move(frame.node);
      parent.node.members.push_back(std::move(parent.pending));
    }
  }

  void take_key(Frame& parent, const Node& key) {
    if (parent.node.members.size() >= kMembersMax) throw TooMuch{key.mark, "A mapping has too many keys."};
    parent.has_key = true;
    parent.drop_value = true;
    if (!key.is_scalar()) {
      diagnostics_.add(key.mark, "A key must be text, not " + describe_node(key) + ".");
    } else if (!key.quoted && key.text == "<<") {
      diagnostics_.add(key.mark, "CloudFormation templates cannot use YAML merge keys (<<).");
    } else if (const Member* first = parent.node.find_member(key.text)) {
      diagnostics_.add(key.mark, "Duplicate key " + key.text + "; the first is at line " +
                                     std::to_string(first->key_mark.line) + ".");
    } else {
      parent.drop_value = false;
      parent.pending = Member{key.text, key.mark, {}};
    }
  }

  Diagnostics& diagnostics_;
  std::vector<Frame> stack_;
  std::optional<Node> root_;
  size_t nodes_ = 0;
};

// Reads the caller's bytes in place.
class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace

std::optional<Node> parse_yaml(std::string_view text, Diagnostics& diagnostics) {
  Builder builder(diagnostics);
  try {
    ViewBuffer buffer(text);
    std::istream in(&buffer);
    YAML::Parser parser(in);
    parser.HandleNextDocument(builder);
    std::optional<Node> root = builder.take();
    if (root && parser.HandleNextDocument(builder)) {
      std::optional<Node> second = builder.take();
      diagnostics.add(second ? second->mark : Mark{1, 1},
                      "A template is one YAML document; here a second begins.");
    }
    if (!root) diagnostics.add({1, 1}, "The template is empty.");
    return root;
  } catch (const YAML::Exception& e) {
    diagnostics.add(e.mark.is_null() ? Mark{1, 1} : mark_of(e.mark), "YAML: " + e.msg + ".");
  } catch (const TooMuch& e) {
    diagnostics.add(e.where, e.message);
  }
  return std::nullopt;
}

}  // namespace weir::cfn
