// Header fields as the HPACK decoder hands them out and the encoder takes them. Names are lower case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace weir::http {

// Names the proxy acts on, so that nobody compares strings on the hot path. Pseudo-header fields first.
enum class Token : uint8_t {
  Authority, Method, Path, Scheme, Status, Protocol,
  LastPseudo = Protocol,
  Connection, KeepAlive, ProxyConnection, TransferEncoding, Upgrade, Te, Host, ContentLength, Cookie, Expect,
  ContentType, UserAgent, GrpcTimeout, GrpcStatus, GrpcMessage, Server, Date,
  XForwardedFor, XForwardedProto, XForwardedPort, XAmznTraceId,
  Other,
};

// The token of a lower-case name (Token::Other when it is none of the above).
Token token_of(std::string_view name);

// A hash of name and value that is stable within the process; never 0.
uint32_t field_hash(std::string_view name, std::string_view value);

struct Field {
  std::string_view name;
  std::string_view value;
  uint32_t hash = 0;  // field_hash(name, value), or 0 when not computed yet
  Token token = Token::Other;
  bool never_indexed = false;  // RFC 7541 §6.2.3: an intermediary must keep it
};

// One decoded header block. Reused from block to block, so that it does not allocate in steady state.
struct HeaderList {
  std::vector<Field> fields;
  size_t list_size = 0;      // RFC 9113 §6.5.2: names + values + 32 per field
  bool too_large = false;    // over the limit: the rest was decoded (table state is right) but dropped
  bool malformed = false;    // RFC 9113 §8.2.1: a name or value with forbidden characters
  void clear() {
    fields.clear();
    list_size = 0;
    too_large = malformed = false;
  }
  const Field* find(Token token) const {
    for (const Field& f : fields) {
      if (f.token == token) return &f;
    }
    return nullptr;
  }
};

}  // namespace weir::http
