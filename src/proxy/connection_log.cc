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
      size_ += record.lengths[i];
    }
  }
  size_t line_bytes_max(const LogContext& context) const {
    constexpr size_t kRest = 1024;  // numbers, the time, names
    return kRest + LogLine::kEscapedMax * (size_ + context.load_balancer.size());
  }
  std::string_view operator[](ConnectionText which) const { return texts_[which]; }

 private:
  std::array<std::string_view, kConnectionTexts> texts_;
  size_t size_ = 0;
};

void append_field(LogLine& out, std::string_view text) {
  out += ' ';
  out.escaped_or_dash(text);
}

void write_alb(LogLine& out, const ConnectionRecord& r, const Texts& t, const LogContext& context) {
  out.time(r.time_ns + context.unix_minus_monotonic_ns);
  append_field(out, t[kConnClient]);
  out += ' ';
  out.number(r.client_port);
  out += ' ';
  out.number(r.listener_port);
  append_field(out, t[kConnProtocol]);
  append_field(out, t[kConnCipher]);
  out += ' ';
  if (t[kConnFailure].empty()) {
    out.seconds(r.handshake_ns / 1000);
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

void write_json(LogLine& out, const ConnectionRecord& r, const Texts& t, const LogContext& context) {
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

}  // namespace

void append_connection_alb(std::string& out, const ConnectionRecord& record, const char* texts,
                           const LogContext& context) {
  Texts t(record, texts);
  append_line(out, t.line_bytes_max(context), [&](LogLine& line) { write_alb(line, record, t, context); });
}

void append_connection_json(std::string& out, const ConnectionRecord& record, const char* texts,
                            const LogContext& context) {
  Texts t(record, texts);
  append_line(out, t.line_bytes_max(context), [&](LogLine& line) { write_json(line, record, t, context); });
}

}  // namespace weir::proxy
