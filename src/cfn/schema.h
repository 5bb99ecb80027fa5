// What a property may hold. Schemas are written in a small notation beside each resource type:
//
//   "VpcId*^: string; Port: integer(1..65535); Scheme: string(internal|internet-facing);
//    Tags: [Tag]; Matcher: {GrpcCode: string; HttpCode: string}; Options: map; Policy: json; -KmsKeyId"
//
// `*` required, `^` create-only (a change replaces the resource), `map` text to text with keys of the user's,
// `json` anything, `Tag` = {Key*: string; Value*: string}, `-Name` AWS has it and Weir does not.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace weir::cfn {

struct SchemaProperty;

struct Schema {
  enum class Type { String, Integer, Number, Boolean, Json, Map, List, Object };
  Type type = Type::Json;
  std::vector<std::string> allowed;  // String: the values there are; empty = any
  int64_t min = std::numeric_limits<int64_t>::min();
  int64_t max = std::numeric_limits<int64_t>::max();
  std::vector<Schema> item;  // List: exactly one
  std::vector<SchemaProperty> properties;

  const SchemaProperty* find(std::string_view name) const;
};

struct SchemaProperty {
  std::string name;
  bool required = false;
  bool create_only = false;
  bool supported = true;
  Schema schema;
};

// The object schema of a list of properties. The notation is ours, so a mistake in it aborts.
Schema parse_schema(std::string_view properties);

// "a list of strings", "an integer from 1 to 65535": for messages.
std::string describe_schema(const Schema& schema);

}  // namespace weir::cfn
