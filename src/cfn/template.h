// A template by sections, checked for shape: what every section, resource and output must look like.
// Whether names, types and values are right is validate.h's concern.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cfn/node.h"

namespace weir::cfn {

struct ParameterDefinition {
  std::string name;
  std::string type = "String";
  const Node* definition = nullptr;
  Mark mark;
  bool no_echo = false;
  bool is_list() const { return type == "CommaDelimitedList" || type.starts_with("List<"); }
};

struct ResourceDefinition {
  std::string name;
  std::string type;
  Mark mark;  // of the logical id
  Mark type_mark;
  const Node* properties = nullptr;  // Map or null
  std::vector<std::pair<std::string, Mark>> depends_on;
  std::string condition;  // "" = none
  Mark condition_mark;
  std::string deletion_policy = "Delete";
  std::string update_replace_policy = "Delete";
};

struct OutputDefinition {
  std::string name;
  Mark mark;
  const Node* value = nullptr;
  const Node* export_name = nullptr;
  std::string description;
  std::string condition;
  Mark condition_mark;
};

// Owns the tree that the definitions point into; neither copied nor moved.
struct Template {
  Node root;
  std::string description;
  std::vector<ParameterDefinition> parameters;
  std::vector<ResourceDefinition> resources;
  std::vector<OutputDefinition> outputs;
  const Node* mappings = nullptr;    // Map or null
  const Node* conditions = nullptr;  // Map or null

  Template() = default;
  Template(const Template&) = delete;
  Template& operator=(const Template&) = delete;

  const ParameterDefinition* parameter(std::string_view name) const;
  const ResourceDefinition* resource(std::string_view name) const;
};

// Fills `out` from the text; everything wrong is added to `diagnostics`. False when there is no tree at all.
bool read_template(std::string_view text, Template& out, Diagnostics& diagnostics);

}  // namespace weir::cfn
