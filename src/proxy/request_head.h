// The head of a request as its target gets it: what ALB refuses, adds and changes (alb.md 3, 4.7, 4.8; ELB guide,
// "HTTP headers and Application Load Balancers").
//
// What depends on the listener alone is worked out once per header run and remembered; what is constant for a
// connection stands in a run of its own (Downstream::forwarded). Only fields that differ from request to request
// are touched each time.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/buffer.h"
#include "http/h2/connection.h"
#include "http/header.h"
#include "http/header_run.h"
#include "model/snapshot.h"
#include "proxy/trace_id.h"

namespace weir::proxy {

class Downstream;

inline constexpr size_t kFieldBytesMax = 16u << 10;  // of one request header; also of :path (alb.md 4.8)
inline constexpr size_t kForwardedForMax = 30;       // addresses in x-forwarded-for
inline constexpr size_t kTraceHeadersMax = 7u << 10; // request headers, above which a client's trace id is not kept

// A request that is answered without a look at the rules.
struct HeadRefusal {
  int http_status;
  int grpc_code;
  std::string_view message;
};
std::optional<HeadRefusal> refusal_of(const http::HeaderList& list, const http::MessageHead& head);
// Whether refusal_of() must be asked. `tokens`: list.tokens().
inline bool looks_refusable(const http::HeaderList& list, const http::MessageHead& head, uint64_t tokens) {
  return list.too_large || list.list_size > kFieldBytesMax || head.method.size() == 5 ||
         (tokens & http::token_bit(http::Token::XForwardedFor)) != 0;
}

// The settings of a load balancer and a listener that concern request heads, compiled.
class HeadRules {
 public:
  void compile(const model::RoutingSnapshot& snapshot, const model::Listener& listener);
  // Changes with each compile(): what was made from the rules before has to be made again.
  uint32_t version() const { return version_; }
  // The client's address goes behind what it says in x-forwarded-for.
  bool appends_address() const { return forwarded_for_ == model::ForwardedFor::Append; }

  // The constant fields of a connection: x-forwarded-proto and -port, TLS's, and -for, unless the client sent one or
  // the mode says otherwise.
  struct Connection {
    std::string_view client_address;
    uint16_t client_port = 0;
    std::string_view tls_version;  // "TLSv1.3"; empty: cleartext
    std::string_view tls_cipher;   // OpenSSL's name
  };
  http::HeaderRunRef constant_fields(const Connection& connection, bool client_sent_for,
                                     http::HeaderRuns& runs) const;
  // "203.0.113.9", with the port if that is asked for ("[2001:db8::1]:8080").
  std::string address_of(const Connection& connection) const;

 private:
  friend class HeadEditor;
  enum class Host : uint8_t { AsItCame, WithoutPort, WithPort };
  struct Rewritten {
    http::HeaderRunRef from, to;
  };
  static constexpr size_t kRewritten = 128;

  uint32_t version_ = 0;
  Host host_ = Host::AsItCame;
  model::ForwardedFor forwarded_for_ = model::ForwardedFor::Append;
  bool forwarded_for_port_ = false;
  bool drop_invalid_ = false;
  bool tls_headers_ = false;
  bool tls_headers_renamed_ = false;  // to names without a token
  std::string port_;             // ":8443"
  std::string proto_;
  std::string tls_version_name_, tls_cipher_name_;
  std::array<Rewritten, kRewritten> rewritten_;
};

// What a head is made with, besides the client's connection.
struct HeadTools {
  Arena& arena;  // holds what is made; lives until the end of the turn
  TraceIds& trace_ids;
  uint32_t unix_seconds;
  http::HeaderRuns& runs;
};

struct TargetHead {
  http::h2::OutgoingHeaders fields;
  // Names with other characters than letters, digits and hyphens, and what became of them.
  enum class InvalidNames : uint8_t { None, Forwarded, Dropped } invalid_names;
  TraceId trace;  // that begins with this request; none when the client sent one
};
// Changes `list` and returns it with what the connection adds. `tokens`: list.tokens(). Valid until the end of the
// turn.
TargetHead build_request(Downstream& down, http::HeaderList& list, uint64_t tokens, const HeadTools& tools);

}  // namespace weir::proxy
