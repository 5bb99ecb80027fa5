#include "control/documents.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/log.h"

namespace weir::control {

namespace {
const Json kNull = nullptr;
const Json kEmptyList = Json::array();

std::optional<Json> parse(const store::Document& document) {
  Json parsed = Json::parse(document.body, nullptr, false);
  if (parsed.is_object()) return parsed;
  log_error("store document is not an object kind=" + document.kind + " id=" + document.id);
  return std::nullopt;
}

std::vector<std::pair<std::string, Json>> parse_all(const std::vector<store::Document>& documents) {
  std::vector<std::pair<std::string, Json>> out;
  out.reserve(documents.size());
  for (const auto& document : documents) {
    if (auto parsed = parse(document)) out.emplace_back(document.id, std::move(*parsed));
  }
  return out;
}
}  // namespace

std::optional<Json> load(store::Store& store, std::string_view kind, std::string_view id) {
  auto document = store.get(kind, id);
  if (!document) return std::nullopt;
  return parse(*document);
}

std::vector<std::pair<std::string, Json>> load_all(store::Store& store, std::string_view kind) {
  return parse_all(store.list(kind));
}

std::vector<std::pair<std::string, Json>> load_where(store::Store& store, std::string_view kind,
                                                     std::string_view field, std::string_view value) {
  return parse_all(store.list_where(kind, field, value));
}

Result<void> save(store::Store& store, std::string_view kind, std::string_view id, const Json& document) {
  // Text that came from a program (an error message) may not be UTF-8; dump() must not throw for it.
  return store.put(kind, id, document.dump(-1, ' ', false, Json::error_handler_t::replace));
}

const Json& member(const Json& object, std::string_view key) {
  if (!object.is_object()) return kNull;
  auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

const Json& weir_of(const Json& document) { return member(document, "weir"); }

const Json& list(const Json& object, std::string_view key) {
  const Json& value = member(object, key);
  return value.is_array() ? value : kEmptyList;
}

std::string text(const Json& object, std::string_view key, std::string_view fallback) {
  const Json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string(fallback);
}

int64_t integer(const Json& object, std::string_view key, int64_t fallback) {
  const Json& value = member(object, key);
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return static_cast<int64_t>(value.get<double>());
  if (!value.is_string()) return fallback;
  const auto& digits = value.get_ref<const std::string&>();
  int64_t number = 0;
  auto end = digits.data() + digits.size();
  auto parsed = std::from_chars(digits.data(), end, number);
  return parsed.ec == std::errc() && parsed.ptr == end ? number : fallback;
}

bool flag(const Json& object, std::string_view key, bool fallback) {
  const Json& value = member(object, key);
  if (value.is_boolean()) return value.get<bool>();
  if (!value.is_string()) return fallback;
  return value == "true" ? true : value == "false" ? false : fallback;
}

bool has(const Json& object, std::string_view key) { return !member(object, key).is_null(); }

std::vector<std::string> texts(const Json& object, std::string_view key) {
  std::vector<std::string> out;
  for (const Json& value : list(object, key)) {
    if (value.is_string()) out.push_back(value.get<std::string>());
  }
  return out;
}

double to_seconds(int64_t ms) { return static_cast<double>(ms) / 1000.0; }

int64_t time_ms(const Json& object, std::string_view key, int64_t fallback) {
  const Json& value = member(object, key);
  return value.is_number() ? std::llround(value.get<double>() * 1000.0) : fallback;
}

std::string target_id(const std::string& group_arn, const std::string& address, int64_t port) {
  return group_arn + "|" + address + "|" + std::to_string(port);
}

}  // namespace weir::control
