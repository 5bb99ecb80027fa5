// What logs and live views say of a client's connection; gathered once, when its handshake is over.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "model/snapshot.h"
#include "net/tls.h"

namespace weir::proxy {

struct ConnectionFacts {
  std::string client;         // address
  uint16_t client_port = 0;
  uint16_t listener_port = 0;
  bool tls = false;
  bool ipv6 = false;
  std::string tls_protocol;   // "TLSv1.3"
  std::string tls_cipher;     // OpenSSL's name
  std::string key_exchange;   // group
  std::string domain;         // SNI
  std::string certificate;    // ARN of the one that was chosen, or "session-reused"
  std::string trace_id;       // "TID_…": ties the records of both logs together
  std::string failure;        // why the handshake failed; empty: it did not
  Duration handshake{};
  // Texts of access records, one behind the other, so that a record takes them with one copy.
  static constexpr int kPackedTexts = 6;  // client, cipher, protocol, domain, certificate, trace id
  uint16_t packed_lengths[kPackedTexts] = {};
  std::string packed;
  void pack();
  // What the TLS session says, once the handshake is over.
  void take(const net::TlsInfo& tls, Duration handshake_time, const model::Listener& listener);
};

}  // namespace weir::proxy
