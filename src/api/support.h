// What the handlers share: documents in and out of the store, members of an input, identifiers, tags.
//
// Inputs are JSON objects with AWS's member names. A number may arrive as text and a boolean as "true"
// (CloudFormation templates and the Query protocol carry text): the readers accept both.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "api/context.h"
#include "api/dispatcher.h"

namespace weir::api {

using Json = nlohmann::json;

// A handler as a plain function; add() binds it to the context.
using Operation = Json (*)(Context& context, const Json& input);
struct NamedOperation {
  const char* name;
  Operation operation;
};
void add(Dispatcher& dispatcher, Context& context, const char* service,
         const std::vector<NamedOperation>& operations);

[[noreturn]] void raise(std::string code, std::string message, int http_status = 400);

// The document, or `missing` is thrown.
Json load(Context& context, std::string_view kind, std::string_view id, const ApiError& missing);
// The document, or null.
Json find(Context& context, std::string_view kind, std::string_view id);
std::vector<Json> list(Context& context, std::string_view kind);
std::vector<Json> list_where(Context& context, std::string_view kind, std::string_view field,
                             std::string_view value);
// A write that fails is InternalFailure (500).
void put(Context& context, std::string_view kind, std::string_view id, const Json& document);
void erase(Context& context, std::string_view kind, std::string_view id);
// One store transaction; an ApiError thrown inside rolls it back and goes on.
void transaction(Context& context, const std::function<void()>& body);

// Members of an input. Absent or null: the fallback. Of another type: ValidationError.
std::string text(const Json& input, std::string_view key, std::string_view fallback = "");
std::optional<std::string> optional_text(const Json& input, std::string_view key);
int64_t integer(const Json& input, std::string_view key, int64_t fallback);
std::optional<int64_t> optional_integer(const Json& input, std::string_view key);
bool boolean(const Json& input, std::string_view key, bool fallback);
// An array (absent: empty), or ValidationError.
Json array(const Json& input, std::string_view key);
bool has(const Json& input, std::string_view key);
// Absent or empty: MissingParameter, as EC2 says it.
std::string required(const Json& input, std::string_view key);

// The document without what AWS does not show.
Json public_view(Json document);
// document["weir"][key] as text, "" when absent.
std::string weir_text(const Json& document, std::string_view key);
bool is_deleting(const Json& document);

// "vpc-" + 17 hexadecimal digits.
std::string new_id(Context& context, std::string_view prefix);
// "arn:aws:SERVICE:REGION:ACCOUNT:" + resource.
std::string arn(const Context& context, std::string_view service, std::string_view resource);
// Seconds since the epoch with milliseconds.
double now_seconds(const Context& context);

// [{Key,Value}] of `Tags` or of `TagSpecifications[].Tags`; limits and duplicates are checked.
Json tags_of(const Json& input);
// Sets and removes tags of a stored list.
void merge_tags(Json& stored, const Json& added);
void remove_tags(Json& stored, const Json& keys);

}  // namespace weir::api
