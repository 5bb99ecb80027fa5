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

// The check of a request head, field by field.
struct RequestCheck {
  MessageHead head;
  uint32_t seen = 0;     // pseudo-header fields, by token
  bool regular = false;  // a regular field came
  bool good = true;
  void add(const Field& field);
  bool complete() const;
};
// Likewise of a response head.
struct ResponseCheck {
  MessageHead head;
  bool regular = false;
  bool good = true;
  void add(const Field& field);
  bool complete() const { return good && head.status != 0; }
};

// §8.3.1: pseudo-header fields first, each once, :method, :scheme and :path present, :path not empty and starting
// with '/' (or "*") without blanks, control characters and '#', no userinfo in :authority; no connection-specific
// fields (§8.2.2), te only "trailers". CONNECT is refused. Returns the head, which stands until
// the list changes or the thread checks another; nullptr: it is malformed.
const MessageHead* check_request(const HeaderList& list);
// §8.3.2: exactly one :status of three digits, first.
const MessageHead* check_response(const HeaderList& list);
// Whether a field may stand in trailers (§8.1: no pseudo-header fields).
bool good_in_trailers(const Field& field);
bool check_trailers(const HeaderList& list);

}  // namespace weir::http
