// Access log: one record per request, as the worker hands it over, and as lines for people and programs.
//
// Lines have ALB's 33 fields (AWS: "Access log entries" of an Application Load Balancer), or are JSON objects with
// the fields that gRPC adds. docs/observability.md describes both.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/connection_facts.h"
#include "proxy/trace_id.h"

namespace weir::proxy {

enum class RecordKind : uint8_t { Access, Connection, Health };
// Whose doing the end of a request was.
enum class EndedBy : uint8_t { Target, Client, Balancer };
enum class ActionTaken : uint8_t { None, Forward, FixedResponse };

inline constexpr size_t kUserAgentBytesMax = 8192;
inline constexpr size_t kPathBytesMax = 16384;
inline constexpr int32_t kNoRule = INT32_MIN;

// Stands in a LogRing; its texts follow, in the order of AccessText.
enum AccessText : int {
  kTextClient, kTextCipher, kTextProtocol, kTextDomain, kTextCertificate, kTextConnection,  // ConnectionFacts::packed
  kTextGroup, kTextTarget, kTextTrace, kTextMethod, kTextAuthority, kTextPath, kTextUserAgent, kTextReason,
  kAccessTexts
};
struct AccessRecord {
  uint32_t size = 0;            // texts and padding included; a multiple of 8
  RecordKind kind = RecordKind::Access;
  EndedBy ended_by = EndedBy::Target;
  ActionTaken action = ActionTaken::None;
  uint8_t attempts = 0;
  int64_t begin_ns = 0;         // monotonic
  int64_t end_ns = 0;
  int64_t sent_after_us = -1;   // from the begin until the request went to the target
  int64_t head_after_us = -1;   // until the response began
  uint64_t received_bytes = 0;
  uint64_t sent_bytes = 0;
  uint64_t request_messages = 0;
  uint64_t response_messages = 0;
  int32_t rule_priority = kNoRule;
  int16_t grpc_status = -1;
  uint16_t elb_status = 0;
  uint16_t target_status = 0;
  uint16_t client_port = 0;
  uint16_t listener_port = 0;
  uint16_t target_port = 0;
  bool is_grpc = false;
  bool tls = false;
  TraceId trace;                // that began here; else the client's stands among the texts
  uint16_t lengths[kAccessTexts] = {};
};

// What the writer knows beyond the record.
struct LogContext {
  std::string load_balancer;      // "app/NAME/ID"
  int64_t unix_minus_monotonic_ns = 0;
};

void append_access_alb(std::string& out, const AccessRecord& record, const char* texts, const LogContext& context);
void append_access_json(std::string& out, const AccessRecord& record, const char* texts, const LogContext& context);

std::string_view to_string(EndedBy by);

}  // namespace weir::proxy
