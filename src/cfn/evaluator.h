// Intrinsic functions: from the tree of a template to values, with every mistake at its place.
//
// Without ResourceValues (validation) what depends on resources is *unknown*: it satisfies every schema
// of its shape. Both branches of an Fn::If are then checked. Owner: the caller; used for one operation.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "cfn/parameters.h"
#include "cfn/schema.h"
#include "cfn/template.h"

namespace weir::cfn {

struct Pseudo {
  std::string region = "us-east-1";
  std::string account = "000000000000";
  std::string stack_id;    // "" = not yet known
  std::string stack_name;  // "" = not yet known
};

// What a resource's Ref and GetAtt yield. False when the resource does not exist (yet).
class ResourceValues {
 public:
  virtual ~ResourceValues() = default;
  virtual bool ref(std::string_view logical_id, nlohmann::json& out) const = 0;
  virtual bool attribute(std::string_view logical_id, std::string_view name, nlohmann::json& out) const = 0;
};

class Evaluator {
 public:
  Evaluator(const Template& tpl, const Pseudo& pseudo, const ParameterValues& parameters,
            const ResourceValues* resources, Diagnostics& diagnostics);

  // The value of any node; text stays as written, plain booleans become "true"/"false".
  nlohmann::json value(const Node& node);
  // The value of a property, coerced to its schema (numbers written as text become numbers …). `path` is
  // for messages: "TaskDef.ContainerDefinitions".
  nlohmann::json property(const Node& node, const Schema& schema, const std::string& path);
  // All properties of a resource of a type with this schema: an object.
  nlohmann::json properties(const ResourceDefinition& resource, const Schema& schema);
  // nullopt = it depends on a parameter without a value. Unknown names are diagnosed.
  std::optional<bool> condition(std::string_view name, Mark where);
  bool present(const ResourceDefinition& resource);

  // True while what is evaluated is not in force (a false condition's resource, the other branch of an If):
  // references to absent resources are then no mistake.
  void set_inactive(bool inactive) { inactive_ = inactive; }

  // Names of the resources that `node` refers to in force, with their places.
  void references(const Node& node, std::map<std::string, Mark>& out);

 private:
  nlohmann::json call(std::string_view name, const Node& argument, Mark where);
  nlohmann::json ref(const Node& argument, Mark where);
  nlohmann::json ref_name(std::string_view name, Mark where);
  nlohmann::json get_att(const Node& argument, Mark where);
  nlohmann::json attribute_of(const std::string& resource, const std::string& name, Mark where);
  nlohmann::json sub(const Node& argument, Mark where);
  nlohmann::json sub_variable(const std::string& name, const nlohmann::json& variables, Mark where);
  nlohmann::json join(const Node& argument, Mark where);
  nlohmann::json select(const Node& argument, Mark where);
  nlohmann::json split(const Node& argument, Mark where);
  nlohmann::json find_in_map(const Node& argument, Mark where);
  nlohmann::json cidr(const Node& argument, Mark where);
  nlohmann::json get_azs(const Node& argument, Mark where);
  // The branch of an Fn::If in force; null when nothing is certain. `other` receives the one to check too.
  const Node* chosen(const Node& argument, const Node*& other);
  std::optional<bool> condition_of(const Node& node);
  std::optional<bool> condition_call(const Member& call);
  std::optional<bool> equals(const Node& argument);
  nlohmann::json coerce(const nlohmann::json& v, const Schema& schema, Mark where, const std::string& path);
  nlohmann::json coerce_scalar(const nlohmann::json& v, const Schema& schema, Mark where,
                               const std::string& path);
  nlohmann::json object(const Node& node, const Schema& schema, const std::string& path);
  nlohmann::json free_form(const Node& node);
  std::optional<std::vector<nlohmann::json>> arguments(const Node& node, size_t min, size_t max,
                                                       std::string_view function);
  std::optional<std::string> text(const nlohmann::json& v, Mark where, std::string_view what);
  nlohmann::json bad(Mark where, std::string message);
  std::vector<std::string> names() const;

  const Template& tpl_;
  const Pseudo& pseudo_;
  const ParameterValues& parameters_;
  const ResourceValues* resources_;
  Diagnostics& diagnostics_;
  std::map<std::string, std::optional<bool>, std::less<>> conditions_;
  std::set<std::string, std::less<>> conditions_open_;
  bool in_condition_ = false;
  bool inactive_ = false;
};

// True when `node` is a mapping with the single key of a function; `call` receives it.
bool is_function(const Node& node, const Member*& call);

// Attributes that a resource type offers to Fn::GetAtt, and whether there is such a type.
bool type_has_attribute(const std::string& type, std::string_view name, bool& is_list);
std::vector<std::string> type_attributes(const std::string& type);
bool known_type(const std::string& type);

}  // namespace weir::cfn
