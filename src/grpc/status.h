// gRPC status codes and their mappings (grpc/grpc doc/statuscodes.md, http-grpc-status-mapping.md,
// PROTOCOL-HTTP2.md "Errors").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "http/h2/frame.h"

namespace weir::grpc {

enum class Code : uint8_t {
  Ok = 0, Cancelled = 1, Unknown = 2, InvalidArgument = 3, DeadlineExceeded = 4, NotFound = 5, AlreadyExists = 6,
  PermissionDenied = 7, ResourceExhausted = 8, FailedPrecondition = 9, Aborted = 10, OutOfRange = 11,
  Unimplemented = 12, Internal = 13, Unavailable = 14, DataLoss = 15, Unauthenticated = 16,
};
std::string_view to_string(Code code);     // "UNAVAILABLE"
std::string_view to_decimal(Code code);    // "14", static storage

Code code_of_http_status(int status);
Code code_of_reset(http::h2::ErrorCode code);

// Of grpc-status; -1: not a number from 0 to 127.
int parse_status(std::string_view value);

// True for "application/grpc", also with "+proto" and the like, not for grpc-web.
bool is_grpc_content_type(std::string_view value);

// "100m", "5S" …: nullopt when malformed. More than 8 digits are malformed.
std::optional<Duration> parse_timeout(std::string_view value);

// grpc-message: percent-encodes what is not printable ASCII, and '%'. At most `bytes_max` bytes come out.
std::string encode_message(std::string_view text, size_t bytes_max = 1024);

// Matcher.GrpcCode: "0", "0,1", "0-5", mixed. False for text that matches nothing or is malformed.
bool matches_codes(std::string_view matcher, int code);

// grpc.health.v1.HealthCheckResponse in one gRPC message (5-byte prefix); nullopt when it is not one.
enum class ServingStatus : uint8_t { Unknown = 0, Serving = 1, NotServing = 2, ServiceUnknown = 3 };
std::string_view to_string(ServingStatus status);  // "NOT_SERVING"
std::optional<ServingStatus> parse_health_response(std::string_view message);
// A grpc.health.v1.HealthCheckRequest for `service`, with its prefix.
std::string health_request(std::string_view service);

}  // namespace weir::grpc
