// Health check log: one record per check (AWS: "Health check logs for your Application Load Balancer"). Checks are few,
// so records are made when the log is on, and wait in the ring of the worker that checks.
#pragma once

#include <cstddef>

#include "proxy/access_log.h"
#include "proxy/health_call.h"
#include "proxy/log_ring.h"

namespace weir::proxy {

enum HealthText : int { kHealthAddress, kHealthGroup, kHealthDescription, kHealthTexts };
struct HealthRecord {
  uint32_t size = 0;
  RecordKind kind = RecordKind::Health;
  bool is_grpc = false;   // else GET over HTTP/2
  bool passed = false;
  HealthFault fault = HealthFault::None;
  uint16_t target_port = 0;
  int32_t code = -1;      // grpc-status, or HTTP's; -1: none came
  int64_t time_ns = 0;    // of the end, monotonic
  int64_t latency_ns = 0;
  uint16_t lengths[kHealthTexts] = {};
};

// Readers look at the kind before they know which it is.
static_assert(offsetof(HealthRecord, kind) == offsetof(AccessRecord, kind));

struct HealthEntry {
  bool is_grpc;
  std::string_view address;
  uint16_t port;
  std::string_view group_arn;
  TimePoint started, ended;
};
// On the thread that writes the ring. A record that finds no room is lost, and counted there.
void write_health(LogRing& ring, const HealthEntry& entry, const HealthOutcome& outcome);

void append_health_alb(std::string& out, const HealthRecord& record, const char* texts, const LogContext& context);
void append_health_json(std::string& out, const HealthRecord& record, const char* texts, const LogContext& context);

}  // namespace weir::proxy
