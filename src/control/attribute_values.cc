#include "control/attribute_values.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace weir::control {

namespace {

constexpr size_t kMetadataMax = 16;
constexpr std::array<std::string_view, 17> kCodes = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Calls f with each item of a comma-separated list until it answers false; returns whether none did.
template <class F>
bool each_item(std::string_view text, F&& f) {
  text = trimmed(text);
  while (!text.empty()) {
    size_t comma = text.find(',');
    if (!f(trimmed(text.substr(0, comma)))) return false;
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
    if (trimmed(text).empty()) return false;
  }
  return true;
}

std::optional<uint32_t> code_of(std::string_view text) {
  uint32_t code = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
  if (error != std::errc() || end != text.data() + text.size()) {
    auto found = std::find(kCodes.begin(), kCodes.end(), text);
    code = static_cast<uint32_t>(found - kCodes.begin());
  }
  if (code == 0 || code >= kCodes.size()) return std::nullopt;
  return code;
}

bool is_name(std::string_view text) {
  auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  };
  return !text.empty() && !text.starts_with("grpc-") && std::all_of(text.begin(), text.end(), good);
}

bool is_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

std::optional<uint32_t> parse_grpc_codes(std::string_view text) {
  uint32_t codes = 0;
  bool good = each_item(text, [&](std::string_view item) {
    auto code = code_of(item);
    if (code) codes |= 1u << *code;
    return code.has_value();
  });
  return good ? std::optional(codes) : std::nullopt;
}

std::optional<std::vector<model::NameValue>> parse_metadata(std::string_view text) {
  std::vector<model::NameValue> metadata;
  bool good = each_item(text, [&](std::string_view item) {
    size_t equals = item.find('=');
    if (equals == std::string_view::npos) return false;
    std::string_view name = trimmed(item.substr(0, equals));
    std::string_view value = trimmed(item.substr(equals + 1));
    if (!is_name(name) || !is_value(value) || metadata.size() == kMetadataMax) return false;
    metadata.push_back({std::string(name), std::string(value)});
    return true;
  });
  return good ? std::optional(std::move(metadata)) : std::nullopt;
}

}  // namespace weir::control
