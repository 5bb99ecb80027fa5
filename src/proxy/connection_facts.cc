#include "proxy/connection_facts.h"

namespace weir::proxy {

void ConnectionFacts::pack() {
  packed.clear();
  int i = 0;
  for (const std::string* text : {&client, &tls_cipher, &tls_protocol, &domain, &certificate, &trace_id}) {
    packed_lengths[i++] = static_cast<uint16_t>(text->size());
    packed += *text;
  }
}

void ConnectionFacts::take(const net::TlsInfo& tls_info, Duration handshake_time, const model::Listener& listener) {
  handshake = handshake_time;
  tls_protocol = tls_info.protocol;
  tls_cipher = tls_info.cipher;
  key_exchange = tls_info.key_exchange;
  domain = tls_info.server_name;
  auto place = static_cast<size_t>(tls_info.certificate);
  if (tls_info.resumed) {
    certificate = "session-reused";
  } else if (tls_info.certificate >= 0 && place < listener.certificates.size()) {
    certificate = listener.certificates[place].arn;
  }
  pack();
}

}  // namespace weir::proxy
