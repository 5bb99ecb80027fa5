// Header names that are known in advance: every Token, the names of HPACK's static table and a few that
// gRPC and tracing use. A known name has a small id and static storage, so tables need not copy it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/hash.h"
#include "http/header.h"

namespace weir::http {

inline constexpr size_t kTokenCount = static_cast<size_t>(Token::Other);

struct KnownName {
  std::string_view name;
  uint32_t hash;  // bytes_hash(name)
};

namespace known_names_detail {

// Id 0 means "not known"; ids 1 … kTokenCount are the tokens in the order of the enumeration.
inline constexpr std::string_view kNames[] = {
    "", ":authority", ":method", ":path", ":scheme", ":status", ":protocol",
    "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "host",
    "content-length", "cookie", "expect", "content-type", "user-agent", "grpc-timeout", "grpc-status",
    "grpc-message", "server", "date", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port",
    "x-amzn-trace-id", "x-amzn-tls-version", "x-amzn-tls-cipher-suite",
    // The rest of HPACK's static table.
    "accept-charset", "accept-encoding", "accept-language", "accept-ranges", "accept",
    "access-control-allow-origin", "age", "allow", "authorization", "cache-control", "content-disposition",
    "content-encoding", "content-language", "content-location", "content-range", "etag", "expires", "from",
    "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified",
    "link", "location", "max-forwards", "proxy-authenticate", "proxy-authorization", "range", "referer",
    "refresh", "retry-after", "set-cookie", "strict-transport-security", "vary", "via", "www-authenticate",
    // Seen in gRPC traffic.
    "grpc-encoding", "grpc-accept-encoding", "grpc-status-details-bin", "grpc-trace-bin", "grpc-tags-bin",
    "grpc-previous-rpc-attempts", "grpc-retry-pushback-ms", "traceparent", "tracestate", "baggage",
    "x-request-id", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled"};

constexpr auto with_hashes() {
  std::array<KnownName, std::size(kNames)> out{};
  for (size_t i = 0; i < out.size(); ++i) out[i] = {kNames[i], bytes_hash(kNames[i])};
  return out;
}

}  // namespace known_names_detail

inline constexpr auto kKnownNames = known_names_detail::with_hashes();
inline constexpr size_t kKnownNameCount = kKnownNames.size();
static_assert(kKnownNameCount <= 128);

constexpr uint8_t known_name_of(Token token) {
  return token == Token::Other ? 0 : static_cast<uint8_t>(static_cast<size_t>(token) + 1);
}
constexpr Token token_of_known_name(uint8_t id) {
  return id == 0 || id > kTokenCount ? Token::Other : static_cast<Token>(id - 1);
}
// The name of a token; empty for Token::Other.
constexpr std::string_view token_name(Token token) { return kKnownNames[known_name_of(token)].name; }

static_assert(token_name(Token::LastPseudo) == ":protocol");
static_assert(token_name(Token::GrpcTimeout) == "grpc-timeout");
static_assert(token_name(Token::XAmznTraceId) == "x-amzn-trace-id");

// The id of a lower-case name whose bytes_hash is `hash`; 0 when it is not known.
uint8_t find_known_name(std::string_view name, uint32_t hash);

}  // namespace weir::http
