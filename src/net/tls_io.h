// What stands between an OpenSSL session and the Transport that carries its records. For net/ only.
#pragma once

#include <cstddef>
#include <cstdint>

#include <memory>

#include "base/buffer.h"
#include "net/tls_records.h"

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
  // Server, TLS 1.3: what the records that OpenSSL writes from now on are sealed with; it hands them out in the clear,
  // as it would to a kernel that does TLS. The Transport goes on with it when the handshake is done.
  std::unique_ptr<TrafficKey> sealing;
  std::unique_ptr<TrafficSecrets> secrets;
  ContentType next_record = ContentType::ApplicationData;
};

}  // namespace weir::net
