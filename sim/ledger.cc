#include "sim/ledger.h"

#include <algorithm>
#include <cstdio>

namespace weir::sim {

namespace {
constexpr uint32_t kProtocolError = 1, kInternalError = 2, kRefusedStream = 7, kCancel = 8, kEnhanceYourCalm = 11;

int processed(const Call& call) {
  return static_cast<int>(
      std::count_if(call.executions.begin(), call.executions.end(), [](const Execution& e) { return !e.refused; }));
}
// Those that did what the plan says, not only failed.
int completed(const Call& call) {
  return static_cast<int>(std::count_if(call.executions.begin(), call.executions.end(),
                                        [](const Execution& e) { return !e.refused && !e.failed; }));
}
bool finished(const Call& call) {
  return std::any_of(call.executions.begin(), call.executions.end(), [](const Execution& e) { return e.finished; });
}
bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
}  // namespace

std::string_view path_of(Lane lane) {
  switch (lane) {
    case Lane::Other: return "/sim.Other/Call";
    case Lane::Fixed: return "/sim.Fixed/Call";
    default: return "/sim.Service/Call";
  }
}

Call& Ledger::start(Plan plan, TimePoint now) {
  calls_.push_back({});
  Call& call = calls_.back();
  call.plan = std::move(plan);
  call.started = call.progress = now;
  ++open_;
  if (trace) note(now, "call " + std::to_string(call.plan.id) + " starts: " + call.plan.text());
  return call;
}

void Ledger::note(TimePoint now, std::string_view what) {
  auto mix_in = [this](uint64_t word) { digest_ = (digest_ ^ word) * 1099511628211ull; };
  mix_in(static_cast<uint64_t>(now.time_since_epoch().count()));
  for (char c : what) mix_in(static_cast<unsigned char>(c));
  if (trace) {
    std::printf("%14.6f %.*s\n", static_cast<double>(now.time_since_epoch().count()) / 1e9 - 3600,
                static_cast<int>(what.size()), what.data());
  }
}

void Ledger::violation(std::string text) {
  if (trace) std::printf("VIOLATION %s\n", text.c_str());
  if (violations_.size() < 20) violations_.push_back(std::move(text));
}

void Ledger::lie(const Call& call, const std::string& why) {
  static constexpr const char* kKinds[] = {"open", "status", "reset", "lost", "cancelled", "never sent"};
  violation("call " + std::to_string(call.plan.id) + " (" + call.plan.text() + ") ended with " +
            kKinds[static_cast<int>(call.ending.kind)] + " status=" + std::to_string(call.ending.grpc_status) +
            " code=" + std::to_string(call.ending.code) + " message='" + call.ending.message +
            "' executions=" + std::to_string(call.executions.size()) + ": " + why);
}

void Ledger::end(Call& call, Ending ending, TimePoint now) {
  if (call.ending.kind != Ending::Kind::Open) return lie(call, "it ended twice");
  call.ending = std::move(ending);
  call.ended = now;
  --open_;
  char text[160];
  std::snprintf(text, sizeof text, "call %llu ends kind=%d status=%d code=%u complete=%d '%s'",
                static_cast<unsigned long long>(call.plan.id), static_cast<int>(call.ending.kind),
                call.ending.grpc_status, call.ending.code, call.ending.complete, call.ending.message.c_str());
  note(now, text);
  judge(call, now);
}

// A call has arrived at a server: may it?
void Ledger::check_execution(const Call& call, TimePoint now) {
  const Execution& e = call.executions.back();
  bool always = call.lane == Lane::Other || !mix_.settings_churn;  // that rule is always there
  if (always && call.lane == Lane::Fixed) lie(call, "a request that a rule answers came to a server");
  if (always && call.lane != Lane::Default && e.group != 1) lie(call, "it came to a group that its rule does not name");
  uint32_t failures = 0;
  const Execution* before = nullptr;
  for (size_t i = 0; i + 1 < call.executions.size(); ++i) {
    if (call.executions[i].refused || !call.executions[i].failed) continue;
    ++failures;
    before = &call.executions[i];
  }
  if (e.previous_attempts != failures) lie(call, "grpc-previous-rpc-attempts does not say how many failed");
  if (before == nullptr || call.executions[call.executions.size() - 2].refused) return;
  ++retried;
  ++happened["try after a failure"];
  auto& recent = retries_[e.group];
  recent.push_back(now);
  while (now - recent.front() > std::chrono::seconds(8)) recent.pop_front();
  uint64_t floor = static_cast<uint64_t>(100 + 10 * mix_.workers);
  uint64_t most = mix_.retry_budget_percent == 0 ? 0 : floor + calls_.size() * mix_.retry_budget_percent / 100;
  if (recent.size() > most) lie(call, "more retries than the budget has");
}

// Processed twice only where the policy says so.
void Ledger::judge_executions(const Call& call) {
  if (completed(call) > 1) lie(call, "more than one server completed it");
  int tries = processed(call);
  if (tries < 2) return;
  const Plan& plan = call.plan;
  if (static_cast<uint32_t>(tries) > mix_.retry_attempts_max) lie(call, "more tries than the policy allows");
  bool told = plan.failures > 0 && !plan.pushback.empty();
  if (told && !plan.pushback_ms()) lie(call, "another try was forbidden");
  const Execution* before = nullptr;
  for (const Execution& e : call.executions) {
    if (e.refused) continue;
    if (before != nullptr) {
      if (!before->failed) lie(call, "it was tried again although a server may have done it");
      if ((mix_.retry_codes >> before->failed_status & 1) == 0) lie(call, "it was tried again, which no policy allows");
      if (e.began - before->began < before->wait) {
        lie(call, "it was tried again before its server wanted it");
      }
    }
    before = &e;
  }
}

void Ledger::judge(const Call& call, TimePoint now) {
  judge_executions(call);
  switch (call.ending.kind) {
    case Ending::Kind::Status:
      return judge_status(call, now);
    case Ending::Kind::Reset:
      ++counts[2];
      return judge_reset(call, now);
    case Ending::Kind::Lost:
      ++counts[3];
      // On the slowest lines of all a header block takes longer than clients may take for it.
      if (mix_.odd_io && now - call.started > std::chrono::seconds(10)) return;
      if (troubles.client < call.started) lie(call, "the client's connection ended although nobody cut it");
      return;
    case Ending::Kind::NeverSent:
    case Ending::Kind::Cancelled:
      ++counts[4];
      return;
    case Ending::Kind::Open:
      return;
  }
}

void Ledger::judge_status(const Call& call, TimePoint now) {
  const Ending& e = call.ending;
  if (e.message == "server fails " + std::to_string(call.plan.id)) return judge_failure(call, now);
  bool from_server = e.message == "server says " + std::to_string(call.plan.id);
  if (!from_server) {
    ++counts[1];
    return judge_own_status(call, now);
  }
  ++counts[0];
  if (!finished(call)) lie(call, "no server finished it");
  if (e.grpc_status != call.plan.grpc_status) lie(call, "the server said another status");
  if (call.plan.fate == Fate::Finish && !e.complete) lie(call, "response messages are missing");
}

// The client was told of a failure that the policy may have retried.
void Ledger::judge_failure(const Call& call, TimePoint) {
  ++counts[0];
  const Plan& plan = call.plan;
  if (call.executions.empty() || call.executions.back().failed_status != plan.failure_status) lie(call, "its last try has not failed");
  if (call.ending.grpc_status != plan.failure_status) lie(call, "the server failed with another status");
  if (call.ending.pushback != plan.pushback) lie(call, "the server's pushback is lost");
  if (call.ending.messages != 0) lie(call, "there is a message in a failure without one");
  // Where nothing speaks against another try there must have been one.
  bool wanted = (mix_.retry_codes >> plan.failure_status & 1) != 0 && mix_.retry_budget_percent > 0;
  bool small = plan.size_class == 0 && plan.messages[0] < 100 && !mix_.tight_memory;
  bool all_seen = !mix_.goaways && !mix_.few_streams;  // else there are tries that no server sees
  bool may = (plan.pushback.empty() || plan.pushback_ms()) && !plan.deadline && !mix_.settings_churn &&
             troubles.target < call.started && troubles.no_target < call.started;
  auto tries = static_cast<uint32_t>(processed(call));
  if (wanted && small && all_seen && may && retried < 40 && call.executions.size() < 5 && tries < mix_.retry_attempts_max) {
    lie(call, "the policy allows one more try");
  }
}

// A stream that the balancer moves: at a message's end, with a hint when to come again.
void Ledger::judge_moved(const Call& call, TimePoint now) {
  ++happened["stream moved"];
  const Ending& e = call.ending;
  if (!mix_.rebalancing) lie(call, "rebalancing is off");
  if (!e.at_boundary) lie(call, "it was moved within a message");
  if (now - call.started < std::chrono::milliseconds(mix_.rebalance_age_ms)) lie(call, "it was moved too young");
  bool digits = !e.pushback.empty() && e.pushback.size() <= 3 &&
                std::all_of(e.pushback.begin(), e.pushback.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || std::stoi(e.pushback) >= 500) lie(call, "no good grpc-retry-pushback-ms came with it");
}

void Ledger::judge_idle(const Call& call, TimePoint now) {
  if (now - call.started < std::chrono::milliseconds(mix_.idle_ms_min())) lie(call, "it was not idle");
  const Plan& plan = call.plan;
  bool slow = plan.slow_reader[0] || plan.slow_reader[1] || mix_.odd_io || mix_.small_peer_windows;
  bool explained = plan.fate == Fate::Hang || slow || troubles.target >= call.started || plan.pushback_ms() > 1000;
  if (!explained) lie(call, "nothing kept it from going on");
}

// Strict mode: the balancer says in HTTP what it has to say.
void Ledger::judge_page(const Call& call, TimePoint now) {
  const Ending& e = call.ending;
  ++happened["page of strict mode"];
  if (!mix_.strict) return lie(call, "this is HTTP status " + std::to_string(e.http_status));
  bool in_trouble = troubles.target >= call.started || troubles.full >= call.started;
  if (e.message == kFixedBody) {
    if (call.lane != Lane::Fixed || e.http_status != kFixedStatus) lie(call, "no rule answers it so");
    return;
  }
  if (!e.message.starts_with("<html>") || !has(e.message, "<h1>" + std::to_string(e.http_status))) {
    return lie(call, "it is not the page of HTTP status " + std::to_string(e.http_status));
  }
  switch (e.http_status) {
    case 502:
      if (!in_trouble && troubles.drained < call.started) lie(call, "no target was in trouble");
      return;
    case 503: {
      bool refused = call.plan.refusals > 0 || mix_.few_streams || mix_.goaways;
      bool too_large = call.plan.pushback_ms() && call.plan.size_class > 0;
      bool no_target = troubles.no_target >= call.started;
      if (!in_trouble && !refused && !too_large && !no_target && !mix_.tight_memory) lie(call, "nothing explains 503");
      return;
    }
    case 504: return judge_idle(call, now);
    default: return lie(call, "the balancer may not say HTTP status " + std::to_string(e.http_status));
  }
}

// A status that the balancer made up: each has a reason that must be true.
void Ledger::judge_own_status(const Call& call, TimePoint now) {
  const Ending& e = call.ending;
  if (e.http_status != 200) return judge_page(call, now);
  if (mix_.strict && !has(e.message, "moves this stream")) lie(call, "a gRPC status in strict mode");
  if (e.grpc_status == 4) {
    if (!call.plan.deadline || now - call.started < *call.plan.deadline) lie(call, "its deadline is not over");
    return;
  }
  if (e.message == kFixedBody) {
    ++happened["fixed response"];
    if (call.lane != Lane::Fixed || e.grpc_status != 7) lie(call, "no rule answers it so");
    return;
  }
  if (e.grpc_status == 8 && has(e.message, "memory for requests")) {
    ++happened["refused for want of memory"];
    if (!mix_.tight_memory) lie(call, "there was memory");
    return;
  }
  if (e.grpc_status != 14) return lie(call, "the balancer may not say this");
  if (has(e.message, "idle timeout")) {
    judge_idle(call, now);
  } else if (has(e.message, "moves this stream")) {
    judge_moved(call, now);
  } else if (has(e.message, "deregistration delay")) {
    if (troubles.drained < call.started) lie(call, "no target left");
  } else if (has(e.message, "connection to the target") || has(e.message, "connect")) {
    if (troubles.target < call.started && troubles.full < call.started) lie(call, "no target was in trouble");
  } else if (has(e.message, "no target") || has(e.message, "draining") || has(e.message, "deleted")) {
    if (troubles.no_target < call.started) lie(call, "there was a target");
  } else if (has(e.message, "maximum of streams")) {
    if (troubles.target < call.started && troubles.full < call.started) lie(call, "streams were free");
  } else if (has(e.message, "refused")) {
    if (call.plan.refusals == 0 && !mix_.few_streams && !mix_.goaways) lie(call, "nobody refused it");
  } else if (has(e.message, "more than 64 KiB")) {
    if (!call.plan.pushback_ms() || call.plan.size_class == 0) lie(call, "it is not that large");
  } else {
    lie(call, "an unknown reason");
  }
}

void Ledger::judge_reset(const Call& call, TimePoint now) {
  uint32_t code = call.ending.code;
  if (code == kRefusedStream) {
    if (processed(call) > 0) lie(call, "a server has processed it: it may not be called refused");
    return;
  }
  bool planned = call.plan.fate == Fate::Reset && finished(call);
  uint32_t expected = call.plan.reset_code == 0 ? kInternalError : call.plan.reset_code;
  if (planned && code == expected) return;
  // The idle timeout of a response that its client does not read.
  bool was_idle = now - call.started >= std::chrono::milliseconds(mix_.idle_ms_min());
  if (code == kCancel && was_idle) return;
  if (mix_.strict && code == kProtocolError) {
    ++happened["reset of strict mode"];
    return judge_idle(call, now);
  }
  if (mix_.strict && code == kInternalError) {  // the response had begun
    if (troubles.target < call.started && troubles.drained < call.started) lie(call, "no target was in trouble");
    return;
  }
  bool too_slow = now - call.started >= std::chrono::milliseconds(mix_.slow_reader_ms);
  if (code == kEnhanceYourCalm && too_slow && (call.plan.slow_reader[1] || mix_.odd_io)) return;
  lie(call, "nobody reset it with this code");
}

bool Ledger::servers_done() const {
  return std::all_of(calls_.begin(), calls_.end(), [](const Call& call) {
    return std::all_of(call.executions.begin(), call.executions.end(), [](const Execution& e) { return e.over; });
  });
}

void Ledger::check_all_over() {
  for (Call& call : calls_) {
    if (call.ending.kind == Ending::Kind::Open) lie(call, "it never ended");
    judge_executions(call);
    for (const Execution& e : call.executions) {
      if (!e.over) lie(call, "a server still has it");
    }
  }
}

}  // namespace weir::sim
