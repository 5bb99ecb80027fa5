// Reading and writing documents of the store as JSON. Control thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace weir::control {

using Json = nlohmann::json;

namespace kind {
inline constexpr const char* kVpc = "ec2.vpc";
inline constexpr const char* kSubnet = "ec2.subnet";
inline constexpr const char* kSecurityGroup = "ec2.security-group";
inline constexpr const char* kNetworkInterface = "ec2.network-interface";
inline constexpr const char* kCertificate = "acm.certificate";
inline constexpr const char* kLoadBalancer = "elbv2.load-balancer";
inline constexpr const char* kListener = "elbv2.listener";
inline constexpr const char* kRule = "elbv2.rule";
inline constexpr const char* kTargetGroup = "elbv2.target-group";
inline constexpr const char* kTarget = "elbv2.target";
inline constexpr const char* kTaskDefinition = "ecs.task-definition";
inline constexpr const char* kService = "ecs.service";
inline constexpr const char* kTask = "ecs.task";
inline constexpr const char* kLogGroup = "logs.log-group";
inline constexpr const char* kLogStream = "logs.log-stream";
}  // namespace kind

// A document that is not a JSON object counts as absent (and is logged).
std::optional<Json> load(store::Store& store, std::string_view kind, std::string_view id);
// With each document's id in front, ordered by id.
std::vector<std::pair<std::string, Json>> load_all(store::Store& store, std::string_view kind);
std::vector<std::pair<std::string, Json>> load_where(store::Store& store, std::string_view kind,
                                                     std::string_view field, std::string_view value);
Result<void> save(store::Store& store, std::string_view kind, std::string_view id, const Json& document);

// Members, with a fallback when absent, null or of another type. Numbers may be written as text.
std::string text(const Json& object, std::string_view key, std::string_view fallback = "");
int64_t integer(const Json& object, std::string_view key, int64_t fallback = 0);
bool flag(const Json& object, std::string_view key, bool fallback = false);
bool has(const Json& object, std::string_view key);
// The member, or a null value.
const Json& member(const Json& object, std::string_view key);
const Json& weir_of(const Json& document);
// The member as a list; an empty one when absent.
const Json& list(const Json& object, std::string_view key);
std::vector<std::string> texts(const Json& object, std::string_view key);

// Times: seconds with milliseconds in documents, milliseconds in code.
double to_seconds(int64_t ms);
int64_t time_ms(const Json& object, std::string_view key, int64_t fallback = 0);

// "GROUPARN|IP|PORT", the id of an elbv2.target document.
std::string target_id(const std::string& group_arn, const std::string& address, int64_t port);

}  // namespace weir::control
