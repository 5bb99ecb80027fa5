// Connection log: one record per client connection, when its TLS handshake is over or has failed (AWS: "Connection
// logs for your Application Load Balancer"). Listeners without TLS have none.
#pragma once

#include <cstddef>

#include "proxy/access_log.h"

namespace weir::proxy {

enum ConnectionText : int {
  kConnClient, kConnProtocol, kConnCipher, kConnKeyExchange, kConnTrace, kConnDomain, kConnFailure, kConnectionTexts
};
struct ConnectionRecord {
  uint32_t size = 0;
  RecordKind kind = RecordKind::Connection;
  uint16_t client_port = 0;
  uint16_t listener_port = 0;
  int64_t time_ns = 0;          // monotonic
  int64_t handshake_ns = 0;
  uint16_t lengths[kConnectionTexts] = {};
};

// Readers look at the kind before they know which it is.
static_assert(offsetof(ConnectionRecord, kind) == offsetof(AccessRecord, kind));

void append_connection_alb(std::string& out, const ConnectionRecord& record, const char* texts,
                           const LogContext& context);
void append_connection_json(std::string& out, const ConnectionRecord& record, const char* texts,
                            const LogContext& context);

}  // namespace weir::proxy
