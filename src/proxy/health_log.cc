#include "proxy/health_log.h"

#include <algorithm>
#include <array>

#include "proxy/log_text.h"

namespace weir::proxy {

namespace {

constexpr size_t kTextBytesMax = 1024;

// ALB's reason codes.
std::string_view reason_code(HealthFault fault) {
  switch (fault) {
    case HealthFault::None: return "-";
    case HealthFault::RequestTimedOut: return "RequestTimedOut";
    case HealthFault::ConnectionTimedOut: return "ConnectionTimedOut";
    case HealthFault::ConnectionReset: return "ConnectionReset";
    case HealthFault::ResponseCodeMismatch: return "ResponseCodeMismatch";
    case HealthFault::GrpcStatusHeaderEmpty: return "GRPCStatusHeaderEmpty";
    case HealthFault::GrpcUnexpectedStatus: return "GRPCUnexpectedStatus";
    case HealthFault::TargetError: return "TargetError";
    case HealthFault::InternalError: return "InternalError";
  }
  return "-";
}

std::string_view type_of(const HealthRecord& r) { return r.is_grpc ? "grpc" : "h2"; }

// "…:targetgroup/NAME/ID": the name; any other ARN whole.
std::string_view group_name(std::string_view arn) {
  constexpr std::string_view kMark = ":targetgroup/";
  size_t at = arn.find(kMark);
  if (at == std::string_view::npos) return arn;
  std::string_view rest = arn.substr(at + kMark.size());
  return rest.substr(0, rest.find('/'));
}

struct Texts {
  Texts(const HealthRecord& r, const char* bytes)
      : address(bytes, r.lengths[kHealthAddress]),
        group(address.data() + address.size(), r.lengths[kHealthGroup]),
        description(group.data() + group.size(), r.lengths[kHealthDescription]) {}
  size_t line_bytes_max(const LogContext& context) const {
    constexpr size_t kRest = 1024;  // numbers, the time, names
    return kRest + LogLine::kEscapedMax *
                       (address.size() + group.size() + description.size() + context.load_balancer.size());
  }
  std::string_view address, group, description;
};

void write_alb(LogLine& out, const HealthRecord& r, const Texts& t, const LogContext& context) {
  constexpr int64_t kSecondNs = 1'000'000'000;
  out += type_of(r);
  out += ' ';
  out.time(r.time_ns + context.unix_minus_monotonic_ns);
  out += ' ';
  out.number(r.latency_ns / kSecondNs);
  out += '.';
  out.padded(static_cast<uint32_t>(r.latency_ns % kSecondNs), 9);
  out += ' ';
  bool v6 = t.address.find(':') != std::string_view::npos;
  if (v6) out += '[';
  out += t.address;
  if (v6) out += ']';
  out += ':';
  out.number(r.target_port);
  out += ' ';
  out.escaped(t.group);
  out += std::string_view(r.passed ? " PASS " : " FAIL ");
  if (r.code < 0) out += '-';
  else out.number(r.code);
  out += ' ';
  out += reason_code(r.fault);
  out += '\n';
}

void write_json(LogLine& out, const HealthRecord& r, const Texts& t, const LogContext& context) {
  JsonLine line(out);
  line.text("type", type_of(r));
  line.time("time", r.time_ns + context.unix_minus_monotonic_ns);
  line.text("elb", context.load_balancer);
  line.seconds("latency", r.latency_ns / 1000);
  line.text("target_ip", t.address);
  line.number("target_port", r.target_port);
  line.text("target_group", t.group);
  line.text("status", r.passed ? "PASS" : "FAIL");
  if (r.code >= 0) line.number("status_code", r.code);
  if (r.fault != HealthFault::None) line.text("reason_code", reason_code(r.fault));
  line.optional_text("description", t.description);
  line.end();
}

}  // namespace

void write_health(LogRing& ring, const HealthEntry& entry, const HealthOutcome& outcome) {
  HealthRecord r;
  r.is_grpc = entry.is_grpc;
  r.passed = outcome.passed;
  r.fault = outcome.fault;
  r.target_port = entry.port;
  r.code = outcome.code;
  r.time_ns = entry.ended.time_since_epoch().count();
  r.latency_ns = (entry.ended - entry.started).count();
  const std::array<std::string_view, kHealthTexts> texts{
      entry.address, group_name(entry.group_arn).substr(0, kTextBytesMax),
      std::string_view(outcome.description).substr(0, kTextBytesMax)};
  size_t size = sizeof r;
  for (size_t i = 0; i < texts.size(); ++i) {
    r.lengths[i] = static_cast<uint16_t>(texts[i].size());
    size += texts[i].size();
  }
  r.size = static_cast<uint32_t>((size + 7) & ~size_t{7});
  uint8_t* to = ring.reserve(r.size);
  if (to == nullptr) return;
  std::memcpy(to, &r, sizeof r);
  to += sizeof r;
  for (std::string_view text : texts) to = std::copy(text.begin(), text.end(), to);
}

void append_health_alb(std::string& out, const HealthRecord& record, const char* texts, const LogContext& context) {
  Texts t(record, texts);
  append_line(out, t.line_bytes_max(context), [&](LogLine& line) { write_alb(line, record, t, context); });
}

void append_health_json(std::string& out, const HealthRecord& record, const char* texts, const LogContext& context) {
  Texts t(record, texts);
  append_line(out, t.line_bytes_max(context), [&](LogLine& line) { write_json(line, record, t, context); });
}

}  // namespace weir::proxy
