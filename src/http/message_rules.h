// What RFC 9113 §8 demands of a header block beyond its characters.
#pragma once

#include <cstdint>
#include <string_view>

#include "http/header.h"

namespace weir::http {

struct MessageHead {
  std::string_view method, scheme, authority, path;  // request
  int status = 0;                                    // response
  int64_t content_length = -1;
};

// §8.3.1: pseudo-header fields first, each once, :method, :scheme and :path present, :path not empty and
// starting with '/' (or "*"), no connection-specific fields (§8.2.2), te only "trailers". CONNECT is refused.
bool check_request(const HeaderList& list, MessageHead& out);
// §8.3.2: exactly one :status of three digits, first.
bool check_response(const HeaderList& list, MessageHead& out);
// §8.1: no pseudo-header fields.
bool check_trailers(const HeaderList& list);

}  // namespace weir::http
