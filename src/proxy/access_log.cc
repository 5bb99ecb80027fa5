#include "proxy/access_log.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "proxy/log_text.h"
#include "proxy/trace_id.h"

namespace weir::proxy {

namespace {

class Texts {
 public:
  Texts(const AccessRecord& record, const char* bytes) {
    for (int i = 0; i < kAccessTexts; ++i) {
      texts_[static_cast<size_t>(i)] = {bytes, record.lengths[i]};
      bytes += record.lengths[i];
      size_ += record.lengths[i];
    }
    if (record.trace.made()) write_trace(record.trace);
  }
  std::string_view operator[](AccessText which) const { return texts_[which]; }
  // Of a line with each of them, that of the target twice.
  size_t line_bytes_max(const LogContext& context) const {
    constexpr size_t kRest = 2048;  // numbers, times, names, the trace
    return kRest + LogLine::kEscapedMax * (size_ + texts_[kTextTarget].size() + context.load_balancer.size());
  }

 private:
  void write_trace(const TraceId& id) {
    char* end = id.write(std::copy(kTraceRoot.begin(), kTraceRoot.end(), trace_));
    texts_[kTextTrace] = {trace_, static_cast<size_t>(end - trace_)};
  }
  std::array<std::string_view, kAccessTexts> texts_;
  size_t size_ = 0;
  char trace_[kTraceRoot.size() + TraceId::kTextBytes];
};

// Of our own: nothing in it needs escaping.
void append_own(LogLine& out, std::string_view text) {
  if (text.empty()) out += '-';
  else out += text;
}

void append_endpoint(LogLine& out, std::string_view address, uint16_t port) {
  bool v6 = address.find(':') != std::string_view::npos;
  if (v6) out += '[';
  out += address;
  if (v6) out += ']';
  out += ':';
  out.number(port);
}

void append_target(LogLine& out, const AccessRecord& r, const Texts& t) {
  if (t[kTextTarget].empty()) {
    out += '-';
  } else {
    append_endpoint(out, t[kTextTarget], r.target_port);
  }
}

void append_status_or_dash(LogLine& out, uint16_t status) {
  if (status == 0) {
    out += '-';
  } else {
    out.number(status);
  }
}

std::string_view scheme(const AccessRecord& r) { return r.tls ? "https://" : "http://"; }

// "POST https://host:443/pkg.Svc/Method HTTP/2.0": the port is always there.
void append_request_line(LogLine& out, const AccessRecord& r, const Texts& t) {
  out.escaped_or_dash(t[kTextMethod]);
  out += ' ';
  out += scheme(r);
  std::string_view host = t[kTextAuthority];
  out.escaped(host);
  size_t colon = host.rfind(':');
  bool has_port = colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos;
  if (!has_port) {
    out += ':';
    out.number(r.listener_port);
  }
  out.escaped(t[kTextPath]);
  out += " HTTP/2.0";
}

// The three times add up to what passed between the request's arrival and the response's start.
struct Times {
  int64_t request = -1;
  int64_t target = -1;
  int64_t response = -1;
};
Times times_of(const AccessRecord& r) {
  Times t;
  if (r.sent_after_us < 0) return t;
  t.request = r.sent_after_us;
  if (r.head_after_us < 0) return t;
  t.target = r.head_after_us - r.sent_after_us;
  t.response = 0;  // a response is forwarded in the turn in which it comes
  return t;
}

std::string_view action_name(ActionTaken action) {
  switch (action) {
    case ActionTaken::None: return "";
    case ActionTaken::Forward: return "forward";
    case ActionTaken::FixedResponse: return "fixed-response";
  }
  return "";
}

std::string_view type_name(const AccessRecord& r) {
  if (r.is_grpc && r.tls) return "grpcs";
  return r.tls ? "h2" : r.is_grpc ? "grpc" : "http";
}

void write_alb(LogLine& out, const AccessRecord& r, const Texts& t, const LogContext& context) {
  Times times = times_of(r);
  out += type_name(r);
  out += ' ';
  out.time(r.end_ns + context.unix_minus_monotonic_ns);
  out += ' ';
  out += context.load_balancer;
  out += ' ';
  append_endpoint(out, t[kTextClient], r.client_port);
  out += ' ';
  append_target(out, r, t);
  for (int64_t micros : {times.request, times.target, times.response}) {
    out += ' ';
    out.seconds(micros);
  }
  out += ' ';
  if (r.elb_status == 0) out += "000";
  else out.number(r.elb_status);
  out += ' ';
  append_status_or_dash(out, r.target_status);
  out += ' ';
  out.number(static_cast<int64_t>(r.received_bytes));
  out += ' ';
  out.number(static_cast<int64_t>(r.sent_bytes));
  out += " \"";
  append_request_line(out, r, t);
  out += "\" ";
  out.quoted(t[kTextUserAgent]);
  out += ' ';
  append_own(out, t[kTextCipher]);
  out += ' ';
  append_own(out, t[kTextProtocol]);
  out += ' ';
  out.escaped_or_dash(t[kTextGroup]);
  for (AccessText which : {kTextTrace, kTextDomain, kTextCertificate}) {
    out += ' ';
    out.quoted(t[which]);
  }
  out += ' ';
  if (r.rule_priority == kNoRule) out += '-';
  else out.number(r.rule_priority);
  out += ' ';
  out.time(r.begin_ns + context.unix_minus_monotonic_ns);
  out += ' ';
  out.quoted(action_name(r.action));
  out += " \"-\" \"-\" \"";  // redirect_url, error_reason
  append_target(out, r, t);
  out += "\" \"";
  append_status_or_dash(out, r.target_status);
  out += "\" \"-\" \"-\" ";  // classification and its reason
  append_own(out, t[kTextConnection]);
  out += " \"-\" \"-\" \"-\"\n";  // transformed host, URI, status
}

void write_json(LogLine& out, const AccessRecord& r, const Texts& t, const LogContext& context) {
  Times times = times_of(r);
  JsonLine line(out);
  line.text("type", type_name(r));
  line.time("time", r.end_ns + context.unix_minus_monotonic_ns);
  line.text("elb", context.load_balancer);
  line.text("client_ip", t[kTextClient]);
  line.number("client_port", r.client_port);
  line.number("listener_port", r.listener_port);
  if (!t[kTextTarget].empty()) {
    line.text("target_ip", t[kTextTarget]);
    line.number("target_port", r.target_port);
  }
  line.optional_text("target_group_arn", t[kTextGroup]);
  line.number("attempts", r.attempts);
  line.text("request_verb", t[kTextMethod]);
  line.text("host", t[kTextAuthority]);
  if (r.is_grpc) line.text("grpc_method", t[kTextPath]);
  else line.text("path", t[kTextPath]);
  line.number("elb_status_code", r.elb_status);
  if (r.target_status != 0) line.number("target_status_code", r.target_status);
  if (r.is_grpc && r.grpc_status >= 0) line.number("grpc_status", r.grpc_status);
  line.text("ended_by", to_string(r.ended_by));
  line.optional_text("reason", t[kTextReason]);
  if (r.is_grpc) {
    line.number("request_messages", static_cast<int64_t>(r.request_messages));
    line.number("response_messages", static_cast<int64_t>(r.response_messages));
  }
  line.number("received_bytes", static_cast<int64_t>(r.received_bytes));
  line.number("sent_bytes", static_cast<int64_t>(r.sent_bytes));
  line.time("request_creation_time", r.begin_ns + context.unix_minus_monotonic_ns);
  line.seconds("duration", (r.end_ns - r.begin_ns) / 1000);
  line.seconds("request_processing_time", times.request);
  line.seconds("target_processing_time", times.target);
  line.optional_text("user_agent", t[kTextUserAgent]);
  line.optional_text("ssl_cipher", t[kTextCipher]);
  line.optional_text("ssl_protocol", t[kTextProtocol]);
  line.optional_text("domain_name", t[kTextDomain]);
  line.optional_text("chosen_cert_arn", t[kTextCertificate]);
  line.optional_text("trace_id", t[kTextTrace]);
  line.optional_text("conn_trace_id", t[kTextConnection]);
  if (r.rule_priority != kNoRule) line.number("matched_rule_priority", r.rule_priority);
  line.optional_text("actions_executed", action_name(r.action));
  line.end();
}

}  // namespace

std::string_view to_string(EndedBy by) {
  switch (by) {
    case EndedBy::Target: return "target";
    case EndedBy::Client: return "client";
    case EndedBy::Balancer: return "load_balancer";
  }
  return "";
}

void append_access_alb(std::string& out, const AccessRecord& record, const char* texts, const LogContext& context) {
  Texts t(record, texts);
  append_line(out, t.line_bytes_max(context), [&](LogLine& line) { write_alb(line, record, t, context); });
}

void append_access_json(std::string& out, const AccessRecord& record, const char* texts, const LogContext& context) {
  Texts t(record, texts);
  append_line(out, t.line_bytes_max(context), [&](LogLine& line) { write_json(line, record, t, context); });
}

}  // namespace weir::proxy
