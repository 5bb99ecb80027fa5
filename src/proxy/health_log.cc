#include "proxy/health_log.h"

#include <algorithm>
#include <array>
#include <cstdio>

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
  std::string_view address, group, description;
};

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

void append_health_alb(std::string& out, const HealthRecord& r, const char* bytes, const LogContext& context) {
  Texts t(r, bytes);
  out += type_of(r);
  out += ' ';
  append_time(out, r.time_ns + context.unix_minus_monotonic_ns);
  char latency[32];
  std::snprintf(latency, sizeof latency, " %lld.%09lld ", static_cast<long long>(r.latency_ns / 1'000'000'000),
                static_cast<long long>(r.latency_ns % 1'000'000'000));
  out += latency;
  bool v6 = t.address.find(':') != std::string_view::npos;
  out += v6 ? "[" + std::string(t.address) + "]" : std::string(t.address);
  out += ':';
  append_number(out, r.target_port);
  out += ' ';
  append_escaped(out, t.group);
  out += r.passed ? " PASS " : " FAIL ";
  if (r.code < 0) out += '-';
  else append_number(out, r.code);
  out += ' ';
  out += reason_code(r.fault);
  out += '\n';
}

void append_health_json(std::string& out, const HealthRecord& r, const char* bytes, const LogContext& context) {
  Texts t(r, bytes);
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

}  // namespace weir::proxy
