// The life of a request: see the diagram in exchange.h and docs/life-of-a-request.md.
#include "proxy/exchange.h"

#include "grpc/status.h"
#include "proxy/local_reply.h"
#include "proxy/request_head.h"
#include "proxy/router.h"
#include "proxy/worker.h"

namespace weir::proxy {

using http::Field;
using http::Token;
using http::h2::ErrorCode;

namespace {

constexpr int kUnavailable = static_cast<int>(grpc::Code::Unavailable);
constexpr Duration kForever = std::chrono::hours(24 * 365);
constexpr Duration kLookAgain = std::chrono::hours(1);  // at a stream's idle timeout

}  // namespace

void Worker::start_exchange(Downstream& down, Handle<Downstream> down_handle, http::h2::StreamHandle stream,
                            http::h2::Stream& s, const http::h2::HeadersEvent& event) {
  ++counters_.requests;
  observer_.arrived(down.facts(), event, now());
  const Field* type = event.list.find(Token::ContentType);
  RequestKind kind{type != nullptr && grpc::is_grpc_content_type(type->value), http::is(event.head.method, "HEAD")};
  uint64_t tokens = event.list.tokens();
  if (looks_refusable(event.list, event.head, tokens)) [[unlikely]] {
    if (auto refusal = refusal_of(event.list, event.head)) {
      const Field* method = event.list.find(Token::Method);  // the head of an oversized list was not looked at
      kind.is_head = method != nullptr && http::is(method->value, "HEAD");
      return reject(down, stream, kind, {refusal->http_status, refusal->grpc_code, refusal->message});
    }
  }
  if (buffers_.bytes_in_use() > options_.buffered_bytes_max || exchanges_.full()) {
    ++defences_.requests_refused;
    return reject(down, stream, kind, {503, 8, "the load balancer is out of memory for requests"});
  }
  const RuleAction& action = down.listener().router.route({event.head, event.list, down.client_ip()}, arena_);
  if (action.kind == model::Action::Kind::FixedResponse) return reject_fixed(down, stream, kind, action);
  Handle<Group> group_handle = action.choose(random_);
  Group* group = groups_.resolve(group_handle);
  if (group == nullptr) {
    return reject(down, stream, kind, {503, kUnavailable, "the rule forwards to no target group"});
  }
  if (group->protocol_version == model::ProtocolVersion::Grpc && !http::is(event.head.method, "POST")) {
    return reject(down, stream, kind, {464, 2, "a GRPC target group takes POST requests only"});
  }
  if (group->targets.empty()) {
    return reject(down, stream, kind, {503, kUnavailable, "no target is registered with the target group"});
  }
  ExchangeHandle handle = exchanges_.emplace();
  Exchange& e = *exchanges_.resolve(handle);
  s.user = pack(handle);
  e.down = down_handle;
  e.down_stream = stream;
  e.group = group_handle;
  e.is_grpc = kind.is_grpc;
  e.is_head = kind.is_head;
  e.request_ended = event.end_stream;
  observer_.begun(e, action.priority);
  set_timers(e, handle, tokens & http::token_bit(Token::GrpcTimeout) ? event.list.find(Token::GrpcTimeout) : nullptr);
  TargetHead head = build_request(down, event.list, tokens, {arena_, trace_ids_, unix_seconds_, runs_});
  observer_.head_made(e, head.fields.fields, head.trace);
  if (head.invalid_names != TargetHead::InvalidNames::None) [[unlikely]] observer_.invalid_names(head.invalid_names);
  keep_for_replay(e, down, head.fields);
  if (auto failure = dispatch(e, handle, head.fields)) answer(e, handle, *failure);
}

void Worker::reject(Downstream& down, http::h2::StreamHandle stream, RequestKind kind, const Outcome& outcome) {
  ++counters_.local_replies;
  observer_.refused(kind.is_grpc, {outcome.http_status, outcome.grpc_code}, outcome.message, now());
  LocalReply reply{outcome.http_status, outcome.grpc_code, outcome.message,
                   reply_style(kind.is_grpc, snapshot_->strict_alb)};
  reply.is_head = kind.is_head;
  send_local_reply(down.connection(), stream, reply, {down.listener(), unix_seconds_});
}

void Worker::reject_fixed(Downstream& down, http::h2::StreamHandle stream, RequestKind kind,
                          const RuleAction& action) {
  ++counters_.local_replies;
  observer_.answered_by_rule(kind.is_grpc, {action.status, static_cast<int>(grpc::code_of_http_status(action.status))},
                             action.priority, now());
  LocalReply reply{action.status, static_cast<int>(grpc::code_of_http_status(action.status)), action.body,
                   reply_style(kind.is_grpc, snapshot_->strict_alb)};
  reply.is_head = kind.is_head;
  reply.is_fixed = true;
  reply.content_type = action.content_type;
  send_local_reply(down.connection(), stream, reply, {down.listener(), unix_seconds_});
}

void Worker::keep_for_replay(Exchange& e, Downstream& down, const http::h2::OutgoingHeaders& fields) {
  if (down.held_head_bytes() > kHeldHeadBytesMax || buffers_.bytes_in_use() > options_.buffered_bytes_max / 2 ||
      replays_.full()) {
    ++defences_.requests_not_held;
    return;
  }
  e.replay = replays_.emplace(buffers_);
  Replay& r = *replays_.resolve(e.replay);
  r.prefix = http::HeaderRunRef(fields.prefix);
  r.suffix = http::HeaderRunRef(fields.suffix);
  http::pack_fields(fields.fields, r.bytes);
  r.head_bytes = static_cast<uint32_t>(r.bytes.size());
  r.end_stream = e.request_ended;
  down.hold_head(r.head_bytes);
}

void Worker::drop_replay(Exchange& e) {
  if (!e.replay.valid()) return;
  if (Downstream* down = downstreams_.resolve(e.down)) down->release_head(replays_.resolve(e.replay)->head_bytes);
  replays_.release(e.replay);
  e.replay = {};
}

// A change of the setting counts for running streams too, at the latest kLookAgain later.
Duration Worker::idle_timeout_of(const Exchange& e) {
  const Group* group = groups_.resolve(e.group);
  uint32_t ms = group == nullptr ? model::kAsLoadBalancer : group->stream_idle_ms;
  if (ms == model::kAsLoadBalancer) ms = snapshot_->idle_timeout_ms;
  return ms == model::kUnlimited ? kForever : std::chrono::milliseconds(ms);
}

void Worker::set_timers(Exchange& e, ExchangeHandle handle, const Field* timeout) {
  touch(e);
  TimePoint due = now() + std::min<Duration>(idle_timeout_of(e), kLookAgain);
  if (timeout != nullptr && !snapshot_->strict_alb) {  // ALB passes grpc-timeout on, and no more
    if (auto d = grpc::parse_timeout(timeout->value); d && *d < std::chrono::hours(24 * 365)) {
      e.deadline = now() + *d;
      due = std::min(due, e.deadline);
    }
  }
  wheel_.set(handle.index, due);
}

// Chooses a target, opens a stream to it and sends the head. Returns what to tell the client on failure.
std::optional<Worker::Outcome> Worker::dispatch(Exchange& e, ExchangeHandle handle,
                                                const http::h2::OutgoingHeaders& fields) {
  Group* group = groups_.resolve(e.group);
  TargetHandle avoid = e.target;
  e.target = {};
  if (group == nullptr) return Outcome{503, kUnavailable, "the target group was deleted"};
  for (int tries = 0; tries < kAttemptsMax; ++tries) {
    TargetHandle chosen;
    Target* target = choose_target(*group, targets_, {random_, now(), avoid}, chosen);
    if (target == nullptr) return Outcome{503, kUnavailable, "all targets of the target group are draining"};
    Upstream* up = connection_to(*target, chosen);
    http::h2::StreamHandle stream;
    if (up != nullptr) stream = up->connection().open_stream(pack(handle));
    if (stream.valid() && e.is_head) [[unlikely]] streams_.resolve(stream)->expects_no_body = true;
    if (!stream.valid()) {
      avoid = chosen;
      continue;
    }
    e.up = up->self_;
    e.up_stream = stream;
    ++e.attempts;
    begin_on_target(e, handle, *group, chosen);
    observer_.sent(e, chosen, *target, now());
    up->note_opened(up->connection().latest_local_id());
    send_request(e, up->connection(), fields);
    return std::nullopt;
  }
  return Outcome{503, kUnavailable, "every connection to the targets carries its maximum of streams"};
}

// Head and the body bytes held so far (none at the first attempt).
void Worker::send_request(Exchange& e, http::h2::Connection& to, const http::h2::OutgoingHeaders& fields) {
  const Replay* r = replays_.resolve(e.replay);  // none: not held, so this is the only attempt
  std::span<const uint8_t> body;
  if (r != nullptr) body = r->bytes.bytes().subspan(r->head_bytes);
  e.request_sent = 0;
  to.send_headers(e.up_stream, fields, (r != nullptr ? r->end_stream : e.request_ended) && body.empty());
  if (!body.empty()) credit_client(e, to.send_data(e.up_stream, body, r->end_stream));
}

// Gives the client credit for bytes that left.
void Worker::credit_client(Exchange& e, size_t bytes) {
  size_t owed = newly_sent(e, bytes);
  Downstream* down = owed > 0 ? downstreams_.resolve(e.down) : nullptr;
  if (down != nullptr) down->connection().consume(e.down_stream, owed);
}

size_t Worker::forward_request_data(ExchangeHandle handle, std::span<const uint8_t> bytes, bool end_stream) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return 0;
  touch(*e);
  e->request_ended = end_stream;
  e->request_bytes += bytes.size();
  observer_.request_data(*e, bytes);
  if (e->replay.valid()) {
    Replay& r = *replays_.resolve(e->replay);
    if (r.bytes.size() + bytes.size() > kReplayBytesMax) {
      drop_replay(*e);
    } else {
      r.bytes.append(bytes);
      r.end_stream = end_stream;
    }
  }
  Upstream* up = upstreams_.resolve(e->up);
  if (up == nullptr) {
    give_up_waiting(*e, handle);
    return 0;
  }
  note_request_data(*e, bytes.size());
  return newly_sent(*e, up->connection().send_data(e->up_stream, bytes, end_stream));
}

void Worker::forward_request_trailers(ExchangeHandle handle, const http::HeaderList& list) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  e->request_ended = true;
  drop_replay(*e);  // gRPC has no request trailers: not worth holding
  if (Upstream* up = upstreams_.resolve(e->up))
    up->connection().send_headers(e->up_stream, http::h2::OutgoingHeaders(list), true);
  else
    give_up_waiting(*e, handle);
}

void Worker::forward_response_headers(ExchangeHandle handle, const http::h2::HeadersEvent& event) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  Downstream* down = downstreams_.resolve(e->down);
  if (down == nullptr) return;
  if (event.list.too_large) {
    return answer(
        *e, handle,
        {502, static_cast<int>(grpc::Code::Internal), "response headers of the target are too large"});
  }
  if (e->concerns & kOutcome) [[unlikely]] note_response(*e, event);
  if (event.end_stream && !e->responded && retry_by_policy(*e, handle, event)) return;
  drop_replay(*e);
  e->responded = true;
  touch(*e);
  const Target* target = event.kind == http::h2::HeadersEvent::Kind::Head ? targets_.resolve(e->target) : nullptr;
  observer_.response_head(*e, event, target != nullptr ? target->metrics : nullptr, now());
  ResponseRules& rules = down->listener().response;
  bool edited = rules.active() && event.kind == http::h2::HeadersEvent::Kind::Head;
  down->connection().send_headers(
      e->down_stream, edited ? rules.apply(event.list, runs_) : http::h2::OutgoingHeaders(event.list),
      event.end_stream);
  if (!event.end_stream) return;
  if (!e->request_ended) down->connection().reset_after_end(e->down_stream);
  response_over(*e, handle);
}

size_t Worker::forward_response_data(ExchangeHandle handle, std::span<const uint8_t> bytes, bool end_stream) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return 0;
  Downstream* down = downstreams_.resolve(e->down);
  if (down == nullptr) return 0;
  touch(*e);
  size_t boundary = observer_.response_data(*e, bytes);
  if (e->concerns != 0 && leaves_at_boundary(*e, handle, bytes, boundary)) [[unlikely]] return 0;
  e->response_bytes += bytes.size();
  size_t sent = down->connection().send_data(e->down_stream, bytes, end_stream);
  if (!end_stream) [[likely]] return sent;
  note_outcome(*e, false);
  if (!e->request_ended) down->connection().reset_after_end(e->down_stream);
  response_over(*e, handle);
  return 0;
}

void Worker::return_credit_upstream(ExchangeHandle handle, size_t bytes) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  touch(*e);
  if (Upstream* up = upstreams_.resolve(e->up)) up->connection().consume(e->up_stream, bytes);
  if (e->response_over && streams_.resolve(e->down_stream)->pending == nullptr) end_exchange(*e, handle);
}

void Worker::return_credit_downstream(ExchangeHandle handle, size_t bytes) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  touch(*e);
  credit_client(*e, bytes);
}

void Worker::client_cancelled(ExchangeHandle handle, std::string_view why) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  observer_.cancelled(*e, why);
  end_exchange(*e, handle);
}

// Only a request that no target can have seen is sent again: refused, above GOAWAY's id, or never written.
bool Worker::retry(Exchange& e, ExchangeHandle handle) {
  if (e.responded || !e.replay.valid() || e.attempts >= kAttemptsMax) return false;
  ++counters_.retries;
  TargetHandle failed = e.target;
  end_on_target(e);
  e.up = {};
  e.up_stream = {};
  e.target = failed;  // to be avoided
  send_again(e, handle);
  return true;
}

void Worker::target_reset(ExchangeHandle handle, ErrorCode code, http::h2::Sink::ResetBy by) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  bool refused = code == ErrorCode::RefusedStream && by == http::h2::Sink::ResetBy::Remote;
  if (refused && retry(*e, handle)) return;
  if (Target* t = targets_.resolve(e->target)) ++t->failed;
  if (code != ErrorCode::NoError) note_outcome(*e, true);
  if (refused && e->retried_by_policy && !e->responded) {
    // REFUSED_STREAM would tell the client that nobody has seen the request: it would send it again.
    return answer(*e, handle, {503, kUnavailable, "a target failed the request and the others refused it"});
  }
  Downstream* down = downstreams_.resolve(e->down);
  if (by == http::h2::Sink::ResetBy::Local) {
    dump_target_frames(*e, code);
    return answer(*e, handle,
                  {502, static_cast<int>(grpc::Code::Internal), "the target broke the HTTP/2 protocol"});
  }
  observer_.reset_by_target(*e, code);
  if (code != ErrorCode::Cancel && code != ErrorCode::NoError && code != ErrorCode::RefusedStream) {
    dump_target_frames(*e, code);
  }
  // The client hears what the target said; NO_ERROR before the end would lie about success.
  if (down != nullptr) {
    down->connection().reset(e->down_stream, code == ErrorCode::NoError ? ErrorCode::InternalError : code);
  }
  end_exchange(*e, handle);
}

void Worker::target_lost(ExchangeHandle handle, bool unsent, std::string_view why) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  if (unsent && retry(*e, handle)) return;
  if (Target* t = targets_.resolve(e->target)) ++t->failed;
  note_outcome(*e, true);
  std::string message = "connection to the target was lost: " + std::string(why);
  answer(*e, handle, {502, kUnavailable, message});
}

// Our own answer, and the end.
void Worker::answer(Exchange& e, ExchangeHandle handle, const Outcome& outcome) {
  ++counters_.local_replies;
  observer_.answered(e, {outcome.http_status, outcome.grpc_code}, outcome.message);
  if (Downstream* down = downstreams_.resolve(e.down)) {
    LocalReply reply{outcome.http_status, outcome.grpc_code, outcome.message,
                     reply_style(e.is_grpc, snapshot_->strict_alb), e.responded, e.is_head};
    reply.reset_code = outcome.reset_code;
    send_local_reply(down->connection(), e.down_stream, reply, {down->listener(), unix_seconds_});
  }
  response_over(e, handle);
}

// Nothing more comes from the target. A target stream that still runs is cancelled.
void Worker::leave_target(Exchange& e) {
  drop_replay(e);
  if (Upstream* up = upstreams_.resolve(e.up)) {
    up->connection().reset(e.up_stream, ErrorCode::Cancel);
    if (up->connection().goaway_received()) up->close_when_idle();
  }
  end_on_target(e);
  e.up = {};
  e.up_stream = {};
}

// The response is complete. The exchange ends, or waits until the client has taken the rest.
void Worker::response_over(Exchange& e, ExchangeHandle handle) {
  http::h2::Stream* s = streams_.resolve(e.down_stream);
  if (s == nullptr || s->pending == nullptr) return end_exchange(e, handle);
  e.response_over = true;
  e.deadline = {};
  if (Target* t = targets_.resolve(e.seen.target)) ++t->waiting_responses;
  leave_target(e);
}

// The one way out.
void Worker::end_exchange(Exchange& e, ExchangeHandle handle) {
  wheel_.clear(handle.index);
  Downstream* down = downstreams_.resolve(e.down);
  const ConnectionFacts* client = down != nullptr ? &down->facts() : nullptr;
  Target* target = targets_.resolve(e.seen.target);
  observer_.ended(e, target, groups_.resolve(e.group), client, now());
  if (e.response_over && target != nullptr) --target->waiting_responses;  // the next tick releases it
  leave_target(e);
  exchanges_.release(handle);
}

void Worker::on_wheel(uint32_t index) {
  ExchangeHandle handle = exchanges_.at(index);
  Exchange& e = *exchanges_.resolve(handle);
  if (e.deadline != TimePoint{} && e.deadline <= now()) {
    note_code(e, static_cast<int>(grpc::Code::DeadlineExceeded));
    return answer(e, handle, {504, static_cast<int>(grpc::Code::DeadlineExceeded), "grpc-timeout is over"});
  }
  if (retry_waits(e, handle)) return;
  TimePoint idle_at = e.last_activity + idle_timeout_of(e);
  if (idle_at <= now() && snapshot_->ping_counts_as_life) {
    Downstream* down = downstreams_.resolve(e.down);
    if (down != nullptr) idle_at = std::max(idle_at, down->connection().last_ping_at() + idle_timeout_of(e));
  }
  if (idle_at <= now()) return idle_timeout(e, handle);
  TimePoint due = std::min(idle_at, now() + kLookAgain);
  wheel_.set(index, e.deadline != TimePoint{} ? std::min(due, e.deadline) : due);
}

// No body byte either way for too long (alb.md 4.5): 504 before the response began, 408 where an HTTP client owes us
// its request; a response that runs ends with a gRPC status, or as ALB's does with PROTOCOL_ERROR.
void Worker::idle_timeout(Exchange& e, ExchangeHandle handle) {
  http::h2::Stream* s = streams_.resolve(e.down_stream);
  if (s != nullptr && s->pending != nullptr) {
    // The client reads nothing: trailers would wait behind the bytes that wait, for ever.
    ++defences_.streams_stalled;
    observer_.answered(e, {504, kUnavailable}, "idle timeout: the client reads nothing");
    if (Downstream* down = downstreams_.resolve(e.down)) down->connection().reset(e.down_stream, ErrorCode::Cancel);
    return end_exchange(e, handle);
  }
  bool client_owes = !e.is_grpc && !e.request_ended && !e.responded;
  answer(e, handle, {client_owes ? 408 : 504, kUnavailable, "idle timeout: no message in either direction",
                     ErrorCode::ProtocolError});
}

}  // namespace weir::proxy
