#include "cfn/provider.h"

#include <map>

#include "cfn/evaluator.h"

namespace weir::cfn {

namespace {

struct Registry {
  std::map<std::string, const Provider*, std::less<>> providers;
  std::map<std::string, Schema, std::less<>> schemas;
};

const Registry& registry() {
  static const Registry all = [] {
    Registry r;
    for (const auto* table : {&ec2_providers(), &security_group_providers(), &elbv2_providers(),
                              &listener_providers(), &ecs_providers(), &other_providers()}) {
      for (const Provider& p : *table) {
        r.providers.emplace(p.type, &p);
        r.schemas.emplace(p.type, parse_schema(p.properties));
      }
    }
    return r;
  }();
  return all;
}

// Calls f(name, is_list) for each attribute.
template <class F>
void each_attribute(std::string_view spec, F f) {
  for (size_t start = 0; start < spec.size();) {
    size_t end = std::min(spec.find(' ', start), spec.size());
    std::string_view name = spec.substr(start, end - start);
    bool list = name.ends_with("[]");
    if (!name.empty()) f(list ? name.substr(0, name.size() - 2) : name, list);
    start = end + 1;
  }
}

}  // namespace

const Provider* find_provider(std::string_view type) {
  auto found = registry().providers.find(type);
  return found == registry().providers.end() ? nullptr : found->second;
}

const Schema& provider_schema(const Provider& provider) {
  return registry().schemas.find(provider.type)->second;
}

std::vector<std::string> provider_types() {
  std::vector<std::string> out;
  for (const auto& [type, provider] : registry().providers) out.push_back(type);
  return out;
}

bool known_type(const std::string& type) {
  return find_provider(type) != nullptr;
}

std::vector<std::string> type_attributes(const std::string& type) {
  std::vector<std::string> out;
  if (const Provider* p = find_provider(type)) {
    each_attribute(p->attributes, [&](std::string_view name, bool) { out.emplace_back(name); });
  }
  return out;
}

bool type_has_attribute(const std::string& type, std::string_view name, bool& is_list) {
  const Provider* p = find_provider(type);
  bool found = false;
  if (p == nullptr) return false;
  each_attribute(p->attributes, [&](std::string_view attribute, bool list) {
    if (attribute != name) return;
    found = true;
    is_list = list;
  });
  return found;
}

}  // namespace weir::cfn
