#include "cfn/schema.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/log.h"

namespace weir::cfn {

namespace {

constexpr std::string_view kTag = "Key*: string; Value*: string";

class SchemaReader {
 public:
  explicit SchemaReader(std::string_view text) : text_(text) {}

  Schema whole() {
    Schema schema = properties();
    skip();
    if (at_ != text_.size()) broken();
    return schema;
  }

 private:
  [[noreturn]] void broken() const {
    log_error("schema notation is wrong near: " + std::string(text_.substr(at_, 60)));
    std::abort();
  }
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool accept(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) broken();
  }
  std::string word(std::string_view stop) {
    skip();
    size_t start = at_;
    while (at_ < text_.size() && stop.find(text_[at_]) == std::string_view::npos) ++at_;
    if (at_ == start) broken();
    return std::string(text_.substr(start, at_ - start));
  }
  std::string name() {
    skip();
    size_t start = at_;
    while (at_ < text_.size() && std::isalnum(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
    if (at_ == start) broken();
    return std::string(text_.substr(start, at_ - start));
  }

  Schema properties() {
    Schema out;
    out.type = Schema::Type::Object;
    for (skip(); at_ < text_.size() && text_[at_] != '}'; skip()) {
      SchemaProperty property;
      property.supported = !accept('-');
      property.name = name();
      if (property.supported) {
        property.required = accept('*');
        property.create_only = accept('^');
        expect(':');
        property.schema = type();
      }
      out.properties.push_back(std::move(property));
      if (!accept(';')) break;
    }
    return out;
  }

  Schema type() {
    Schema out;
    if (accept('{')) {
      out = properties();
      expect('}');
      return out;
    }
    if (accept('[')) {
      out.type = Schema::Type::List;
      out.item.push_back(type());
      expect(']');
      return out;
    }
    std::string kind = name();
    if (kind == "Tag") return SchemaReader(kTag).whole();
    if (kind == "string") out.type = Schema::Type::String;
    else if (kind == "integer") out.type = Schema::Type::Integer;
    else if (kind == "number") out.type = Schema::Type::Number;
    else if (kind == "boolean") out.type = Schema::Type::Boolean;
    else if (kind == "map") out.type = Schema::Type::Map;
    else if (kind != "json") broken();
    if (accept('(')) limits(out);
    return out;
  }

  void limits(Schema& out) {
    if (out.type == Schema::Type::String) {
      do out.allowed.push_back(word("|)"));
      while (accept('|'));
    } else {
      out.min = std::strtoll(word(".)").c_str(), nullptr, 10);
      expect('.');
      expect('.');
      out.max = std::strtoll(word(")").c_str(), nullptr, 10);
    }
    expect(')');
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

const SchemaProperty* Schema::find(std::string_view name) const {
  auto found =
      std::find_if(properties.begin(), properties.end(), [name](const auto& p) { return p.name == name; });
  return found == properties.end() ? nullptr : &*found;
}

Schema parse_schema(std::string_view properties) {
  return SchemaReader(properties).whole();
}

std::string describe_schema(const Schema& schema) {
  switch (schema.type) {
    case Schema::Type::String: return "a string";
    case Schema::Type::Number: return "a number";
    case Schema::Type::Boolean: return "true or false";
    case Schema::Type::Json: return "a value";
    case Schema::Type::Map: return "a mapping from names to strings";
    case Schema::Type::Object: return "a mapping";
    case Schema::Type::Integer: break;
    case Schema::Type::List: {
      switch (schema.item[0].type) {
        case Schema::Type::String: return "a list of strings";
        case Schema::Type::Integer: return "a list of integers";
        case Schema::Type::Object: return "a list of mappings";
        default: return "a list";
      }
    }
  }
  if (schema.max == std::numeric_limits<int64_t>::max()) return "an integer";
  return "an integer from " + std::to_string(schema.min) + " to " + std::to_string(schema.max);
}

}  // namespace weir::cfn
