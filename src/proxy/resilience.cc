// How requests end at their targets, as far as a group wants to know it, and retries that its policy asks for.
#include <charconv>

#include "grpc/status.h"
#include "proxy/retry_policy.h"
#include "proxy/worker.h"

namespace weir::proxy {

using http::Field;
using http::Token;
using http::h2::ErrorCode;

namespace {

constexpr std::string_view kPreviousAttempts = "grpc-previous-rpc-attempts";
constexpr std::string_view kPushback = "grpc-retry-pushback-ms";
constexpr Duration kPushbackMax = std::chrono::seconds(60);
constexpr Duration kSoon = std::chrono::milliseconds(20);
constexpr uint32_t kPreviousAttemptsMax = 1000000;

// -1: none that can be read.
int grpc_status_of(const http::HeaderList& list) {
  const Field* f = list.find(Token::GrpcStatus);
  return f == nullptr ? -1 : grpc::parse_status(f->value);
}

bool in_mask(uint32_t mask, int code) { return code >= 0 && code < 32 && (mask >> code & 1) != 0; }

const Field* find_name(std::span<const Field> fields, std::string_view name) {
  for (const Field& f : fields) {
    if (f.token == Token::Other && f.name == name) return &f;
  }
  return nullptr;
}

const Field* find_name(const http::HeaderList& list, std::string_view name) {
  const Field* in_run = list.run != nullptr ? find_name(list.run->fields(), name) : nullptr;
  return in_run != nullptr ? in_run : find_name(std::span<const Field>(list.fields), name);
}

}  // namespace

void Worker::note_response(Exchange& e, const http::h2::HeadersEvent& event) {
  if (event.kind == http::h2::HeadersEvent::Kind::Head && event.head.status >= 500) return note_outcome(e, true);
  if (event.end_stream) note_code(e, grpc_status_of(event.list));
}

void Worker::note_code(Exchange& e, int grpc_code) {
  if ((e.concerns & kOutcome) == 0) return;
  const Target* t = targets_.resolve(e.target);
  if (t != nullptr) note_outcome(e, in_mask(t->failure_codes, grpc_code));
}

// Once per try.
void Worker::record_outcome(Exchange& e, bool failed) {
  e.concerns &= static_cast<uint8_t>(~kOutcome);
  Target* t = targets_.resolve(e.target);
  if (t == nullptr) return;
  ++t->answered;
  t->failures += failed;
  uint32_t most = t->failures_in_row_max;
  if (most == 0) return;
  std::atomic<uint32_t>& in_row = t->shared->failures_in_row;
  if (!failed) {
    if (in_row.load(std::memory_order_relaxed) != 0) in_row.store(0, std::memory_order_relaxed);
    return;
  }
  uint32_t count = in_row.fetch_add(1, std::memory_order_relaxed) + 1;
  if (count >= most && count % most == 0 && !t->ejected) events_.failing({t->group_arn, t->address, t->port});
}

void Worker::add_outcomes(std::map<TargetName, AnomalyDetector::Sample>& out) {
  groups_.for_each([&](Handle<Group>, Group& group) {
    if (group.algorithm != model::Algorithm::WeightedRandom) return;
    for (TargetHandle h : group.targets) {
      const Target& t = *targets_.resolve(h);
      if (t.draining) continue;
      AnomalyDetector::Sample& o = out[{t.group_arn, t.address, t.port}];
      o.answered += t.answered;
      o.failures += t.failures;
      o.healthy = t.health == model::TargetState::Healthy;
    }
  });
}

// A Trailers-Only response whose code the group retries: the client has seen nothing of it, so that the request goes
// to another target while it is still held, tries and budget are left, and the target does not forbid it.
bool Worker::retry_by_policy(Exchange& e, ExchangeHandle handle, const http::h2::HeadersEvent& event) {
  if (!e.replay.valid() || !e.is_grpc) return false;
  Group* group = groups_.resolve(e.group);
  if (group == nullptr || group->retry.grpc_codes == 0) return false;
  if (!in_mask(group->retry.grpc_codes, grpc_status_of(event.list))) return false;
  Replay& r = *replays_.resolve(e.replay);
  if (r.policy_retries + 1u >= group->retry.attempts_max || e.attempts >= kAttemptsMax) return false;
  Duration wait{};
  if (const Field* pushback = find_name(event.list, kPushback)) {
    auto asked = parse_pushback(pushback->value);
    if (!asked || *asked > kPushbackMax) return false;
    wait = *asked;
  }
  if (e.deadline != TimePoint{} && now() + wait >= e.deadline) return false;
  if (!group->retry_budget.take(now())) return false;
  ++r.policy_retries;
  e.retried_by_policy = true;
  ++counters_.policy_retries;
  if (Upstream* up = upstreams_.resolve(e.up)) up->connection().reset(e.up_stream, ErrorCode::Cancel);
  TargetHandle failed = e.target;
  end_on_target(e);
  e.up = {};
  e.up_stream = {};
  if (wait > Duration{}) {
    r.avoid = failed;
    r.retry_at = now() + wait;
    wheel_.set(handle.index, e.deadline != TimePoint{} ? std::min(e.deadline, r.retry_at) : r.retry_at);
    return true;
  }
  e.target = failed;  // to be avoided
  send_again(e, handle);
  return true;
}

// Called when the exchange's time has come: the wait that a target asked for may be over.
bool Worker::retry_waits(Exchange& e, ExchangeHandle handle) {
  Replay* r = replays_.resolve(e.replay);
  if (r == nullptr || r->retry_at == TimePoint{}) return false;
  if (r->retry_at > now()) {
    wheel_.set(handle.index, e.deadline != TimePoint{} ? std::min(e.deadline, r->retry_at) : r->retry_at);
    return true;
  }
  r->retry_at = {};
  e.target = r->avoid;
  touch(e);
  wheel_.set(handle.index, now() + kSoon);  // looks up what is due then
  send_again(e, handle);
  return true;
}

// The request outgrew what can be held while its retry waited.
void Worker::give_up_waiting(Exchange& e, ExchangeHandle handle) {
  if (e.response_over || e.responded || e.replay.valid() || e.target.valid()) return;
  answer(e, handle, {503, static_cast<int>(grpc::Code::Unavailable),
                     "the target asked for a retry, but more than 64 KiB of the request came meanwhile"});
}

// Sends a held request once more. It may end the exchange.
void Worker::send_again(Exchange& e, ExchangeHandle handle) {
  Replay& r = *replays_.resolve(e.replay);
  fields_.clear();
  http::unpack_fields(r.bytes.bytes().first(r.head_bytes), fields_);
  http::h2::OutgoingHeaders request(r.prefix.get(), fields_, r.suffix.get());
  if (r.policy_retries > 0) add_previous_attempts(r.policy_retries, request);
  if (auto failure = dispatch(e, handle, request)) answer(e, handle, *failure);
}

// gRFC A6: how many tries came before this one, those of the client included. The fields are in fields_.
void Worker::add_previous_attempts(uint32_t attempts, http::h2::OutgoingHeaders& request) {
  if (request.prefix != nullptr && find_name(request.prefix->fields(), kPreviousAttempts) != nullptr) {
    std::span<const Field> run = request.prefix->fields();
    fields_.insert(fields_.begin(), run.begin(), run.end());
    request.prefix = nullptr;
  }
  if (const Field* before = find_name(fields_, kPreviousAttempts)) {
    uint32_t count = 0;
    std::from_chars(before->value.data(), before->value.data() + before->value.size(), count);
    attempts += std::min(count, kPreviousAttemptsMax);
    std::erase_if(fields_, [](const Field& f) { return f.token == Token::Other && f.name == kPreviousAttempts; });
  }
  constexpr size_t kDigits = 10;
  char* text = arena_.allocate(kDigits);
  char* end = std::to_chars(text, text + kDigits, attempts).ptr;
  std::string_view value(text, static_cast<size_t>(end - text));
  fields_.push_back({kPreviousAttempts, value, http::field_hash(kPreviousAttempts, value), Token::Other, false});
  request.fields = fields_;
}

}  // namespace weir::proxy
