// The Elastic Container Service operations (API version 2014-11-13), one file per resource. Member names
// are ECS's, in camel case.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "api/support.h"

namespace weir::api {

void add_cluster_operations(Dispatcher& dispatcher, Context& context);
void add_task_definition_operations(Dispatcher& dispatcher, Context& context);
void add_service_operations(Dispatcher& dispatcher, Context& context);
void add_task_operations(Dispatcher& dispatcher, Context& context);
void add_ecs_tag_operations(Dispatcher& dispatcher, Context& context);

inline constexpr const char* kClusterKind = "ecs.cluster";
inline constexpr const char* kTaskDefinitionKind = "ecs.task-definition";
inline constexpr const char* kServiceKind = "ecs.service";
inline constexpr const char* kTaskKind = "ecs.task";

// The ARN of the cluster that `input.cluster` names (name or ARN; absent: "default").
std::string cluster_arn(const Context& context, const Json& input);
// The same, and the cluster must be ACTIVE: ClusterNotFoundException "Cluster not found."
Json load_cluster(Context& context, const Json& input);
// "family", "family:revision" or an ARN; without revision the newest ACTIVE one. Null: not found.
Json find_task_definition(Context& context, const std::string& name);
// Checks an input of RegisterTaskDefinition and answers it with defaults and normalised values.
Json checked_task_definition(const Json& input);
// Reads an ECS tag list ([{key,value}]).
Json ecs_tags_of(const Json& input);
// Whether `include` of an input names `what`.
bool includes(const Json& input, const char* what);
// The last part of a name or ARN.
std::string short_name(const std::string& name_or_arn);

// Whether the service's loadBalancers, network and deployment settings are consistent with its task definition
// and with what exists.
void check_service(Context& context, const Json& service, const Json& task_definition);

}  // namespace weir::api
