#include "grpc/status.h"

#include <charconv>

namespace weir::grpc {

namespace {
constexpr std::string_view kNames[] = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED",
                                       "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
                                       "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
                                       "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
constexpr std::string_view kDecimals[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8",
                                          "9", "10", "11", "12", "13", "14", "15", "16"};

std::optional<int> parse_int(std::string_view text) {
  int value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

// Protobuf varint; advances `in`.
std::optional<uint64_t> take_varint(std::string_view& in) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    auto byte = static_cast<uint8_t>(in[0]);
    in.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return value;
  }
  return std::nullopt;
}
}  // namespace

std::string_view to_string(Code code) { return kNames[static_cast<int>(code)]; }
std::string_view to_decimal(Code code) { return kDecimals[static_cast<int>(code)]; }

Code code_of_http_status(int status) {
  switch (status) {
    case 400: return Code::Internal;
    case 401: return Code::Unauthenticated;
    case 403: return Code::PermissionDenied;
    case 404: return Code::Unimplemented;
    case 429:
    case 502:
    case 503:
    case 504: return Code::Unavailable;
    default: return Code::Unknown;
  }
}

Code code_of_reset(http::h2::ErrorCode code) {
  switch (code) {
    case http::h2::ErrorCode::RefusedStream: return Code::Unavailable;
    case http::h2::ErrorCode::Cancel: return Code::Cancelled;
    case http::h2::ErrorCode::EnhanceYourCalm: return Code::ResourceExhausted;
    case http::h2::ErrorCode::InadequateSecurity: return Code::PermissionDenied;
    default: return Code::Internal;
  }
}

int parse_status(std::string_view value) {
  if (value.empty() || value.size() > 3) return -1;
  int code = 0;
  for (char c : value) {
    if (c < '0' || c > '9') return -1;
    code = code * 10 + (c - '0');
  }
  return code <= 127 ? code : -1;
}

bool is_grpc_content_type(std::string_view value) {
  constexpr std::string_view kType = "application/grpc";
  // Looked at for every request: sizes known, so no call.
  if (value.size() < kType.size() || __builtin_memcmp(value.data(), kType.data(), kType.size()) != 0) return false;
  return value.size() == kType.size() || value[kType.size()] == '+' || value[kType.size()] == ';';
}

std::optional<Duration> parse_timeout(std::string_view value) {
  if (value.size() < 2 || value.size() > 9 || value[0] < '0' || value[0] > '9') return std::nullopt;
  auto number = parse_int(value.substr(0, value.size() - 1));
  if (!number) return std::nullopt;
  using namespace std::chrono;
  Duration unit;
  switch (value.back()) {
    case 'H': unit = hours(1); break;
    case 'M': unit = minutes(1); break;
    case 'S': unit = seconds(1); break;
    case 'm': unit = milliseconds(1); break;
    case 'u': unit = microseconds(1); break;
    case 'n': unit = nanoseconds(1); break;
    default: return std::nullopt;
  }
  // Eight digits of hours are more nanoseconds than 64 bits hold.
  return *number > Duration::max() / unit ? Duration::max() : *number * unit;
}

std::string encode_message(std::string_view text, size_t bytes_max) {
  std::string out;
  for (char c : text) {
    auto byte = static_cast<uint8_t>(c);
    bool plain = byte >= 0x20 && byte <= 0x7e && c != '%';
    if (out.size() + (plain ? 1 : 3) > bytes_max) break;
    if (plain) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back("0123456789ABCDEF"[byte >> 4]);
      out.push_back("0123456789ABCDEF"[byte & 15]);
    }
  }
  return out;
}

bool matches_codes(std::string_view matcher, int code) {
  while (!matcher.empty()) {
    size_t comma = matcher.find(',');
    std::string_view item = matcher.substr(0, comma);
    matcher = comma == std::string_view::npos ? std::string_view{} : matcher.substr(comma + 1);
    size_t dash = item.find('-');
    auto low = parse_int(item.substr(0, dash));
    auto high = dash == std::string_view::npos ? low : parse_int(item.substr(dash + 1));
    if (low && high && code >= *low && code <= *high) return true;
  }
  return false;
}

std::optional<ServingStatus> parse_health_response(std::string_view message) {
  if (message.size() < 5 || message[0] != 0) return std::nullopt;
  auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(message[i])); };
  uint32_t length = byte(1) << 24 | byte(2) << 16 | byte(3) << 8 | byte(4);
  if (message.size() - 5 < length) return std::nullopt;
  std::string_view body = message.substr(5, length);
  uint64_t status = 0;
  while (!body.empty()) {
    auto tag = take_varint(body);
    if (!tag) return std::nullopt;
    if ((*tag & 7) == 0) {
      auto value = take_varint(body);
      if (!value) return std::nullopt;
      if (*tag >> 3 == 1) status = *value;
    } else if ((*tag & 7) == 2) {
      auto size = take_varint(body);
      if (!size || *size > body.size()) return std::nullopt;
      body.remove_prefix(*size);
    } else {
      return std::nullopt;
    }
  }
  if (status > 3) return ServingStatus::Unknown;
  return static_cast<ServingStatus>(status);
}

std::string health_request(std::string_view service) {
  std::string body;
  if (!service.empty()) {
    body.push_back(0x0a);
    size_t size = service.size();
    for (; size >= 0x80; size >>= 7) body.push_back(static_cast<char>(0x80 | (size & 0x7f)));
    body.push_back(static_cast<char>(size));
    body.append(service);
  }
  std::string out(1, 0);
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(body.size() >> shift));
  return out + body;
}

std::string_view to_string(ServingStatus status) {
  switch (status) {
    case ServingStatus::Unknown: return "UNKNOWN";
    case ServingStatus::Serving: return "SERVING";
    case ServingStatus::NotServing: return "NOT_SERVING";
    case ServingStatus::ServiceUnknown: return "SERVICE_UNKNOWN";
  }
  return "UNKNOWN";
}

}  // namespace weir::grpc
