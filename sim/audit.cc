#include "sim/audit.h"

#include <algorithm>
#include <charconv>

#include "grpc/status.h"
#include "sim/config.h"

namespace weir::sim {

using proxy::AccessRecord;
using proxy::ActionTaken;
using proxy::EndedBy;

namespace {

// Calls name themselves in the user agent, or in the trace id, which the balancer keeps.
uint64_t id_behind(std::string_view text, std::string_view mark) {
  size_t at = text.find(mark);
  if (at == std::string_view::npos) return 0;
  uint64_t id = 0;
  std::from_chars(text.data() + at + mark.size(), text.data() + text.size(), id);
  return id;
}

uint64_t metric(const std::vector<model::Metric>& all, std::string_view name) {
  for (const model::Metric& m : all) {
    if (m.name == name) return m.value;
  }
  return 0;
}

const Execution* last_of(const Call& call) { return call.executions.empty() ? nullptr : &call.executions.back(); }

}  // namespace

void Audit::collect(Balancer& balancer) {
  balancer.take_records([this](const AccessRecord& record, const char* texts) { take(record, texts); });
}

void Audit::take(const AccessRecord& record, const char* texts) {
  std::string_view text[proxy::kAccessTexts];
  for (int i = 0; i < proxy::kAccessTexts; ++i) {
    text[i] = {texts, record.lengths[i]};
    texts += record.lengths[i];
  }
  ++records_;
  uint64_t id = id_behind(text[proxy::kTextUserAgent], "call/");
  if (id == 0) id = id_behind(text[proxy::kTextTrace], ";call=");
  if (ledger_.find(id) == nullptr) return ledger_.violation("a record of the access log belongs to no call");
  by_call_[id].push_back({record, std::string(text[proxy::kTextGroup]), std::string(text[proxy::kTextPath]),
                          std::string(text[proxy::kTextReason])});
}

void Audit::differ(const Call& call, const Seen& seen, const std::string& why) {
  const AccessRecord& r = seen.record;
  ledger_.lie(call, "its record (status " + std::to_string(r.grpc_status) + ", ended by " +
                        std::string(proxy::to_string(r.ended_by)) + " '" + seen.reason + "', attempts " +
                        std::to_string(r.attempts) + ", messages " + std::to_string(r.request_messages) + "/" +
                        std::to_string(r.response_messages) + ", target " + std::to_string(r.target_port) +
                        ") differs: " + why);
}

void Audit::expect_equal(const std::string& what, uint64_t counted, uint64_t expected) {
  if (counted == expected) return;
  ledger_.violation(what + ": " + std::to_string(counted) + " are counted, expected are " + std::to_string(expected));
}

void Audit::check(Balancer& balancer) {
  collect(balancer);
  model::Stats stats = balancer.stats();
  if (mix_.access_log) {
    for (const Call& call : ledger_.calls()) check_call(call);
    check_totals(balancer, stats);
  }
  check_methods(stats, balancer.counters().requests);
}

void Audit::check_call(const Call& call) {
  auto found = by_call_.find(call.plan.id);
  size_t count = found == by_call_.end() ? 0 : found->second.size();
  bool arrived = !call.executions.empty() || call.ending.kind == Ending::Kind::Status;
  if (count > 1 || (arrived && count == 0)) {
    return ledger_.lie(call, std::to_string(count) + " records in the access log");
  }
  if (count == 0) return;
  const Seen& seen = found->second.front();
  const AccessRecord& r = seen.record;
  if (seen.path != path_of(call.lane)) differ(call, seen, "path " + seen.path);
  if (!r.is_grpc || r.tls != mix_.tls) differ(call, seen, "the kind of the request");
  if (r.attempts < call.executions.size() || r.attempts > 5) differ(call, seen, "the number of tries");
  if (r.request_messages > call.messages_sent) differ(call, seen, "more messages than the client sent");
  const Execution* last = last_of(call);
  if (last != nullptr && r.request_messages < last->messages) differ(call, seen, "fewer messages than the server saw");
  if (r.response_messages < call.ending.messages) differ(call, seen, "fewer messages than the client saw");
  if (call.ending.kind == Ending::Kind::Status) check_status(call, seen);
  if (call.ending.kind == Ending::Kind::Reset) check_reset(call, seen);
  bool gave_up = call.ending.kind == Ending::Kind::Cancelled || call.ending.kind == Ending::Kind::Lost;
  if (gave_up && r.ended_by == EndedBy::Client && r.grpc_status < 0) differ(call, seen, "there is no status");
}

void Audit::check_status(const Call& call, const Seen& seen) {
  const AccessRecord& r = seen.record;
  const Ending& e = call.ending;
  bool page = e.http_status != 200;
  bool same = page ? r.elb_status == e.http_status : r.grpc_status == e.grpc_status;
  if (!same) differ(call, seen, "the client was told another status");
  if (r.response_messages != e.messages) {
    differ(call, seen, "the client saw " + std::to_string(e.messages) + " messages");
  }
  bool of_server = e.message.starts_with("server ");
  if (of_server != (r.ended_by == EndedBy::Target)) differ(call, seen, "somebody else ended it");
  if (!of_server && (!page || e.message == kFixedBody) &&
      seen.reason != (e.message == kFixedBody ? "fixed response" : e.message)) {
    differ(call, seen, "another reason");
  }
  bool fixed = e.message == kFixedBody && call.lane == Lane::Fixed;
  if (fixed != (r.action == ActionTaken::FixedResponse)) differ(call, seen, "another action");
  if (fixed && r.rule_priority != 2) differ(call, seen, "another rule");
  if (call.lane == Lane::Other && r.action == ActionTaken::Forward && r.rule_priority != 1) {
    differ(call, seen, "another rule");
  }
  const Execution* last = last_of(call);
  if (!of_server || last == nullptr) return;
  if (r.target_port != last->port || seen.group != kGroupNames[last->group]) differ(call, seen, "another target did it");
  if (call.plan.fate == Fate::Finish && e.message.starts_with("server says") && !last->failed &&
      r.request_messages != call.plan.messages[0]) {
    differ(call, seen, "not all messages of the request");
  }
}

void Audit::check_reset(const Call& call, const Seen& seen) {
  const AccessRecord& r = seen.record;
  if (r.ended_by == EndedBy::Balancer) {
    bool deadline = call.plan.deadline && r.grpc_status == 4;  // its answer waited behind what the client never took
    if (r.grpc_status != 14 && !deadline) differ(call, seen, "a reset of ours with another status");
    return;
  }
  if (r.ended_by != EndedBy::Target) return;  // the client's side ended it when it was reset already
  auto code = static_cast<http::h2::ErrorCode>(call.ending.code);
  bool no_error = call.plan.fate == Fate::Reset && call.plan.reset_code == 0;
  if (no_error && code == http::h2::ErrorCode::InternalError) code = http::h2::ErrorCode::NoError;
  if (r.grpc_status != static_cast<int>(grpc::code_of_reset(code))) differ(call, seen, "another status than the reset's");
}

// Methods and their codes, as the records have them.
void Audit::check_methods(const model::Stats& stats, uint64_t requests) {
  std::map<std::string, model::MethodStats> expected;
  for (const auto& [id, seen] : by_call_) {
    for (const Seen& s : seen) {
      model::MethodStats& m = expected[s.path];
      m.by_code.resize(18);
      ++m.started;
      ++m.by_code[s.record.grpc_status >= 0 && s.record.grpc_status <= 16 ? static_cast<size_t>(s.record.grpc_status)
                                                                           : 17];
      m.request_messages += s.record.request_messages;
      m.response_messages += s.record.response_messages;
    }
  }
  uint64_t started = 0;
  for (const model::MethodStats& m : stats.methods) {
    started += m.started;
    expect_equal(m.name + " open", m.open, 0);
    uint64_t ended = 0;
    for (uint64_t n : m.by_code) ended += n;
    expect_equal(m.name + " ended", ended, m.started);
    if (!mix_.access_log) continue;
    const model::MethodStats& e = expected[m.name];
    expect_equal(m.name + " started", m.started, e.started);
    for (size_t c = 0; c < e.by_code.size(); ++c) {
      expect_equal(m.name + " with status " + std::to_string(c), m.by_code[c], e.by_code[c]);
    }
    expect_equal(m.name + " request messages", m.request_messages, e.request_messages);
    expect_equal(m.name + " response messages", m.response_messages, e.response_messages);
  }
  expect_equal("requests by method", started, requests);
}

void Audit::check_totals(Balancer& balancer, const model::Stats& stats) {
  proxy::WorkerCounters counters = balancer.counters();
  uint64_t by[3] = {}, sent[kGroups] = {}, fixed = 0, own_4xx = 0, own_5xx = 0, attempts = 0;
  for (const auto& [id, seen] : by_call_) {
    for (const Seen& s : seen) {
      const AccessRecord& r = s.record;
      ++by[static_cast<size_t>(r.ended_by)];
      attempts += r.attempts;
      for (int g = 0; g < kGroups; ++g) sent[g] += r.attempts > 0 && s.group == kGroupNames[g];
      bool is_fixed = r.action == ActionTaken::FixedResponse;
      fixed += is_fixed;
      own_4xx += !is_fixed && r.target_status == 0 && r.elb_status / 100 == 4;
      own_5xx += !is_fixed && r.target_status == 0 && r.elb_status / 100 == 5;
    }
  }
  expect_equal("records of the access log", records_, counters.requests);
  expect_equal("requests", stats.requests_total, counters.requests);
  expect_equal("ended by targets", metric(stats.metrics, "weir_requests_ended_by_target_total"), by[0]);
  expect_equal("ended by clients", metric(stats.metrics, "weir_requests_ended_by_client_total"), by[1]);
  expect_equal("ended by us", metric(stats.metrics, "weir_requests_ended_by_load_balancer_total"), by[2]);
  expect_equal("HTTP_Fixed_Response_Count", metric(stats.metrics, "HTTP_Fixed_Response_Count"), fixed);
  expect_equal("HTTPCode_ELB_4XX_Count", metric(stats.metrics, "HTTPCode_ELB_4XX_Count"), own_4xx);
  expect_equal("HTTPCode_ELB_5XX_Count", metric(stats.metrics, "HTTPCode_ELB_5XX_Count"), own_5xx);
  uint64_t first_tries = 0;
  for (int g = 0; g < kGroups; ++g) {
    uint64_t counted = 0;
    for (const model::GroupStats& row : stats.groups) {
      if (row.group_arn == kGroupNames[g]) counted += metric(row.metrics, "RequestCount");
    }
    expect_equal(std::string("RequestCount of ") + kGroupNames[g], counted, sent[g]);
    first_tries += counted;
  }
  if (attempts > first_tries + counters.retries + counters.policy_retries) {
    ledger_.violation("more tries than first ones and retries together");
  }
  if (ledger_.retried > counters.policy_retries) ledger_.violation("servers saw more retries than are counted");
  ledger_.happened["transparent retry"] += counters.retries;
  uint64_t moved = 0;
  for (const auto& [id, seen] : by_call_) {
    for (const Seen& s : seen) moved += s.reason.find("moves this stream") != std::string::npos;
  }
  expect_equal("moved streams", counters.streams_moved, moved);
  std::map<uint16_t, uint64_t> executions;
  for (const Call& call : ledger_.calls()) {
    for (const Execution& e : call.executions) ++executions[e.port];
  }
  for (const model::TargetStats& t : stats.targets) {
    if (t.requests < executions[t.port]) {
      ledger_.violation("target " + std::to_string(t.port) + " saw " + std::to_string(executions[t.port]) +
                        " requests, counted are " + std::to_string(t.requests));
    }
  }
}

}  // namespace weir::sim
