// What is watched of one exchange; a part of its record, so it is kept small.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "http/header_run.h"
#include "proxy/access_log.h"
#include "proxy/message_counter.h"
#include "proxy/target.h"

namespace weir::proxy {

struct Observed {
  static constexpr uint32_t kNever = UINT32_MAX;
  static constexpr uint32_t kNoNote = UINT32_MAX;
  TimePoint begun{};
  MessageCounter request;
  MessageCounter response;
  TargetHandle target;             // the latest; stays when the exchange has left it
  uint32_t sent_after_us = kNever; // from the begin; an hour and more is kept as an hour
  uint32_t head_after_us = kNever;
  uint32_t note = kNoNote;         // texts for the access log that stand nowhere else
  uint32_t request_head_bytes = 0;
  uint32_t response_head_bytes = 0;  // trailers too
  uint16_t method = 0;             // in the MethodTable
  uint16_t target_status = 0;      // of the response head
  uint16_t own_status = 0;         // of an answer of our own; 0: there is none
  uint16_t rule_priority = 0;      // 0: the default rule
  int8_t grpc_status = -1;         // -1: none came
  uint8_t reason = 0;              // why we ended it, or the client: Observer::reason_text()
  EndedBy ended_by = EndedBy::Target;
  bool settled = false;            // ended_by stands: later events change it no more
  bool logged = false;             // there will be an access record
  TraceId trace;                   // of a logged request, if it began here
  http::HeaderRunRef run;          // has the texts of a logged request, when its head began with them
};

}  // namespace weir::proxy
