// Properties against their schemas.
#include <charconv>
#include <cmath>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "cfn/evaluator.h"
#include "cfn/unknown.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

std::string shown(const json& v) {
  if (is_list_like(v)) return "a list";
  if (v.is_object()) return "a mapping";
  if (v.is_null()) return "nothing";
  if (is_unknown(v)) return "a string";
  constexpr size_t kShown = 60;
  std::string text = v.is_string() ? v.get<std::string>() : v.dump();
  return "\"" + text.substr(0, kShown) + "\"";
}

}  // namespace

json Evaluator::properties(const ResourceDefinition& resource, const Schema& schema) {
  static const Node kNone;
  const Node& node = resource.properties == nullptr ? kNone : *resource.properties;
  std::string prefix = resource.name;
  json out = json::object();
  std::vector<std::string> known;
  for (const SchemaProperty& p : schema.properties) {
    if (p.supported) known.push_back(p.name);
  }
  for (const Member& m : node.members) {
    const SchemaProperty* p = schema.find(m.key);
    if (p == nullptr || !p->supported) {
      diagnostics_.add(m.key_mark,
                       p == nullptr
                           ? resource.type + " has no property " + m.key + "." + did_you_mean(m.key, known)
                           : "Weir does not support the property " + m.key + " of " + resource.type + ".");
      continue;
    }
    json v = property(m.value, p->schema, prefix + "." + m.key);
    if (!is_no_value(v)) out[m.key] = std::move(v);
  }
  for (const SchemaProperty& p : schema.properties) {
    if (p.required && !out.contains(p.name)) {
      diagnostics_.add(resource.mark,
                       resource.name + " (" + resource.type + ") needs the property " + p.name + ".");
    }
  }
  return out;
}

json Evaluator::property(const Node& node, const Schema& schema, const std::string& path) {
  const Member* function = nullptr;
  if (is_function(node, function)) {
    if (function->key == "Fn::If") {
      const Node* other = nullptr;
      const Node* branch = chosen(function->value, other);
      if (other != nullptr && resources_ == nullptr) {
        bool was = std::exchange(inactive_, true);
        property(*other, schema, path);
        inactive_ = was;
      }
      return branch == nullptr ? unknown(Shape::Any) : property(*branch, schema, path);
    }
    return coerce(value(node), schema, node.mark, path);
  }
  if (schema.type == Schema::Type::Json) return free_form(node);
  if (schema.type == Schema::Type::Object && node.is_map()) return object(node, schema, path);
  if (schema.type == Schema::Type::Map && node.is_map()) {
    static const Schema kText = parse_schema("Text: string").properties[0].schema;
    json out = json::object();
    for (const Member& m : node.members) {
      json v = property(m.value, kText, path + "." + m.key);
      if (!is_no_value(v)) out[m.key] = std::move(v);
    }
    return out;
  }
  if (schema.type == Schema::Type::List && node.is_list()) {
    json out = json::array();
    for (size_t i = 0; i < node.items.size(); ++i) {
      json v = property(node.items[i], schema.item[0], path + "[" + std::to_string(i) + "]");
      if (!is_no_value(v)) out.push_back(std::move(v));
    }
    return out;
  }
  if (schema.type == Schema::Type::Integer && node.is_scalar() && !node.quoted &&
      classify_plain(node.text) == PlainKind::Octal) {
    return bad(node.mark,
               path + ": " + node.text + " is an octal number in YAML 1.1; write it without the leading zero.");
  }
  return coerce(value(node), schema, node.mark, path);
}

json Evaluator::object(const Node& node, const Schema& schema, const std::string& path) {
  json out = json::object();
  std::vector<std::string> known;
  for (const SchemaProperty& p : schema.properties) known.push_back(p.name);
  for (const Member& m : node.members) {
    const SchemaProperty* p = schema.find(m.key);
    if (p == nullptr || !p->supported) {
      diagnostics_.add(m.key_mark, p == nullptr
                                       ? path + " has no property " + m.key + "." + did_you_mean(m.key, known)
                                       : "Weir does not support the property " + m.key + " of " + path + ".");
      continue;
    }
    json v = property(m.value, p->schema, path + "." + m.key);
    if (!is_no_value(v)) out[m.key] = std::move(v);
  }
  for (const SchemaProperty& p : schema.properties) {
    if (p.required && !out.contains(p.name))
      diagnostics_.add(node.mark, path + " needs the property " + p.name + ".");
  }
  return out;
}

// Policy documents and the like: plain scalars keep their JSON type, dates stay text.
json Evaluator::free_form(const Node& node) {
  const Member* function = nullptr;
  if (is_function(node, function)) return value(node);
  json out;
  switch (node.kind) {
    case Node::Kind::Null: return nullptr;
    case Node::Kind::Scalar: {
      PlainKind kind = node.quoted ? PlainKind::Text : classify_plain(node.text);
      if (kind == PlainKind::Boolean) return *yaml_boolean(node.text);
      if (kind != PlainKind::Integer && kind != PlainKind::Float) return node.text;
      json number = json::parse(node.text, nullptr, false);
      return number.is_number() ? number : json(node.text);
    }
    case Node::Kind::List:
      out = json::array();
      for (const Node& item : node.items) {
        json v = free_form(item);
        if (!is_no_value(v)) out.push_back(std::move(v));
      }
      return out;
    case Node::Kind::Map: break;
  }
  out = json::object();
  for (const Member& m : node.members) {
    json v = free_form(m.value);
    if (!is_no_value(v)) out[m.key] = std::move(v);
  }
  return out;
}

json Evaluator::coerce(const json& v, const Schema& schema, Mark where, const std::string& path) {
  if (is_no_value(v) || schema.type == Schema::Type::Json) return v;
  auto wrong = [&] {
    return bad(where, path + " must be " + describe_schema(schema) + ", not " + shown(v) + ".");
  };
  if (is_unknown(v)) {
    bool list = schema.type == Schema::Type::List;
    bool scalar = !list && schema.type != Schema::Type::Object && schema.type != Schema::Type::Map;
    Shape shape = shape_of(v);
    return shape == Shape::Any || (shape == Shape::List ? list : scalar) ? v : wrong();
  }
  switch (schema.type) {
    case Schema::Type::List: {
      if (!v.is_array()) return wrong();
      json out = json::array();
      for (size_t i = 0; i < v.size(); ++i) {
        out.push_back(coerce(v[i], schema.item[0], where, path + "[" + std::to_string(i) + "]"));
      }
      return out;
    }
    case Schema::Type::Object:
    case Schema::Type::Map: {
      if (!v.is_object()) return wrong();
      json out = json::object();
      for (const auto& [key, member] : v.items()) {
        const SchemaProperty* p = schema.find(key);
        if (schema.type == Schema::Type::Object && p == nullptr)
          return bad(where, path + " has no property " + key + ".");
        out[key] = p == nullptr ? member : coerce(member, p->schema, where, path + "." + key);
      }
      return out;
    }
    default: return v.is_structured() || v.is_null() ? wrong() : coerce_scalar(v, schema, where, path);
  }
}

json Evaluator::coerce_scalar(const json& v, const Schema& schema, Mark where, const std::string& path) {
  auto wrong = [&] {
    return bad(where, path + " must be " + describe_schema(schema) + ", not " + shown(v) + ".");
  };
  std::string text = v.is_string() ? v.get<std::string>() : v.dump();
  if (schema.type == Schema::Type::Boolean) {
    std::optional<bool> b = yaml_boolean(text);
    return b ? json(*b) : wrong();
  }
  if (schema.type == Schema::Type::Integer) {
    int64_t number = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    bool good = error == std::errc() && end == text.data() + text.size() && number >= schema.min &&
                number <= schema.max;
    return good ? json(number) : wrong();
  }
  if (schema.type == Schema::Type::Number) {
    json number = json::parse(text, nullptr, false);
    return number.is_number() ? number : wrong();
  }
  if (!schema.allowed.empty()) {
    for (const std::string& allowed : schema.allowed) {
      if (allowed == text) return text;
    }
    std::string all;
    for (const std::string& allowed : schema.allowed) all += (all.empty() ? "" : ", ") + allowed;
    return bad(where, path + " must be one of " + all + ", not " + shown(v) + "." +
                          did_you_mean(text, schema.allowed));
  }
  return text;
}

}  // namespace weir::cfn
