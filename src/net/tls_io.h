// What stands between an OpenSSL session and the Transport that carries its records. For net/ only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/buffer.h"

struct ssl_session_st;

namespace weir::net {

class TlsServerContext;

// A BIO's data: bytes in and out, and what the callbacks of the handshake found. Must outlive the session.
struct TlsIo {
  explicit TlsIo(Buffer& records) : out(records) {}
  const uint8_t* in = nullptr;  // received and not yet taken; during Transport::read() only
  size_t in_left = 0;
  Buffer& out;                             // records for the socket
  const TlsServerContext* server = nullptr;
  int certificate = -1;                    // the one that was chosen
  ssl_session_st* fresh_session = nullptr; // client: the latest ticket, owned; Transport frees it
  uint32_t late_messages = 0;              // see Transport::late_messages()
};

}  // namespace weir::net
