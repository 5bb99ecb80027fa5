// Resource providers: one table entry per resource type. A provider turns properties into calls of the
// same operations that clients use; it keeps no state.
//
// Every function may be called again after a crash: create() is preceded by find() whenever an earlier
// create() may have happened, all others are idempotent. They throw api::ApiError. Thread: the control thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "api/dispatcher.h"
#include "cfn/schema.h"

namespace weir::cfn {

struct ResourceCall {
  const api::Dispatcher& api;
  std::string region;
  std::string account;
  std::string stack_id;
  std::string stack_name;
  std::string logical_id;
  std::string name;         // explicit or generated name of what is created
  std::string physical_id;  // "" before creation
  const nlohmann::json& properties;
  const nlohmann::json& old_properties;       // update(): as applied before; else an empty object
  const nlohmann::json& tags;                 // [{Key,Value}]: stack's, resource's and aws:cloudformation:*
  const std::vector<std::string>& not_these;  // physical ids that find() must not answer with
};

struct Progress {
  enum class Kind { Done, Waiting, Failed } kind = Kind::Done;
  std::string reason;
  static Progress done() { return {}; }
  static Progress waiting() { return {Kind::Waiting, {}}; }
  static Progress failed(std::string why) { return {Kind::Failed, std::move(why)}; }
};

struct Provider {
  std::string_view type;
  std::string_view service;             // as error texts name it: "Ecs"
  std::string_view properties;          // schema notation, schema.h
  std::string_view attributes;          // for Fn::GetAtt: "Arn SecurityGroups[]"
  std::string_view name_property = {};  // an explicit name; such a resource cannot be replaced under its name
  size_t name_max = 255;                // of generated names
  std::string (*create)(const ResourceCall&) = nullptr;     // the physical id
  std::string (*find)(const ResourceCall&) = nullptr;       // what an earlier create() made, "" = nothing
  void (*configure)(const ResourceCall&) = nullptr;         // after create()
  void (*update)(const ResourceCall&) = nullptr;            // old_properties → properties
  Progress (*stabilized)(const ResourceCall&) = nullptr;    // null: at once
  nlohmann::json (*values)(const ResourceCall&) = nullptr;  // GetAtt values; null: none
  void (*remove)(const ResourceCall&) = nullptr;            // null: nothing to delete; not found is no error
  bool (*gone)(const ResourceCall&) = nullptr;              // null: at once
};

// nullptr for an unknown type.
const Provider* find_provider(std::string_view type);
const Schema& provider_schema(const Provider& provider);
std::vector<std::string> provider_types();

// The tables, one per file.
const std::vector<Provider>& ec2_providers();
const std::vector<Provider>& security_group_providers();
const std::vector<Provider>& elbv2_providers();
const std::vector<Provider>& listener_providers();
const std::vector<Provider>& ecs_providers();
const std::vector<Provider>& other_providers();

}  // namespace weir::cfn
