#include "proxy/observer.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/copy.h"
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
    buffers_.give(n.text, n.text_capacity);
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
Observer::TextsView Observer::texts_of(const Observed& seen) {
  if (!seen.run) return view_of(*notes_.in_use(seen.note).second);
  PackedRun& known = packed_runs_[seen.run->hash() % kPackedRuns];
  if (known.run.get() != seen.run.get()) {
    known.run = seen.run;
    pack(*seen.run, known.texts);
  }
  return {known.texts.lengths, known.texts.bytes.data()};
}

Observer::TextsView Observer::view_of(const Note& note) {
  TextsView view{{}, reinterpret_cast<const char*>(note.text) + sizeof view.lengths};
  std::memcpy(view.lengths.data(), note.text, sizeof view.lengths);
  return view;
}

// The trace that the client sent.
std::string_view Observer::trace_of(const Observed& seen) {
  if (seen.note == Observed::kNoNote) return {};
  const Note& note = *notes_.in_use(seen.note).second;
  TextsView view = view_of(note);
  return {view.bytes + view.size(), note.trace_bytes};
}

// The lengths, the texts, and the trace if it is one.
void Observer::keep_text(Observed& seen, const PackedTexts& texts, std::string_view trace) {
  size_t capacity = 0;
  uint8_t* text = buffers_.take(sizeof texts.lengths + texts.bytes.size() + trace.size(), &capacity);
  uint8_t* to = text;
  std::memcpy(to, texts.lengths.data(), sizeof texts.lengths);
  to += sizeof texts.lengths;
  std::memcpy(to, texts.bytes.data(), texts.bytes.size());
  if (!trace.empty()) std::memcpy(to + texts.bytes.size(), trace.data(), trace.size());
  if (seen.note != Observed::kNoNote) drop_note(seen.note);
  seen.note = notes_.emplace(text, static_cast<uint32_t>(capacity), static_cast<uint8_t>(trace.size())).index;
}

void Observer::keep_texts(Observed& seen, const http::HeaderList& list) {
  constexpr uint64_t kWanted = http::token_bit(Token::Method) | http::token_bit(Token::Authority) |
                               http::token_bit(Token::Path) | http::token_bit(Token::UserAgent);
  if (list.run != nullptr && (list.loose_tokens & kWanted & ~list.run->tokens()) == 0 &&
      list.run->list_size() < 4096) {
    seen.run = http::HeaderRunRef(list.run);
  } else {
    pack(list, scratch_);
    keep_text(seen, scratch_, {});
  }
}

void Observer::keep_trace(Exchange& e, std::span<const Field> fields) {
  for (const Field& f : fields) {
    if (f.token != Token::XAmznTraceId) continue;
    TextsView view{{}, ""};
    if (!e.seen.run) view = texts_of(e.seen);
    scratch_.lengths = view.lengths;
    scratch_.bytes.assign(view.bytes, view.size());
    return keep_text(e.seen, scratch_, f.value.substr(0, kTraceBytesMax));
  }
}

void Observer::drop_note(uint32_t index) {
  auto [handle, note] = notes_.in_use(index);
  buffers_.give(note->text, note->text_capacity);
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
  if (log_access_) {
    s.logged = true;
    keep_texts(s, event_->list);
  }
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

// A record in the ring with these texts and what belongs to them; nullptr: it is lost, the ring is full.
[[gnu::always_inline]] inline AccessRecord* Observer::begin_access(const RecordTexts& t) {
  const std::string_view texts[] = {t.client.packed, t.group_and_target, t.trace, {t.request.bytes, t.request.size()},
                                    t.why};
  size_t size = sizeof(AccessRecord);
  for (std::string_view text : texts) size += text.size();
  size = (size + 7) & ~size_t{7};
  uint8_t* to = ring_->reserve(static_cast<uint32_t>(size));
  if (to == nullptr) return nullptr;
  AccessRecord& r = *new (to) AccessRecord;
  r.size = static_cast<uint32_t>(size);
  r.client_port = t.client.client_port;
  r.listener_port = t.client.listener_port;
  r.tls = t.client.tls;
  std::copy(std::begin(t.client.packed_lengths), std::end(t.client.packed_lengths), r.lengths);
  r.lengths[kTextGroup] = static_cast<uint16_t>(t.group_and_target.size() - t.target_bytes);
  r.lengths[kTextTarget] = static_cast<uint16_t>(t.target_bytes);
  r.lengths[kTextTrace] = static_cast<uint16_t>(t.trace.size());
  std::copy(t.request.lengths.begin(), t.request.lengths.end(), r.lengths + kTextMethod);
  r.lengths[kTextReason] = static_cast<uint16_t>(t.why.size());
  to += sizeof r;
  for (std::string_view text : texts) {
    copy_short(to, text.data(), text.size());
    to += text.size();
  }
  return &r;
}

void Observer::note_refusal(const AccessRecord& about, Status status, std::string_view why, TimePoint now) {
  ++metrics_.ended_by[static_cast<size_t>(EndedBy::Balancer)];
  if (client_->ipv6) metrics_.ipv6_processed_bytes += arrived_bytes_;
  if (about.is_grpc) {
    MethodStats& m = methods_.at(method_of(event_->list));
    ++m.started;
    ++m.by_code[code_place(status.grpc)];
  }
  if (log_access_) {
    const Field* trace = event_->list.find(Token::XAmznTraceId);
    pack(event_->list, scratch_);
    AccessRecord* r = begin_access({*client_, {}, 0,
                                    trace == nullptr ? std::string_view() : trace->value.substr(0, kTraceBytesMax),
                                    {scratch_.lengths, scratch_.bytes.data()}, why});
    if (r != nullptr) {
      r->ended_by = EndedBy::Balancer;
      r->action = about.action;
      r->rule_priority = about.rule_priority;
      r->is_grpc = about.is_grpc;
      r->begin_ns = arrived_at_.time_since_epoch().count();
      r->end_ns = now.time_since_epoch().count();
      r->received_bytes = arrived_bytes_;
      r->grpc_status = static_cast<int16_t>(about.is_grpc ? status.grpc : -1);
      r->elb_status = static_cast<uint16_t>(status.http);
    }
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
  if (s.logged) log(e, target, group, client, now);
}

void Observer::log(Exchange& e, const Target* target, const Group* group, const ConnectionFacts* client,
                   TimePoint now) {
  static const ConnectionFacts kGone;
  Observed& s = e.seen;
  std::string_view names;
  if (target != nullptr) {
    names = target->packed;
  } else if (group != nullptr) {
    names = group->arn;
  }
  AccessRecord* r = begin_access({client != nullptr ? *client : kGone, names,
                                  target != nullptr ? target->address.size() : 0,
                                  s.trace.made() ? std::string_view() : trace_of(s), texts_of(s), reasons_[s.reason]});
  if (r != nullptr) {
    r->ended_by = s.ended_by;
    r->action = ActionTaken::Forward;
    r->attempts = e.attempts;
    r->begin_ns = s.begun.time_since_epoch().count();
    r->end_ns = now.time_since_epoch().count();
    if (s.sent_after_us != Observed::kNever) r->sent_after_us = s.sent_after_us;
    if (s.head_after_us != Observed::kNever) r->head_after_us = s.head_after_us;
    r->received_bytes = e.request_bytes + s.request_head_bytes;
    r->sent_bytes = e.response_bytes + s.response_head_bytes;
    r->request_messages = s.request.messages();
    r->response_messages = s.response.messages();
    r->rule_priority = s.rule_priority;
    r->grpc_status = s.grpc_status;
    r->elb_status = s.own_status != 0 ? s.own_status : s.target_status;
    r->target_status = s.target_status;
    r->is_grpc = e.is_grpc;
    r->trace = s.trace;
    if (target != nullptr) r->target_port = target->port;
  }
  if (s.note != Observed::kNoNote) drop_note(std::exchange(s.note, Observed::kNoNote));
}

void Observer::add_stats(model::Stats& out) const {
  add_to(out, metrics_);
  for (const GroupMetrics& g : groups_) add_to(out, g);
  add_to(out, methods_);
}

}  // namespace weir::proxy
