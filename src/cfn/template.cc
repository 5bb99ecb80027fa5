#include "cfn/template.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace weir::cfn {

namespace {

constexpr size_t kParametersMax = 200;
constexpr size_t kMappingsMax = 200;
constexpr size_t kResourcesMax = 500;
constexpr size_t kOutputsMax = 200;
constexpr size_t kLogicalIdMax = 255;
constexpr size_t kDescriptionMax = 1024;

bool alphanumeric(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
}

class TemplateReader {
 public:
  TemplateReader(Template& out, Diagnostics& diagnostics) : out_(out), diagnostics_(diagnostics) {}

  void read() {
    if (!out_.root.is_map()) {
      add(out_.root.mark, "A template is a mapping of sections, not " + describe_node(out_.root) + ".");
      return;
    }
    for (const Member& section : out_.root.members) read_section(section);
    if (out_.root.find("Resources") == nullptr) {
      add(out_.root.mark, "Template format error: At least one Resources member must be defined.");
    }
  }

 private:
  void add(Mark where, std::string message) { diagnostics_.add(where, std::move(message)); }

  void read_section(const Member& s) {
    static const std::vector<std::string> kSections = {"AWSTemplateFormatVersion",
                                                       "Description",
                                                       "Metadata",
                                                       "Parameters",
                                                       "Mappings",
                                                       "Conditions",
                                                       "Resources",
                                                       "Outputs"};
    if (s.key == "AWSTemplateFormatVersion") {
      if (!s.value.is_scalar() || s.value.text != "2010-09-09") {
        add(s.value.mark,
            "AWSTemplateFormatVersion must be \"2010-09-09\", not " + describe_node(s.value) + ".");
      }
    } else if (s.key == "Description") {
      read_description(s);
    } else if (s.key == "Parameters") {
      each(s, kParametersMax, [this](const Member& m) { read_parameter(m); });
    } else if (s.key == "Mappings") {
      if (each(s, kMappingsMax, [this](const Member& m) { check_mapping(m); })) out_.mappings = &s.value;
    } else if (s.key == "Conditions") {
      if (each(s, kResourcesMax, [](const Member&) {})) out_.conditions = &s.value;
    } else if (s.key == "Resources") {
      if (s.value.members.empty()) add(s.key_mark, "At least one resource must be defined.");
      each(s, kResourcesMax, [this](const Member& m) { read_resource(m); });
    } else if (s.key == "Outputs") {
      each(s, kOutputsMax, [this](const Member& m) { read_output(m); });
    } else if (s.key == "Transform" || s.key == "Rules" || s.key == "Hooks") {
      add(s.key_mark, "The section " + s.key + " is not supported by Weir.");
    } else if (s.key != "Metadata") {
      add(s.key_mark, "Invalid template property " + s.key + "." + did_you_mean(s.key, kSections));
    }
  }

  void read_description(const Member& s) {
    if (!s.value.is_scalar()) {
      add(s.value.mark, "Description must be a string, not " + describe_node(s.value) + ".");
    } else if (s.value.text.size() > kDescriptionMax) {
      add(s.value.mark, "Description must have at most 1024 bytes.");
    }
    out_.description = s.value.text;
  }

  template <class F>
  bool each(const Member& section, size_t limit, F f) {
    if (!section.value.is_map()) {
      add(section.value.mark, section.key + " must be a mapping, not " + describe_node(section.value) + ".");
      return false;
    }
    if (section.value.members.size() > limit) {
      add(section.key_mark, section.key + " may have at most " + std::to_string(limit) + " members.");
      return false;
    }
    for (const Member& m : section.value.members) {
      if (!alphanumeric(m.key) || m.key.size() > kLogicalIdMax) {
        add(m.key_mark, section.key + " name " + m.key + " must be alphanumeric, at most 255 characters.");
      }
      f(m);
    }
    return true;
  }

  void check_mapping(const Member& m) {
    bool good = m.value.is_map();
    for (const Member& top : m.value.members) {
      if (!top.value.is_map())
        add(top.value.mark, "Mappings are two levels deep: " + m.key + "." + top.key +
                                " must be a mapping, not " + describe_node(top.value) + ".");
    }
    if (!good)
      add(m.value.mark, "Mapping " + m.key + " must be a mapping, not " + describe_node(m.value) + ".");
  }

  std::string text_of(const Node& node, std::string_view what) {
    if (!node.is_scalar()) {
      add(node.mark, std::string(what) + " must be a string, not " + describe_node(node) + ".");
      return {};
    }
    return scalar_text(node);
  }

  void read_parameter(const Member& m) {
    ParameterDefinition p;
    p.name = m.key;
    p.mark = m.key_mark;
    p.definition = &m.value;
    if (!m.value.is_map()) {
      add(m.value.mark, "Parameter " + m.key + " must be a mapping, not " + describe_node(m.value) + ".");
    } else if (const Node* type = m.value.find("Type")) {
      p.type = text_of(*type, "Type of parameter " + m.key);
    } else {
      add(m.key_mark, "Parameter " + m.key + " needs a Type.");
    }
    const Node* no_echo = m.value.find("NoEcho");
    p.no_echo = no_echo != nullptr && scalar_text(*no_echo) == "true";
    out_.parameters.push_back(std::move(p));
  }

  void read_resource(const Member& m) {
    ResourceDefinition r;
    r.name = m.key;
    r.mark = r.type_mark = m.key_mark;
    if (!m.value.is_map()) {
      add(m.value.mark, "Resource " + m.key + " must be a mapping, not " + describe_node(m.value) + ".");
    } else if (m.value.find("Type") == nullptr) {
      add(m.key_mark, "Resource " + m.key + " needs a Type.");
    }
    for (const Member& attribute : m.value.members) read_attribute(attribute, r);
    out_.resources.push_back(std::move(r));
  }

  void read_attribute(const Member& a, ResourceDefinition& r) {
    static const std::vector<std::string> kAttributes = {
        "Type", "Properties", "DependsOn", "Condition", "DeletionPolicy", "UpdateReplacePolicy", "Metadata"};
    const std::string of = " of " + r.name;
    if (a.key == "Type") {
      r.type = text_of(a.value, "Type" + of);
      r.type_mark = a.value.mark;
    } else if (a.key == "Properties") {
      if (a.value.is_map()) r.properties = &a.value;
      else if (a.value.kind != Node::Kind::Null)
        add(a.value.mark, "Properties" + of + " must be a mapping, not " + describe_node(a.value) + ".");
    } else if (a.key == "DependsOn") {
      read_depends_on(a.value, r);
    } else if (a.key == "Condition") {
      text_of(a.value, "Condition" + of);
      r.condition = a.value.text;  // a name stays as written, be it "On"
      r.condition_mark = a.value.mark;
    } else if (a.key == "DeletionPolicy") {
      r.deletion_policy = policy(a.value, a.key + of, true);
    } else if (a.key == "UpdateReplacePolicy") {
      r.update_replace_policy = policy(a.value, a.key + of, false);
    } else if (a.key == "CreationPolicy" || a.key == "UpdatePolicy") {
      add(a.key_mark, "The resource attribute " + a.key + " is not supported by Weir.");
    } else if (a.key != "Metadata") {
      add(a.key_mark, "Encountered unsupported property " + a.key + " in resource " + r.name + "." +
                          did_you_mean(a.key, kAttributes));
    }
  }

  std::string policy(const Node& node, const std::string& what, bool on_delete) {
    std::string value = text_of(node, what);
    bool known = value == "Delete" || value == "Retain" || (on_delete && value == "RetainExceptOnCreate");
    if (!known && node.is_scalar()) {
      add(node.mark, what + " must be Delete or Retain, not " + describe_node(node) + ".");
    }
    return known ? value : "Delete";
  }

  void read_depends_on(const Node& node, ResourceDefinition& r) {
    if (node.is_scalar()) {
      r.depends_on.emplace_back(node.text, node.mark);
    } else if (node.is_list()) {
      for (const Node& item : node.items) {
        if (item.is_scalar()) r.depends_on.emplace_back(item.text, item.mark);
        else
          add(item.mark, "DependsOn of " + r.name + " must name resources, not " + describe_node(item) + ".");
      }
    } else {
      add(node.mark,
          "DependsOn of " + r.name + " must be a name or a list of names, not " + describe_node(node) + ".");
    }
  }

  void read_output(const Member& m) {
    static const std::vector<std::string> kMembers = {"Value", "Description", "Export", "Condition"};
    OutputDefinition o;
    o.name = m.key;
    o.mark = m.key_mark;
    if (!m.value.is_map()) {
      add(m.value.mark, "Output " + m.key + " must be a mapping, not " + describe_node(m.value) + ".");
      return;
    }
    for (const Member& a : m.value.members) {
      if (a.key == "Value") {
        o.value = &a.value;
      } else if (a.key == "Description") {
        o.description = text_of(a.value, "Description of output " + m.key);
      } else if (a.key == "Condition") {
        text_of(a.value, "Condition of output " + m.key);
        o.condition = a.value.text;
        o.condition_mark = a.value.mark;
      } else if (a.key == "Export") {
        o.export_name = a.value.find("Name");
        if (o.export_name == nullptr) add(a.value.mark, "Export of output " + m.key + " needs a Name.");
      } else {
        add(a.key_mark, "Output " + m.key + " has no member " + a.key + "." + did_you_mean(a.key, kMembers));
      }
    }
    if (o.value == nullptr) add(m.key_mark, "Output " + m.key + " needs a Value.");
    out_.outputs.push_back(std::move(o));
  }

  Template& out_;
  Diagnostics& diagnostics_;
};

}  // namespace

const ParameterDefinition* Template::parameter(std::string_view name) const {
  auto found =
      std::find_if(parameters.begin(), parameters.end(), [name](const auto& p) { return p.name == name; });
  return found == parameters.end() ? nullptr : &*found;
}

const ResourceDefinition* Template::resource(std::string_view name) const {
  auto found =
      std::find_if(resources.begin(), resources.end(), [name](const auto& r) { return r.name == name; });
  return found == resources.end() ? nullptr : &*found;
}

bool read_template(std::string_view text, Template& out, Diagnostics& diagnostics) {
  std::optional<Node> root = parse_text(text, diagnostics);
  if (!root) return false;
  out.root = std::move(*root);
  TemplateReader(out, diagnostics).read();
  return true;
}

}  // namespace weir::cfn
