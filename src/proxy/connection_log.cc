#include "proxy/connection_log.h"

#include <array>

#include "proxy/log_text.h"

namespace weir::proxy {

namespace {
class Texts {
 public:
  Texts(const ConnectionRecord& record, const char* bytes) {
    for (int i = 0; i < kConnectionTexts; ++i) {
      texts_[static_cast<size_t>(i)] = {bytes, record.lengths[i]};
      bytes += record.lengths[i];
    }
  }
  std::string_view operator[](ConnectionText which) const { return texts_[which]; }

 private:
  std::array<std::string_view, kConnectionTexts> texts_;
};

void append_field(std::string& out, std::string_view text) {
  out += ' ';
  if (text.empty()) {
    out += '-';
  } else {
    append_escaped(out, text);
  }
}
}  // namespace

void append_connection_alb(std::string& out, const ConnectionRecord& r, const char* bytes, const LogContext& context) {
  Texts t(r, bytes);
  append_time(out, r.time_ns + context.unix_minus_monotonic_ns);
  append_field(out, t[kConnClient]);
  out += ' ';
  append_number(out, r.client_port);
  out += ' ';
  append_number(out, r.listener_port);
  append_field(out, t[kConnProtocol]);
  append_field(out, t[kConnCipher]);
  out += ' ';
  if (t[kConnFailure].empty()) {
    append_seconds(out, r.handshake_ns / 1000);
  } else {
    out += '-';
  }
  // Subject, validity, serial number: clients are not asked for certificates.
  out += " \"-\" - -";
  append_field(out, t[kConnFailure].empty() ? std::string_view() : "Failed:UnmappedConnectionError");
  append_field(out, t[kConnTrace]);
  append_field(out, t[kConnKeyExchange]);
  out += '\n';
}

void append_connection_json(std::string& out, const ConnectionRecord& r, const char* bytes,
                            const LogContext& context) {
  Texts t(r, bytes);
  JsonLine line(out);
  line.time("timestamp", r.time_ns + context.unix_minus_monotonic_ns);
  line.text("elb", context.load_balancer);
  line.text("client_ip", t[kConnClient]);
  line.number("client_port", r.client_port);
  line.number("listener_port", r.listener_port);
  line.optional_text("tls_protocol", t[kConnProtocol]);
  line.optional_text("tls_cipher", t[kConnCipher]);
  line.optional_text("tls_keyexchange", t[kConnKeyExchange]);
  line.optional_text("domain_name", t[kConnDomain]);
  if (t[kConnFailure].empty()) {
    line.seconds("tls_handshake_latency", r.handshake_ns / 1000);
  } else {
    line.text("failure", t[kConnFailure]);
  }
  line.text("conn_trace_id", t[kConnTrace]);
  line.end();
}

}  // namespace weir::proxy
