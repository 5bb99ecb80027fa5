// One call of a health check, sans-IO: a unary check (gRPC, or GET of an HTTP2 group), or grpc.health.v1's Watch.
// What the target answers is untrusted: every length is bounded, and whatever comes ends in a verdict.
//
// Owner: a probe or watch on the health worker's thread. Bytes go in by receive(), out by connection().output().
#pragma once

#include <optional>
#include <string>

#include "http/h2/connection.h"
#include "model/link.h"

namespace weir::grpc {
enum class ServingStatus : uint8_t;  // grpc/status.h
}

namespace weir::proxy {

// Why a check failed, as the health check log of ALB tells them apart.
enum class HealthFault : uint8_t {
  None, RequestTimedOut, ConnectionTimedOut, ConnectionReset, ResponseCodeMismatch, GrpcStatusHeaderEmpty,
  GrpcUnexpectedStatus, TargetError, InternalError,
};

struct HealthOutcome {
  bool passed = false;
  model::HealthReason reason = model::HealthReason::None;
  std::string description;  // AWS's words, and in brackets what was received
  HealthFault fault = HealthFault::None;
  int code = -1;            // grpc-status, of an HTTP2 group the HTTP status; -1: none came
};

// "Health checks failed (WHY)"
HealthOutcome failed_check(std::string_view why, HealthFault fault = HealthFault::TargetError);

class HealthCall final : public http::h2::Sink {
 public:
  enum class Kind : uint8_t { Check, Watch };
  static constexpr size_t kPayloadBytesMax = 4096;  // of one message; a longer one fails
  static constexpr size_t kTextBytesMax = 100;      // of what the target says in a description

  // config must outlive the call.
  HealthCall(const model::HealthCheck& config, Kind kind, const http::h2::Shared& shared);

  // Writes the request into connection().output().
  void start(const std::string& authority);
  // False when the connection is over and nothing more will come.
  bool receive(std::span<const uint8_t> bytes, TimePoint now);
  http::h2::Connection& connection() { return connection_; }
  // The call has ended.
  bool over() const { return over_; }
  // Of a check that is over, or whose connection is.
  HealthOutcome outcome() const;
  // Watch: the latest status that came since the call before; nullopt: none did.
  std::optional<grpc::ServingStatus> take_status();
  // Watch: the target does not have it.
  bool unimplemented() const;

 private:
  void on_headers(http::h2::StreamHandle, http::h2::Stream&, const http::h2::HeadersEvent& event) override;
  size_t on_data(http::h2::StreamHandle, http::h2::Stream&, std::span<const uint8_t> bytes, bool end) override;
  void on_reset(http::h2::StreamHandle, http::h2::Stream&, http::h2::ErrorCode code, ResetBy by) override;
  void on_sent(http::h2::StreamHandle, http::h2::Stream&, size_t) override {}
  void on_goaway(uint32_t, http::h2::ErrorCode) override {}
  void on_settings() override {}
  void on_output() override {}
  void take_messages();
  HealthOutcome mismatch(int code, std::string_view received, HealthFault fault) const;
  HealthOutcome http_outcome() const;
  HealthOutcome grpc_outcome() const;

  const model::HealthCheck& config_;
  Kind kind_;
  http::h2::Connection connection_;
  http::h2::StreamHandle stream_;
  bool over_ = false;
  std::optional<std::string> broken_;  // why there is no response
  int http_status_ = 0;
  int grpc_status_ = -1;
  std::string grpc_message_;
  std::string content_type_;
  std::string payload_;
  std::optional<grpc::ServingStatus> status_;
};

}  // namespace weir::proxy
