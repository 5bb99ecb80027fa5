#include "proxy/health_call.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "grpc/status.h"

namespace weir::proxy {

using http::Field;
using http::Token;
using model::HealthReason;

namespace {
constexpr std::string_view kCheckPath = "/grpc.health.v1.Health/Check";
constexpr std::string_view kWatchPath = "/grpc.health.v1.Health/Watch";

Field field(std::string_view name, std::string_view value) {
  return {name, value, 0, http::token_of(name), false};
}

http::h2::ConnectionOptions client_options() {
  http::h2::ConnectionOptions o;
  o.role = http::h2::Role::Client;
  o.stream_window_bytes = 65535;
  o.connection_window_bytes = 65535;
  return o;
}

// What may be shown of a target's words.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, HealthCall::kTextBytesMax));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return out;
}
}  // namespace

HealthOutcome failed_check(std::string_view why, HealthFault fault) {
  return {false, HealthReason::FailedHealthChecks, "Health checks failed (" + std::string(why) + ")", fault};
}

HealthCall::HealthCall(const model::HealthCheck& config, Kind kind, const http::h2::Shared& shared)
    : config_(config), kind_(kind), connection_(client_options(), shared, *this) {}

void HealthCall::start(const std::string& authority) {
  connection_.start();
  bool is_grpc = kind_ == Kind::Watch || config_.http_codes.empty();
  std::string_view path = kind_ == Kind::Watch ? kWatchPath : std::string_view(config_.path);
  std::vector<Field> head{field(":method", is_grpc ? "POST" : "GET"), field(":scheme", config_.tls ? "https" : "http"),
                          field(":path", path), field(":authority", authority),
                          field("user-agent", "ELB-HealthChecker/2.0")};
  if (is_grpc) {
    head.push_back(field("te", "trailers"));
    head.push_back(field("content-type", "application/grpc"));
  }
  for (const model::NameValue& m : config_.metadata) head.push_back(field(m.name, m.value));
  stream_ = connection_.open_stream(0);
  connection_.send_headers(stream_, head, !is_grpc);
  if (!is_grpc) return;
  std::string request = grpc::health_request(config_.service);
  connection_.send_data(stream_, {reinterpret_cast<const uint8_t*>(request.data()), request.size()}, true);
}

bool HealthCall::receive(std::span<const uint8_t> bytes, TimePoint now) {
  bool alive = connection_.receive(bytes, now);
  if (!alive && !over_ && !broken_) broken_ = "HTTP/2: " + connection_.error_detail();
  return alive;
}

void HealthCall::on_headers(http::h2::StreamHandle, http::h2::Stream&, const http::h2::HeadersEvent& event) {
  if (event.kind == http::h2::HeadersEvent::Kind::Informational) return;
  if (event.kind == http::h2::HeadersEvent::Kind::Head) http_status_ = event.head.status;
  event.list.for_each([this](const Field& f) {
    if (f.token == Token::GrpcStatus) {
      auto [end, error] = std::from_chars(f.value.data(), f.value.data() + f.value.size(), grpc_status_);
      if (error != std::errc() || end != f.value.data() + f.value.size()) grpc_status_ = -1;
    } else if (f.token == Token::GrpcMessage) {
      grpc_message_ = shown(f.value);
    } else if (f.token == Token::ContentType) {
      content_type_ = shown(f.value);
    }
  });
  over_ = over_ || event.end_stream;
}

size_t HealthCall::on_data(http::h2::StreamHandle, http::h2::Stream&, std::span<const uint8_t> bytes, bool end) {
  over_ = over_ || end;
  if (kind_ == Kind::Check) {
    payload_.append(reinterpret_cast<const char*>(bytes.data()),
                    std::min(bytes.size(), kPayloadBytesMax - payload_.size()));
    return bytes.size();
  }
  for (size_t at = 0; at < bytes.size() && !broken_;) {
    size_t taken = std::min(bytes.size() - at, kPayloadBytesMax - payload_.size());
    payload_.append(reinterpret_cast<const char*>(bytes.data()) + at, taken);
    at += taken;
    take_messages();
    if (payload_.size() == kPayloadBytesMax) broken_ = "a message of Watch is too long";
  }
  return bytes.size();
  over_ = over_ || broken_.has_value();
}

// Watch: whole messages leave the payload, the last one counts.
void HealthCall::take_messages() {
  size_t at = 0;
  while (payload_.size() - at >= 5) {
    auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(payload_[at + i])); };
    size_t size = 5 + (size_t{byte(1)} << 24 | byte(2) << 16 | byte(3) << 8 | byte(4));
    if (size > payload_.size() - at) break;
    auto status = grpc::parse_health_response(std::string_view(payload_).substr(at, size));
    if (!status) {
      broken_ = "a message of Watch is malformed";
      break;
    }
    status_ = *status;
    at += size;
  }
  payload_.erase(0, at);
}

void HealthCall::on_reset(http::h2::StreamHandle, http::h2::Stream&, http::h2::ErrorCode code, ResetBy by) {
  over_ = true;
  broken_ = by == ResetBy::Local ? "the target broke the HTTP/2 protocol"
                                 : "stream reset by the target, code " + std::to_string(static_cast<uint32_t>(code));
}

bool HealthCall::unimplemented() const {
  return over_ && grpc_status_ == static_cast<int>(grpc::Code::Unimplemented);
}

std::optional<grpc::ServingStatus> HealthCall::take_status() { return std::exchange(status_, std::nullopt); }

HealthOutcome HealthCall::outcome() const {
  if (broken_) return failed_check(*broken_);
  if (!over_) return failed_check("connection closed by the target", HealthFault::ConnectionReset);
  return config_.http_codes.empty() ? grpc_outcome() : http_outcome();
}

HealthOutcome HealthCall::mismatch(int code, std::string_view received, HealthFault fault) const {
  std::string text = "Health checks failed with these codes: [" + std::to_string(code) + "]";
  if (!received.empty()) text += " (" + std::string(received) + ")";
  return {false, HealthReason::ResponseCodeMismatch, std::move(text), fault, code};
}

HealthOutcome HealthCall::http_outcome() const {
  if (grpc::matches_codes(config_.http_codes, http_status_)) {
    return {true, HealthReason::None, "", HealthFault::None, http_status_};
  }
  return mismatch(http_status_, "", HealthFault::ResponseCodeMismatch);
}

HealthOutcome HealthCall::grpc_outcome() const {
  using enum HealthFault;
  if (grpc_status_ < 0 && http_status_ == 200) {
    std::string type = content_type_.empty() ? "" : ", content-type " + content_type_;
    return failed_check("no grpc-status in the response" + type, GrpcStatusHeaderEmpty);
  }
  if (grpc_status_ < 0) return mismatch(http_status_, "HTTP status, no grpc-status", GrpcStatusHeaderEmpty);
  if (!grpc::matches_codes(config_.grpc_codes, grpc_status_)) {
    return mismatch(grpc_status_, grpc_message_, GrpcUnexpectedStatus);
  }
  if (config_.evaluate_payload && config_.path == kCheckPath && grpc_status_ == 0) {
    auto status = grpc::parse_health_response(payload_);
    if (!status) return mismatch(0, "the answer is no HealthCheckResponse", TargetError);
    if (*status != grpc::ServingStatus::Serving) return mismatch(0, grpc::to_string(*status), TargetError);
  }
  return {true, HealthReason::None, "", None, grpc_status_};
}

}  // namespace weir::proxy
