// Named network namespaces under /run/netns, compatible with iproute2: `ip netns` lists them.
//
// Work inside a namespace is done on a short-lived thread of its own, which joins the namespace and
// ends there: the caller's thread never changes its namespace, so nothing has to be restored.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace weir::runtime {

inline constexpr const char* kNetnsFolder = "/run/netns";

std::string netns_path(const std::string& name);
// True when the name exists and is a live namespace (not the empty file an interrupted creation leaves).
bool netns_exists(const std::string& name);
// Idempotent; a half-made name is made anew. Needs CAP_SYS_ADMIN.
Result<void> create_netns(const std::string& name);
// Idempotent. Processes inside keep the namespace alive, but nobody else reaches it by name.
Result<void> remove_netns(const std::string& name);
// Names that start with `prefix`, live or half-made, sorted.
Result<std::vector<std::string>> list_netns(const std::string& prefix);
// Runs `work` inside the namespace and returns what it returned. `work` must not keep references to
// thread-local state.
Result<void> in_netns(const std::string& path, const std::function<Result<void>()>& work);

}  // namespace weir::runtime
