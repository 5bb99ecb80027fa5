#include "cfn/validate.h"

#include <algorithm>
#include <functional>
#include <set>

#include <nlohmann/json.hpp>

#include "cfn/provider.h"
#include "cfn/unknown.h"

namespace weir::cfn {

namespace {

void check_conditions(const Template& tpl, Evaluator& evaluator) {
  if (tpl.conditions == nullptr) return;
  for (const Member& m : tpl.conditions->members) evaluator.condition(m.key, m.key_mark);
}

void check_depends_on(const Template& tpl, const ResourceDefinition& r, Diagnostics& diagnostics) {
  std::vector<std::string> names;
  for (const auto& other : tpl.resources) names.push_back(other.name);
  for (const auto& [name, mark] : r.depends_on) {
    if (tpl.resource(name) == nullptr) {
      diagnostics.add(mark, "Template format error: Unresolved resource dependencies [" + name +
                                "] in the Resources block of the template." + did_you_mean(name, names));
    } else if (name == r.name) {
      diagnostics.add(mark, "Circular dependency between resources: [" + name + "]");
    }
  }
}

void check_resource(const Template& tpl, const ResourceDefinition& r, Evaluator& evaluator,
                    Diagnostics& diagnostics) {
  check_depends_on(tpl, r, diagnostics);
  evaluator.set_inactive(!evaluator.present(r));
  if (const Provider* provider = find_provider(r.type)) {
    evaluator.properties(r, provider_schema(*provider));
  } else if (!r.type.empty()) {
    diagnostics.add(r.type_mark, "Resource type " + r.type + " is not supported by Weir." +
                                     did_you_mean(r.type, provider_types()));
    if (r.properties != nullptr) evaluator.value(*r.properties);
  }
  evaluator.set_inactive(false);
}

void check_outputs(const Template& tpl, Evaluator& evaluator, Diagnostics& diagnostics) {
  for (const OutputDefinition& o : tpl.outputs) {
    bool active = o.condition.empty() || evaluator.condition(o.condition, o.condition_mark).value_or(true);
    evaluator.set_inactive(!active);
    if (o.value != nullptr) {
      nlohmann::json v = evaluator.value(*o.value);
      if (is_list_like(v) || v.is_object() || v.is_null()) {
        diagnostics.add(o.value->mark, "Template format error: Output " + o.name +
                                           " is malformed: its value must be a string.");
      }
    }
    if (o.export_name != nullptr) evaluator.value(*o.export_name);
    evaluator.set_inactive(false);
  }
}

}  // namespace

Dependencies dependencies(const Template& tpl, Evaluator& evaluator) {
  Dependencies out;
  for (const ResourceDefinition& r : tpl.resources) {
    if (!evaluator.present(r)) continue;
    std::map<std::string, Mark> names;
    if (r.properties != nullptr) evaluator.references(*r.properties, names);
    for (const auto& [name, mark] : r.depends_on) names.emplace(name, mark);
    std::vector<std::string>& list = out[r.name];
    for (const auto& [name, mark] : names) {
      const ResourceDefinition* other = tpl.resource(name);
      if (other != nullptr && evaluator.present(*other)) list.push_back(name);
    }
  }
  return out;
}

// Strips what nothing on a cycle needs, from both ends, until only cycles and paths between them remain.
std::vector<std::string> find_cycle(const Dependencies& graph) {
  std::map<std::string, std::set<std::string>> left;
  for (const auto& [name, needs] : graph) left[name].insert(needs.begin(), needs.end());
  for (bool shrunk = true; shrunk;) {
    shrunk = false;
    std::set<std::string> needed;
    for (auto it = left.begin(); it != left.end();) {
      std::erase_if(it->second, [&](const std::string& n) { return !left.contains(n); });
      if (it->second.empty()) {
        it = left.erase(it);
        shrunk = true;
      } else {
        needed.insert(it->second.begin(), it->second.end());
        ++it;
      }
    }
    shrunk =
        std::erase_if(left, [&](const auto& entry) { return !needed.contains(entry.first); }) > 0 || shrunk;
  }
  std::vector<std::string> out;
  for (const auto& [name, needs] : left) out.push_back(name);
  return out;
}

std::expected<ValidatedTemplate, std::vector<Diagnostic>> validate(std::string_view text,
                                                                   const ParameterValues& given,
                                                                   const ValidateOptions& options) {
  Diagnostics diagnostics;
  auto tpl = std::make_shared<Template>();
  if (!read_template(text, *tpl, diagnostics)) return std::unexpected(diagnostics.sorted());
  check_parameter_definitions(*tpl, diagnostics);
  ParameterValues values = resolve_parameters(*tpl, given, options.require_parameters, diagnostics);
  Evaluator evaluator(*tpl, options.pseudo, values, nullptr, diagnostics);
  check_conditions(*tpl, evaluator);
  for (const ResourceDefinition& r : tpl->resources) check_resource(*tpl, r, evaluator, diagnostics);
  check_outputs(*tpl, evaluator, diagnostics);
  std::vector<std::string> cycle = find_cycle(dependencies(*tpl, evaluator));
  if (!cycle.empty()) {
    std::string names;
    for (const std::string& name : cycle) names += (names.empty() ? "" : ", ") + name;
    diagnostics.add(tpl->resource(cycle[0])->mark, "Circular dependency between resources: [" + names + "]");
  }
  if (!diagnostics.empty()) return std::unexpected(diagnostics.sorted());
  return ValidatedTemplate{std::move(tpl), std::move(values)};
}

}  // namespace weir::cfn
