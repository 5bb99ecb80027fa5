// The life of a request: see the diagram in exchange.h and docs/life-of-a-request.md.
#include "proxy/exchange.h"

#include <array>
#include <cstdio>

#include "base/log.h"
#include "grpc/status.h"
#include "proxy/router.h"
#include "proxy/worker.h"

namespace weir::proxy {

using http::Field;
using http::Token;
using http::h2::ErrorCode;

namespace {

constexpr size_t kRequestFieldsExtra = 4;  // what we add to a request
constexpr int kUnavailable = static_cast<int>(grpc::Code::Unavailable);

std::string_view arena_copy(Arena& arena, std::string_view a, std::string_view b) {
  char* p = arena.allocate(a.size() + b.size());
  std::memcpy(p, a.data(), a.size());
  std::memcpy(p + a.size(), b.data(), b.size());
  return {p, a.size() + b.size()};
}

// "Root=1-<8 hex of the time>-<24 hex>" (alb.md 4.7)
std::string_view fresh_trace_id(Arena& arena, Random& random, uint32_t seconds) {
  static constexpr std::string_view kHead = "Root=1-";
  static constexpr char kDigits[] = "0123456789abcdef";
  char* p = arena.allocate(kHead.size() + 8 + 1 + 24);
  char* out = p;
  std::memcpy(out, kHead.data(), kHead.size());
  out += kHead.size();
  for (int shift = 28; shift >= 0; shift -= 4) *out++ = kDigits[seconds >> shift & 15];
  *out++ = '-';
  for (int word = 0; word < 2; ++word) {
    uint64_t bits = random.next();
    for (int i = 0; i < 12; ++i, bits >>= 4) *out++ = kDigits[bits & 15];
  }
  return {p, static_cast<size_t>(out - p)};
}

}  // namespace

void Worker::start_exchange(Downstream& down, Handle<Downstream> down_handle, http::h2::StreamHandle stream,
                            http::h2::Stream& s, const http::h2::HeadersEvent& event) {
  ++counters_.requests;
  const Field* type = event.list.find(Token::ContentType);
  bool is_grpc = type != nullptr && grpc::is_grpc_content_type(type->value);
  if (event.list.too_large) {
    return reject(down, stream, is_grpc,
                  {400, 8, "request headers are larger than 64 KB or more than 100 fields"});
  }
  if (buffers_.bytes_in_use() > options_.buffered_bytes_max) {
    return reject(down, stream, is_grpc, {503, 8, "the load balancer is out of buffer memory"});
  }
  const model::Action& action =
      route(down.listener().config, {event.head, event.list, down.client_address()});
  if (action.kind == model::Action::Kind::FixedResponse) {
    grpc::Code code = grpc::code_of_http_status(action.status);
    return reject(down, stream, is_grpc, {action.status, static_cast<int>(code), action.body});
  }
  Group* group = choose_group(action);
  if (group == nullptr || group->targets.empty()) {
    return reject(down, stream, is_grpc,
                  {503, kUnavailable, "no target is registered with the target group"});
  }
  if (group->protocol_version == model::ProtocolVersion::Grpc && event.head.method != "POST") {
    return reject(down, stream, is_grpc, {464, 2, "a GRPC target group takes POST requests only"});
  }
  ExchangeHandle handle = exchanges_.emplace();
  Exchange& e = *exchanges_.resolve(handle);
  s.user = pack(handle);
  e.down = down_handle;
  e.down_stream = stream;
  e.group = group_by_arn_.find(group->arn)->second;
  e.is_grpc = is_grpc;
  e.request_ended = event.end_stream;
  set_timers(e, handle, event.list);
  build_request(down, event.list);
  keep_for_replay(e, event.list.fields);
  if (auto failure = dispatch(e, handle, event.list.fields)) answer(e, handle, *failure);
}

void Worker::reject(Downstream& down, http::h2::StreamHandle stream, bool is_grpc, const Outcome& outcome) {
  ++counters_.local_replies;
  down.reply(stream, {outcome.http_status, outcome.grpc_code, outcome.message, is_grpc, false});
}

Group* Worker::choose_group(const model::Action& action) {
  auto resolve = [this](const model::WeightedGroup& g) -> Group* {
    auto found = group_by_arn_.find(g.target_group_arn);
    return found == group_by_arn_.end() ? nullptr : groups_.resolve(found->second);
  };
  if (action.groups.size() == 1) return resolve(action.groups[0]);
  uint64_t total = 0;
  for (const model::WeightedGroup& g : action.groups) total += g.weight;
  if (total == 0) return nullptr;
  uint64_t at = random_.below(total);
  for (const model::WeightedGroup& g : action.groups) {
    if (at < g.weight) return resolve(g);
    at -= g.weight;
  }
  return nullptr;
}

// Adds what ALB adds: x-forwarded-for, -proto, -port, x-amzn-trace-id (alb.md 4.7).
void Worker::build_request(const Downstream& down, http::HeaderList& list) {
  const Field* constant = down.forwarded_fields();
  bool has_for = false;
  bool has_trace = false;
  list.fields.reserve(list.fields.size() + kRequestFieldsExtra);
  for (size_t i = 0; i < list.fields.size();) {
    Field& f = list.fields[i];
    if (f.token == Token::XForwardedProto || f.token == Token::XForwardedPort) {
      list.fields.erase(list.fields.begin() + static_cast<ptrdiff_t>(i));  // a client cannot set these
      continue;
    }
    if (f.token == Token::XForwardedFor && !has_for) {
      has_for = true;
      f.value = arena_copy(arena_, arena_copy(arena_, f.value, ", "), down.client_address());
      f.hash = 0;
    } else if (f.token == Token::XAmznTraceId) {
      has_trace = true;
    }
    ++i;
  }
  list.fields.push_back(constant[0]);
  list.fields.push_back(constant[1]);
  if (!has_for) list.fields.push_back(constant[2]);
  if (!has_trace) {
    list.fields.push_back(
        {"x-amzn-trace-id", fresh_trace_id(arena_, random_, unix_seconds_), 0, Token::XAmznTraceId, false});
  }
}

void Worker::keep_for_replay(Exchange& e, std::span<const Field> fields) {
  e.replay = replays_.emplace(buffers_);
  Replay& r = *replays_.resolve(e.replay);
  http::pack_fields(fields, r.bytes);
  r.head_bytes = static_cast<uint32_t>(r.bytes.size());
  r.end_stream = e.request_ended;
}

void Worker::drop_replay(Exchange& e) {
  if (!e.replay.valid()) return;
  replays_.release(e.replay);
  e.replay = {};
}

void Worker::set_timers(Exchange& e, ExchangeHandle handle, const http::HeaderList& list) {
  touch(e);
  TimePoint due = now() + std::chrono::milliseconds(snapshot_->idle_timeout_ms);
  if (const Field* timeout = list.find(Token::GrpcTimeout)) {
    if (auto d = grpc::parse_timeout(timeout->value); d && *d < std::chrono::hours(24 * 365)) {
      e.deadline = now() + *d;
      due = std::min(due, e.deadline);
    }
  }
  wheel_.set(handle.index, due);
}

// Chooses a target, opens a stream to it and sends the head. Returns what to tell the client on failure.
std::optional<Worker::Outcome> Worker::dispatch(Exchange& e, ExchangeHandle handle,
                                                std::span<const Field> fields) {
  Group* group = groups_.resolve(e.group);
  TargetHandle avoid = e.target;
  e.target = {};
  if (group == nullptr) return Outcome{503, kUnavailable, "the target group was deleted"};
  for (int tries = 0; tries < kAttemptsMax; ++tries) {
    TargetHandle chosen;
    Target* target = choose_target(*group, targets_, options_.index, random_, avoid, chosen);
    if (target == nullptr) return Outcome{503, kUnavailable, "all targets of the target group are draining"};
    Upstream* up = connection_to(*target, chosen);
    http::h2::StreamHandle stream;
    if (up != nullptr) stream = up->connection().open_stream(pack(handle));
    if (!stream.valid()) {
      avoid = chosen;
      continue;
    }
    e.target = chosen;
    e.up = up->self_;
    e.up_stream = stream;
    ++e.attempts;
    ++target->outstanding;
    ++target->requests;
    if (!target->published_dirty) {
      target->published_dirty = true;
      published_dirty_.push_back(chosen);
    }
    up->note_opened(streams_.resolve(stream)->id);
    send_request(e, up->connection(), fields);
    return std::nullopt;
  }
  return Outcome{503, kUnavailable, "every connection to the targets carries its maximum of streams"};
}

// Head and the body bytes held so far (none at the first attempt).
void Worker::send_request(Exchange& e, http::h2::Connection& to, std::span<const Field> fields) {
  const Replay& r = *replays_.resolve(e.replay);
  std::span<const uint8_t> body = r.bytes.bytes().subspan(r.head_bytes);
  e.request_sent = 0;
  to.send_headers(e.up_stream, fields, r.end_stream && body.empty());
  if (!body.empty()) credit_client(e, to.send_data(e.up_stream, body, r.end_stream));
}

// Gives the client credit for bytes that left, once, however often they are sent.
void Worker::credit_client(Exchange& e, size_t bytes) {
  e.request_sent += bytes;
  if (e.request_sent <= e.request_credited) return;
  if (Downstream* down = downstreams_.resolve(e.down)) {
    down->connection().consume(e.down_stream, e.request_sent - e.request_credited);
  }
  e.request_credited = e.request_sent;
}

void Worker::forward_request_data(ExchangeHandle handle, std::span<const uint8_t> bytes, bool end_stream) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  touch(*e);
  e->request_ended = end_stream;
  e->request_bytes += bytes.size();
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
  if (up == nullptr) return;
  size_t sent = up->connection().send_data(e->up_stream, bytes, end_stream);
  if (sent > 0) credit_client(*e, sent);
}

void Worker::forward_request_trailers(ExchangeHandle handle, const http::HeaderList& list) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  e->request_ended = true;
  drop_replay(*e);  // gRPC has no request trailers: not worth holding
  if (Upstream* up = upstreams_.resolve(e->up))
    up->connection().send_headers(e->up_stream, list.fields, true);
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
  drop_replay(*e);
  e->responded = true;
  touch(*e);
  down->connection().send_headers(e->down_stream, event.list.fields, event.end_stream);
  if (!event.end_stream) return;
  if (!e->request_ended) down->connection().reset_after_end(e->down_stream);
  response_over(*e, handle);
}

void Worker::forward_response_data(ExchangeHandle handle, http::h2::Connection& from,
                                   http::h2::StreamHandle stream, std::span<const uint8_t> bytes,
                                   bool end_stream) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  Downstream* down = downstreams_.resolve(e->down);
  if (down == nullptr) return;
  touch(*e);
  e->response_bytes += bytes.size();
  size_t sent = down->connection().send_data(e->down_stream, bytes, end_stream);
  if (sent > 0) from.consume(stream, sent);
  if (!end_stream) return;
  if (!e->request_ended) down->connection().reset_after_end(e->down_stream);
  response_over(*e, handle);
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

void Worker::client_cancelled(ExchangeHandle handle) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  end_exchange(*e, handle);
}

// Only a request that no target can have seen is sent again: refused, above GOAWAY's id, or never written.
bool Worker::retry(Exchange& e, ExchangeHandle handle) {
  if (e.responded || !e.replay.valid() || e.attempts >= kAttemptsMax) return false;
  ++counters_.retries;
  if (Target* t = targets_.resolve(e.target)) {
    --t->outstanding;
    if (!t->published_dirty) {
      t->published_dirty = true;
      published_dirty_.push_back(e.target);
    }
  }
  e.up = {};
  e.up_stream = {};
  Replay& r = *replays_.resolve(e.replay);
  fields_.clear();
  http::unpack_fields(r.bytes.bytes().first(r.head_bytes), fields_);
  if (auto failure = dispatch(e, handle, fields_)) answer(e, handle, *failure);
  return true;
}

void Worker::target_reset(ExchangeHandle handle, ErrorCode code, http::h2::Sink::ResetBy by) {
  Exchange* e = exchanges_.resolve(handle);
  if (e == nullptr) return;
  if (code == ErrorCode::RefusedStream && by == http::h2::Sink::ResetBy::Remote && retry(*e, handle)) return;
  if (Target* t = targets_.resolve(e->target)) ++t->failed;
  Downstream* down = downstreams_.resolve(e->down);
  if (by == http::h2::Sink::ResetBy::Local) {
    return answer(*e, handle,
                  {502, static_cast<int>(grpc::Code::Internal), "the target broke the HTTP/2 protocol"});
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
  std::string message = "connection to the target was lost: " + std::string(why);
  answer(*e, handle, {502, kUnavailable, message});
}

// Our own answer, and the end.
void Worker::answer(Exchange& e, ExchangeHandle handle, const Outcome& outcome) {
  ++counters_.local_replies;
  if (Downstream* down = downstreams_.resolve(e.down)) {
    down->reply(e.down_stream,
                {outcome.http_status, outcome.grpc_code, outcome.message, e.is_grpc, e.responded});
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
  if (Target* t = targets_.resolve(e.target)) {
    --t->outstanding;
    if (!t->published_dirty) {
      t->published_dirty = true;
      published_dirty_.push_back(e.target);
    }
  }
  e.up = {};
  e.up_stream = {};
  e.target = {};
}

// The response is complete. The exchange ends, or waits until the client has taken the rest.
void Worker::response_over(Exchange& e, ExchangeHandle handle) {
  http::h2::Stream* s = streams_.resolve(e.down_stream);
  if (s == nullptr || s->pending == nullptr) return end_exchange(e, handle);
  e.response_over = true;
  e.deadline = {};
  leave_target(e);
}

// The one way out.
void Worker::end_exchange(Exchange& e, ExchangeHandle handle) {
  wheel_.clear(handle.index);
  leave_target(e);
  exchanges_.release(handle);
}

void Worker::on_wheel(uint32_t index) {
  ExchangeHandle handle = exchanges_.at(index);
  Exchange& e = *exchanges_.resolve(handle);
  if (e.deadline != TimePoint{} && e.deadline <= now()) {
    return answer(e, handle, {504, static_cast<int>(grpc::Code::DeadlineExceeded), "grpc-timeout is over"});
  }
  TimePoint idle_at = e.last_activity + std::chrono::milliseconds(snapshot_->idle_timeout_ms);
  http::h2::Stream* s = streams_.resolve(e.down_stream);
  if (idle_at <= now() && s != nullptr && s->pending != nullptr) {
    // The client reads nothing: trailers would wait behind the bytes that wait, for ever.
    if (Downstream* down = downstreams_.resolve(e.down)) down->connection().reset(e.down_stream, ErrorCode::Cancel);
    return end_exchange(e, handle);
  }
  if (idle_at <= now()) {
    return answer(e, handle, {504, kUnavailable, "idle timeout: no message in either direction"});
  }
  wheel_.set(index, e.deadline != TimePoint{} ? std::min(idle_at, e.deadline) : idle_at);
}

}  // namespace weir::proxy
