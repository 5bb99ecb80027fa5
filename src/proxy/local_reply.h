// Answers of our own, in the client's protocol or in ALB's (alb.md 4.6).
#pragma once

#include <cstdint>
#include <string_view>

#include "http/h2/connection.h"

namespace weir::proxy {

struct ListenerState;

enum class ReplyStyle : uint8_t {
  Grpc,  // Trailers-Only with grpc-status and a message that says why
  Text,  // HTTP status and a line of text
  Page,  // strict mode: HTTP status and ALB's page, to gRPC clients too
};
inline ReplyStyle reply_style(bool is_grpc, bool strict) {
  return strict ? ReplyStyle::Page : is_grpc ? ReplyStyle::Grpc : ReplyStyle::Text;
}

struct LocalReply {
  int http_status = 503;
  int grpc_code = 14;
  std::string_view message;
  ReplyStyle style = ReplyStyle::Grpc;
  bool responded = false;  // a response head went out: the stream ends with trailers, or with reset_code
  bool is_head = false;    // a HEAD request: no body
  bool is_fixed = false;   // fixed-response: `message` is the body as it is, of content_type
  http::h2::ErrorCode reset_code = http::h2::ErrorCode::InternalError;
  std::string_view content_type = {};
};

// What answers have in common.
struct ReplyTools {
  ListenerState& listener;
  uint32_t unix_seconds;  // for the date
};

// Ends the response; a request that still comes is told to stop (RFC 9113 §8.1).
void send_local_reply(http::h2::Connection& to, http::h2::StreamHandle stream, const LocalReply& reply,
                      const ReplyTools& tools);

// As HTTP puts it; "" for a status without a name.
std::string_view reason_phrase(int http_status);

}  // namespace weir::proxy
