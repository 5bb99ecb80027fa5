#include "proxy/observer.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "grpc/status.h"
#include "proxy/connection_log.h"

namespace weir::proxy {

using http::Field;
using http::Token;

namespace {

constexpr size_t kReasonsMax = 255;  // further ones are called by their first word: "other"

uint32_t micros_since(TimePoint begin, TimePoint now) {
  int64_t micros = (now - begin).count() / 1000;
  return static_cast<uint32_t>(std::clamp<int64_t>(micros, 0, 3'600'000'000));
}

// Bytes of names and values, without the 32 that HTTP/2 adds to each field.
size_t head_bytes(const http::HeaderList& list) {
  size_t overhead = list.size() * 32;
  return list.list_size > overhead ? list.list_size - overhead : 0;
}

size_t code_place(int grpc_status) {
  return grpc_status >= 0 && static_cast<size_t>(grpc_status) < kGrpcCodes ? static_cast<size_t>(grpc_status)
                                                                            : kGrpcCodes;
}

}  // namespace

Observer::Observer(BufferPool& buffers, Random random, LogRing* ring)
    : buffers_(buffers), random_(random), ring_(ring) {
  reasons_.emplace_back();
}

Observer::~Observer() {
  notes_.for_each([this](Handle<Note>, Note& n) {
    if (n.text != nullptr) buffers_.give(n.text, n.text_capacity);
  });
}

void Observer::configure(const model::RoutingSnapshot& snapshot) {
  log_access_ = ring_ != nullptr && !snapshot.access_log.directory.empty();
  log_connections_ = ring_ != nullptr && !snapshot.connection_log.directory.empty();
  trace_.enable(snapshot.record_frames);
}

GroupMetrics* Observer::group_metrics(const std::string& group_arn, const std::string& zone) {
  for (GroupMetrics& g : groups_) {
    if (g.group_arn == group_arn && g.zone == zone) return &g;
  }
  GroupMetrics& fresh = groups_.emplace_back();
  fresh.group_arn = group_arn;
  fresh.zone = zone;
  return &fresh;
}

std::string Observer::new_connection_id() { return "TID_" + random_.hex(32); }

void Observer::connected(const ConnectionFacts& facts, TimePoint now) {
  if (!log_connections_ || !facts.tls) return;
  ConnectionRecord record;
  record.client_port = facts.client_port;
  record.listener_port = facts.listener_port;
  record.time_ns = now.time_since_epoch().count();
  record.handshake_ns = facts.handshake.count();
  const std::array<const std::string*, kConnectionTexts> texts{
      &facts.client, &facts.tls_protocol, &facts.tls_cipher, &facts.key_exchange,
      &facts.trace_id, &facts.domain, &facts.failure};
  size_t size = sizeof record;
  for (int i = 0; i < kConnectionTexts; ++i) {
    record.lengths[i] = static_cast<uint16_t>(texts[static_cast<size_t>(i)]->size());
    size += record.lengths[i];
  }
  record.size = static_cast<uint32_t>((size + 7) & ~size_t{7});
  uint8_t* to = ring_->reserve(record.size);
  if (to == nullptr) return;
  std::memcpy(to, &record, sizeof record);
  to += sizeof record;
  for (const std::string* text : texts) {
    std::memcpy(to, text->data(), text->size());
    to += text->size();
  }
}

void Observer::handshake_failed(const ConnectionFacts& facts, TimePoint now) {
  ++metrics_.tls_errors;
  connected(facts, now);
}

void Observer::arrived(const ConnectionFacts& client, const http::h2::HeadersEvent& event, TimePoint now) {
  client_ = &client;
  event_ = &event;
  arrived_at_ = now;
  arrived_bytes_ = head_bytes(event.list);
  metrics_.processed_bytes += arrived_bytes_;
}

// The method stands with the run that its path is part of; the epoch tells whether it still means the same.
uint32_t Observer::method_of(const http::HeaderList& list) {
  if (list.run != nullptr && list.run->tokens() & http::token_bit(Token::Path)) {
    uint64_t known = list.run->note();
    if (known >> 32 == methods_.epoch()) return static_cast<uint32_t>(known);
    const Field* path = list.find(Token::Path);
    uint32_t id = methods_.resolve(path->value);
    if (id != kOtherMethod) list.run->set_note(uint64_t{methods_.epoch()} << 32 | id);
    return id;
  }
  const Field* path = list.find(Token::Path);
  return path == nullptr ? kOtherMethod : methods_.resolve(path->value);
}

// Of a HeaderList or HeaderRun.
template <class Fields>
void Observer::pack(const Fields& fields, PackedTexts& out) {
  auto value = [&](Token token) {
    const Field* f = fields.find(token);
    return f != nullptr ? f->value : std::string_view();
  };
  std::string_view authority = value(Token::Authority);
  if (authority.empty()) authority = value(Token::Host);
  const std::string_view texts[] = {value(Token::Method).substr(0, 64), authority.substr(0, 1024),
                                    value(Token::Path).substr(0, kPathBytesMax),
                                    value(Token::UserAgent).substr(0, kUserAgentBytesMax)};
  out.bytes.clear();
  for (size_t i = 0; i < kRequestTexts; ++i) {
    out.lengths[i] = static_cast<uint16_t>(texts[i].size());
    out.bytes += texts[i];
  }
}

// Texts of its own, or those of its run, which are made once.
Observer::TextsView Observer::texts_of(const Note& note) {
  if (!note.run) {
    TextsView view{{}, reinterpret_cast<const char*>(note.text) + sizeof view.lengths};
    std::memcpy(view.lengths.data(), note.text, sizeof view.lengths);
    return view;
  }
  PackedRun& known = packed_runs_[note.run->hash() % kPackedRuns];
  if (known.run.get() != note.run.get()) {
    known.run = note.run;
    pack(*note.run, known.texts);
  }
  return {known.texts.lengths, known.texts.bytes.data()};
}

// The lengths, the texts, and the trace if it is one.
void Observer::keep_text(Note& note, const PackedTexts& texts, std::string_view trace) {
  uint8_t* before = note.text;
  uint32_t capacity_before = note.text_capacity;
  size_t capacity = 0;
  uint8_t* to = note.text = buffers_.take(sizeof texts.lengths + texts.bytes.size() + trace.size(), &capacity);
  note.text_capacity = static_cast<uint32_t>(capacity);
  note.trace_bytes = static_cast<uint8_t>(trace.size());
  std::memcpy(to, texts.lengths.data(), sizeof texts.lengths);
  to += sizeof texts.lengths;
  std::memcpy(to, texts.bytes.data(), texts.bytes.size());
  if (!trace.empty()) std::memcpy(to + texts.bytes.size(), trace.data(), trace.size());
  if (before != nullptr) buffers_.give(before, capacity_before);
}

uint32_t Observer::keep_note(const http::HeaderList& list) {
  Handle<Note> handle = notes_.emplace();
  Note& n = *notes_.resolve(handle);
  constexpr uint64_t kWanted = http::token_bit(Token::Method) | http::token_bit(Token::Authority) |
                               http::token_bit(Token::Path) | http::token_bit(Token::UserAgent);
  if (list.run != nullptr && (list.run->tokens() & kWanted) == (list.tokens() & kWanted) &&
      list.run->list_size() < 4096) {
    n.run = http::HeaderRunRef(list.run);
  } else {
    pack(list, scratch_);
    keep_text(n, scratch_, {});
  }
  return handle.index;
}

void Observer::keep_trace(Exchange& e, std::span<const Field> fields, const TraceId& trace) {
  Note& n = *notes_.resolve(notes_.at(e.seen.note));
  n.trace = trace;
  if (trace.made()) [[likely]] return;
  for (const Field& f : fields) {
    if (f.token != Token::XAmznTraceId) continue;
    TextsView view{{}, ""};
    if (!n.run) view = texts_of(n);
    scratch_.lengths = view.lengths;
    scratch_.bytes.assign(view.bytes, view.size());
    return keep_text(n, scratch_, f.value.substr(0, kTraceBytesMax));
  }
}

void Observer::drop_note(uint32_t index) {
  Handle<Note> handle = notes_.at(index);
  Note& n = *notes_.resolve(handle);
  if (n.text != nullptr) buffers_.give(n.text, n.text_capacity);
  notes_.release(handle);
}

void Observer::begun(Exchange& e, uint32_t rule_priority) {
  Observed& s = e.seen;
  s.rule_priority = static_cast<uint16_t>(rule_priority);
  s.begun = arrived_at_;
  s.request_head_bytes = static_cast<uint32_t>(arrived_bytes_);
  if (e.is_grpc) {
    s.method = static_cast<uint16_t>(method_of(event_->list));
    MethodStats& m = methods_.at(s.method);
    ++m.open;
    ++m.started;
  }
  metrics_.ipv6_requests += client_->ipv6;
  if (log_access_) s.note = keep_note(event_->list);
  event_ = nullptr;
}

void Observer::sent(Exchange& e, TargetHandle handle, Target& target, TimePoint now) {
  e.seen.target = handle;
  if (e.seen.sent_after_us == Observed::kNever) {
    e.seen.sent_after_us = micros_since(e.seen.begun, now);
    if (target.metrics != nullptr) {
      ++target.metrics->requests;
      target.metrics->grpc_requests += e.is_grpc;
    }
  }
  if (target.health != model::TargetState::Healthy && target.metrics != nullptr) ++target.metrics->unhealthy_routing;
}

void Observer::response_head(Exchange& e, const http::h2::HeadersEvent& event, GroupMetrics* group, TimePoint now) {
  Observed& s = e.seen;
  size_t bytes = head_bytes(event.list);
  s.response_head_bytes += static_cast<uint32_t>(bytes);
  metrics_.processed_bytes += bytes;
  if (event.kind == http::h2::HeadersEvent::Kind::Head) {
    s.target_status = static_cast<uint16_t>(event.head.status);
    s.head_after_us = micros_since(s.begun, now);
    if (group != nullptr) {
      ++group->target_class[std::clamp(event.head.status / 100, 0, 5)];
      uint32_t sent = s.sent_after_us == Observed::kNever ? 0 : s.sent_after_us;
      group->response_time.add(std::chrono::microseconds(s.head_after_us - std::min(sent, s.head_after_us)));
    }
  }
  if (!event.end_stream || !e.is_grpc) return;
  const Field* status = event.list.find(Token::GrpcStatus);
  s.grpc_status = status == nullptr ? int8_t{-1} : static_cast<int8_t>(grpc::parse_status(status->value));
  if (s.grpc_status != static_cast<int8_t>(grpc::Code::Unimplemented)) methods_.at(s.method).served = true;
}

// Reasons are few: texts of our own, and errors of the system. They are kept once, and named by a byte.
uint8_t Observer::reason_of(std::string_view text) {
  for (size_t i = 0; i < reasons_.size(); ++i) {
    if (reasons_[i] == text) return static_cast<uint8_t>(i);
  }
  if (reasons_.size() == kReasonsMax) reasons_.emplace_back("other");
  if (reasons_.size() > kReasonsMax) return static_cast<uint8_t>(kReasonsMax);
  reasons_.emplace_back(text);
  return static_cast<uint8_t>(reasons_.size() - 1);
}

void Observer::settle(Observed& seen, EndedBy by, std::string_view why) {
  if (seen.settled) return;
  seen.settled = true;
  seen.ended_by = by;
  seen.reason = reason_of(why);
}

void Observer::count_own(int http_status) {
  ++metrics_.own_class[std::clamp(http_status / 100, 0, 5)];
  metrics_.own_500 += http_status == 500;
  metrics_.own_502 += http_status == 502;
  metrics_.own_503 += http_status == 503;
  metrics_.own_504 += http_status == 504;
}

void Observer::answered(Exchange& e, Status status, std::string_view why) {
  if (e.seen.settled) return;
  settle(e.seen, EndedBy::Balancer, why);
  e.seen.grpc_status = static_cast<int8_t>(status.grpc);
  if (e.responded) return;
  e.seen.own_status = static_cast<uint16_t>(status.http);
  count_own(status.http);
}

void Observer::cancelled(Exchange& e, std::string_view why) {
  if (e.seen.settled) return;
  settle(e.seen, EndedBy::Client, why);
  if (e.seen.grpc_status < 0) e.seen.grpc_status = static_cast<int8_t>(grpc::Code::Cancelled);
  if (e.responded) return;
  e.seen.own_status = 460;  // ALB: the client closed the connection before there was a response
  count_own(460);
}

void Observer::reset_by_target(Exchange& e, http::h2::ErrorCode code) {
  if (e.seen.settled) return;
  settle(e.seen, EndedBy::Target, "the target reset the stream: " + std::string(http::h2::to_string(code)));
  e.seen.grpc_status = static_cast<int8_t>(grpc::code_of_reset(code));
  if (e.responded) return;
  e.seen.own_status = 502;
  count_own(502);
}

void Observer::refused(bool is_grpc, Status status, std::string_view why, TimePoint now) {
  count_own(status.http);
  AccessRecord r;
  r.is_grpc = is_grpc;
  note_refusal(r, status, why, now);
}

void Observer::answered_by_rule(bool is_grpc, Status status, uint32_t rule_priority, TimePoint now) {
  ++metrics_.fixed_responses;
  AccessRecord r;
  r.is_grpc = is_grpc;
  r.action = ActionTaken::FixedResponse;
  r.rule_priority = static_cast<int32_t>(rule_priority);
  note_refusal(r, status, "fixed response", now);
}

void Observer::note_refusal(AccessRecord r, Status status, std::string_view why, TimePoint now) {
  ++metrics_.ended_by[static_cast<size_t>(EndedBy::Balancer)];
  if (client_->ipv6) metrics_.ipv6_processed_bytes += arrived_bytes_;
  if (r.is_grpc) {
    MethodStats& m = methods_.at(method_of(event_->list));
    ++m.started;
    ++m.by_code[code_place(status.grpc)];
  }
  if (log_access_) {
    r.ended_by = EndedBy::Balancer;
    r.begin_ns = arrived_at_.time_since_epoch().count();
    r.end_ns = now.time_since_epoch().count();
    r.received_bytes = arrived_bytes_;
    r.grpc_status = static_cast<int16_t>(r.is_grpc ? status.grpc : -1);
    r.elb_status = static_cast<uint16_t>(status.http);
    const Field* trace = event_->list.find(Token::XAmznTraceId);
    pack(event_->list, scratch_);
    write_access(r, *client_, {scratch_.lengths, scratch_.bytes.data()}, {}, {},
                 trace == nullptr ? std::string_view() : trace->value.substr(0, kTraceBytesMax), why);
  }
  event_ = nullptr;
}

void Observer::ended(Exchange& e, const Target* target, const Group* group, const ConnectionFacts* client,
                     TimePoint now) {
  Observed& s = e.seen;
  ++metrics_.ended_by[static_cast<size_t>(s.ended_by)];
  if (client != nullptr && client->ipv6) {
    metrics_.ipv6_processed_bytes += e.request_bytes + s.request_head_bytes + e.response_bytes + s.response_head_bytes;
  }
  if (e.is_grpc) {
    MethodStats& m = methods_.at(s.method);
    --m.open;
    ++m.by_code[code_place(s.grpc_status)];
    m.duration.add(now - s.begun);
  }
  if (s.note == Observed::kNoNote) return;
  const Note& n = *notes_.resolve(notes_.at(s.note));
  AccessRecord r;
  r.ended_by = s.ended_by;
  r.action = ActionTaken::Forward;
  r.attempts = e.attempts;
  r.begin_ns = s.begun.time_since_epoch().count();
  r.end_ns = now.time_since_epoch().count();
  if (s.sent_after_us != Observed::kNever) r.sent_after_us = s.sent_after_us;
  if (s.head_after_us != Observed::kNever) r.head_after_us = s.head_after_us;
  r.received_bytes = e.request_bytes + s.request_head_bytes;
  r.sent_bytes = e.response_bytes + s.response_head_bytes;
  r.request_messages = s.request.messages();
  r.response_messages = s.response.messages();
  r.rule_priority = s.rule_priority;
  r.grpc_status = s.grpc_status;
  r.elb_status = s.own_status != 0 ? s.own_status : s.target_status;
  r.target_status = s.target_status;
  r.is_grpc = e.is_grpc;
  if (target != nullptr) r.target_port = target->port;
  static const ConnectionFacts kGone;
  TextsView texts = texts_of(n);
  std::string_view trace(reinterpret_cast<const char*>(&n.trace), sizeof n.trace);
  r.trace_packed = n.trace.made();
  if (!r.trace_packed) trace = text_trace(n);
  write_access(r, client != nullptr ? *client : kGone, texts,
               group != nullptr ? std::string_view(group->arn) : std::string_view(),
               target != nullptr ? std::string_view(target->address) : std::string_view(), trace, reasons_[s.reason]);
  drop_note(s.note);
  s.note = Observed::kNoNote;
}

std::string_view Observer::text_trace(const Note& note) const {
  if (note.text == nullptr) return {};
  TextsView view{{}, reinterpret_cast<const char*>(note.text) + sizeof view.lengths};
  std::memcpy(view.lengths.data(), note.text, sizeof view.lengths);
  return {view.bytes + view.size(), note.trace_bytes};
}

void Observer::write_access(AccessRecord& r, const ConnectionFacts& client, const TextsView& request,
                            std::string_view group, std::string_view target, std::string_view trace,
                            std::string_view why) {
  r.client_port = client.client_port;
  r.listener_port = client.listener_port;
  r.tls = client.tls;
  std::copy(std::begin(client.packed_lengths), std::end(client.packed_lengths), r.lengths);
  r.lengths[kTextGroup] = static_cast<uint16_t>(group.size());
  r.lengths[kTextTarget] = static_cast<uint16_t>(target.size());
  r.lengths[kTextTrace] = static_cast<uint16_t>(trace.size());
  std::copy(request.lengths.begin(), request.lengths.end(), r.lengths + kTextMethod);
  r.lengths[kTextReason] = static_cast<uint16_t>(why.size());
  const std::string_view texts[] = {client.packed, group, target, trace, {request.bytes, request.size()}, why};
  size_t size = sizeof r;
  for (std::string_view text : texts) size += text.size();
  r.size = static_cast<uint32_t>((size + 7) & ~size_t{7});
  uint8_t* to = ring_->reserve(r.size);
  if (to == nullptr) return;
  std::memcpy(to, &r, sizeof r);
  to += sizeof r;
  for (std::string_view text : texts) {
    if (!text.empty()) std::memcpy(to, text.data(), text.size());
    to += text.size();
  }
}

void Observer::add_stats(model::Stats& out) const {
  add_to(out, metrics_);
  for (const GroupMetrics& g : groups_) add_to(out, g);
  add_to(out, methods_);
}

}  // namespace weir::proxy
