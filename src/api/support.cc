#include "api/support.h"

#include <charconv>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace weir::api {
namespace {

constexpr size_t kTagsMax = 50;
constexpr size_t kTagKeyMax = 128;
constexpr size_t kTagValueMax = 256;

void must(Result<void> result) {
  if (!result) raise("InternalFailure", "The state could not be written: " + result.error().message, 500);
}

Json parse(const store::Document& document) {
  Json parsed = Json::parse(document.body, nullptr, false);
  if (!parsed.is_object()) raise("InternalFailure", "The document " + document.id + " is damaged.", 500);
  return parsed;
}

[[noreturn]] void raise_type(std::string_view key, std::string_view wanted) {
  raise("ValidationError", fmt::format("Value of '{}' must be {}", key, wanted));
}

}  // namespace

void add(Dispatcher& dispatcher, Context& context, const char* service,
         const std::vector<NamedOperation>& operations) {
  for (const auto& named : operations) {
    dispatcher.add(service, named.name, [&context, operation = named.operation](const Json& input) {
      if (!input.is_object()) raise("SerializationException", "The input must be an object.");
      return operation(context, input);
    });
  }
}

void raise(std::string code, std::string message, int http_status) {
  throw ApiError{std::move(code), std::move(message), http_status};
}

Json load(Context& context, std::string_view kind, std::string_view id, const ApiError& missing) {
  auto document = context.store.get(kind, id);
  if (!document) throw missing;
  return parse(*document);
}

Json find(Context& context, std::string_view kind, std::string_view id) {
  auto document = context.store.get(kind, id);
  return document ? parse(*document) : Json();
}

std::vector<Json> list(Context& context, std::string_view kind) {
  std::vector<Json> all;
  for (const auto& document : context.store.list(kind)) all.push_back(parse(document));
  return all;
}

std::vector<Json> list_where(Context& context, std::string_view kind, std::string_view field,
                             std::string_view value) {
  std::vector<Json> all;
  for (const auto& document : context.store.list_where(kind, field, value)) all.push_back(parse(document));
  return all;
}

void put(Context& context, std::string_view kind, std::string_view id, const Json& document) {
  must(context.store.put(kind, id, document.dump(-1, ' ', false, Json::error_handler_t::replace)));
}

void erase(Context& context, std::string_view kind, std::string_view id) {
  must(context.store.erase(kind, id));
}

void transaction(Context& context, const std::function<void()>& body) {
  must(context.store.transaction([&body]() -> Result<void> {
    body();
    return {};
  }));
}

bool has(const Json& input, std::string_view key) {
  auto found = input.find(key);
  return found != input.end() && !found->is_null();
}

std::optional<std::string> optional_text(const Json& input, std::string_view key) {
  auto found = input.find(key);
  if (found == input.end() || found->is_null()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number() || found->is_boolean()) return found->dump();
  raise_type(key, "a string");
}

std::string text(const Json& input, std::string_view key, std::string_view fallback) {
  auto value = optional_text(input, key);
  return value ? *value : std::string(fallback);
}

std::optional<int64_t> optional_integer(const Json& input, std::string_view key) {
  auto found = input.find(key);
  if (found == input.end() || found->is_null()) return std::nullopt;
  if (found->is_number_integer()) return found->get<int64_t>();
  if (found->is_string()) {
    const auto& digits = found->get_ref<const std::string&>();
    int64_t value = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc() && end == digits.data() + digits.size()) return value;
  }
  raise_type(key, "an integer");
}

int64_t integer(const Json& input, std::string_view key, int64_t fallback) {
  return optional_integer(input, key).value_or(fallback);
}

bool boolean(const Json& input, std::string_view key, bool fallback) {
  auto found = input.find(key);
  if (found == input.end() || found->is_null()) return fallback;
  if (found->is_boolean()) return found->get<bool>();
  if (*found == "true") return true;
  if (*found == "false") return false;
  raise_type(key, "a boolean");
}

Json array(const Json& input, std::string_view key) {
  auto found = input.find(key);
  if (found == input.end() || found->is_null()) return Json::array();
  if (!found->is_array()) raise_type(key, "a list");
  return *found;
}

std::string required(const Json& input, std::string_view key) {
  auto value = optional_text(input, key);
  if (!value || value->empty()) {
    raise("MissingParameter", fmt::format("The request must contain the parameter {}", key));
  }
  return *value;
}

Json public_view(Json document) {
  document.erase("weir");
  return document;
}

std::string weir_text(const Json& document, std::string_view key) {
  auto weir = document.find("weir");
  if (weir == document.end() || !weir->is_object()) return "";
  auto found = weir->find(key);
  return found != weir->end() && found->is_string() ? found->get<std::string>() : "";
}

bool is_deleting(const Json& document) {
  auto weir = document.find("weir");
  return weir != document.end() && weir->is_object() && weir->value("deleting", false);
}

std::string new_id(Context& context, std::string_view prefix) {
  return fmt::format("{}-{}", prefix, context.random.hex(17));
}

std::string arn(const Context& context, std::string_view service, std::string_view resource) {
  return fmt::format("arn:aws:{}:{}:{}:{}", service, context.region, context.account, resource);
}

double now_seconds(const Context& context) { return static_cast<double>(context.clock.unix_ms()) / 1000.0; }

Json tags_of(const Json& input) {
  Json given = array(input, "Tags");
  for (const auto& specification : array(input, "TagSpecifications")) {
    for (const auto& tag : array(specification, "Tags")) given.push_back(tag);
  }
  Json tags = Json::array();
  for (const auto& tag : given) {
    std::string key = text(tag, "Key");
    std::string value = text(tag, "Value");
    if (key.empty() || key.size() > kTagKeyMax || value.size() > kTagValueMax) {
      raise("ValidationError", fmt::format("Tag '{}' must have a key of 1 to 128 and a value of at most 256 "
                                           "characters", key));
    }
    for (const auto& other : tags) {
      if (other["Key"] == key) raise("DuplicateTagKeys", "Tag key was specified more than once: " + key);
    }
    tags.push_back({{"Key", key}, {"Value", value}});
  }
  if (tags.size() > kTagsMax) raise("TooManyTags", "The quota for the number of tags has been reached");
  return tags;
}

void merge_tags(Json& stored, const Json& added) {
  if (!stored.is_array()) stored = Json::array();
  for (const auto& tag : added) {
    bool replaced = false;
    for (auto& other : stored) {
      if (other["Key"] != tag["Key"]) continue;
      other["Value"] = tag["Value"];
      replaced = true;
    }
    if (!replaced) stored.push_back(tag);
  }
  if (stored.size() > kTagsMax) raise("TooManyTags", "The quota for the number of tags has been reached");
}

void remove_tags(Json& stored, const Json& keys) {
  if (!stored.is_array()) return;
  Json kept = Json::array();
  for (const auto& tag : stored) {
    bool removed = false;
    for (const auto& key : keys)
      removed = removed || (key.is_string() ? key : Json(text(key, "Key"))) == tag["Key"];
    if (!removed) kept.push_back(tag);
  }
  stored = std::move(kept);
}

}  // namespace weir::api
