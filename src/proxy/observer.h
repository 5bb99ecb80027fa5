// One worker's eyes: counters, methods, records for the logs, the flight recorder. The worker calls it at each event
// of a request; nothing here decides anything or fails.
//
// Cost: some 460 instructions per RPC, 60 per message, and 330 more per RPC while the access log is on. No allocation
// in steady state. Everything is on the worker's thread.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "base/random.h"
#include "base/slab.h"
#include "http/h2/connection.h"
#include "http/h2/frame_trace.h"
#include "http/header_run.h"
#include "model/snapshot.h"
#include "proxy/exchange.h"
#include "proxy/log_ring.h"
#include "proxy/metrics.h"
#include "proxy/request_head.h"
#include "proxy/trace_id.h"

namespace weir::proxy {

class Observer {
 public:
  // ring: where records for the logs go; nullptr: nowhere.
  Observer(BufferPool& buffers, Random random, LogRing* ring);
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  void configure(const model::RoutingSnapshot& snapshot);
  // Lives as long as the observer; targets keep the pointer.
  GroupMetrics* group_metrics(const std::string& group_arn, const std::string& zone);

  // --- connections ----------------------------------------------------------------------------------------
  std::string new_connection_id();  // "TID_…"
  void connected(const ConnectionFacts& facts, TimePoint now);
  void handshake_failed(const ConnectionFacts& facts, TimePoint now);
  void target_connection_opened() { ++metrics_.new_connections; }
  void client_connection_opened() { ++metrics_.new_connections; }

  // --- requests, in the order in which they come ----------------------------------------------------------
  // A request's head has come. `event` must live until begun() or refused(); the list is looked at as it came.
  void arrived(const ConnectionFacts& client, const http::h2::HeadersEvent& event, TimePoint now);
  // It became an exchange.
  // rule_priority: of the rule that chose the group, 0 for the default one.
  void begun(Exchange& e, uint32_t rule_priority);
  // The head as it leaves, for the trace id.
  void head_made(Exchange& e, std::span<const http::Field> fields, const TraceId& trace) {
    if (!e.seen.logged) return;
    e.seen.trace = trace;
    if (!trace.made()) [[unlikely]] keep_trace(e, fields);
  }
  void invalid_names(TargetHead::InvalidNames fate) {
    ++(fate == TargetHead::InvalidNames::Dropped ? metrics_.invalid_dropped : metrics_.invalid_forwarded);
  }
  void sent(Exchange& e, TargetHandle handle, Target& target, TimePoint now);
  void request_data(Exchange& e, std::span<const uint8_t> bytes) {
    metrics_.processed_bytes += bytes.size();
    if (!e.is_grpc) return;
    uint64_t before = e.seen.request.messages();
    e.seen.request.add(bytes);
    methods_.at(e.seen.method).request_messages += e.seen.request.messages() - before;
  }
  // group: of the target; trailers do without.
  void response_head(Exchange& e, const http::h2::HeadersEvent& event, GroupMetrics* group, TimePoint now);
  // Returns what MessageCounter::add() does; kNone if it is not gRPC.
  size_t response_data(Exchange& e, std::span<const uint8_t> bytes) {
    metrics_.processed_bytes += bytes.size();
    if (!e.is_grpc) return MessageCounter::kNone;
    uint64_t before = e.seen.response.messages();
    size_t boundary = e.seen.response.add(bytes);
    methods_.at(e.seen.method).response_messages += e.seen.response.messages() - before;
    return boundary;
  }
  // Why it is going to end; the first to say so is right.
  struct Status {
    int http;
    int grpc;
  };
  void answered(Exchange& e, Status status, std::string_view why);
  void cancelled(Exchange& e, std::string_view why);
  void reset_by_target(Exchange& e, http::h2::ErrorCode code);
  // An answer of our own to a request that never became an exchange.
  void refused(bool is_grpc, Status status, std::string_view why, TimePoint now);
  // The same by a rule's fixed response.
  void answered_by_rule(bool is_grpc, Status status, uint32_t rule_priority, TimePoint now);
  // The exchange goes. Any pointer may be null.
  void ended(Exchange& e, const Target* target, const Group* group, const ConnectionFacts* client, TimePoint now);

  // At the end of the turn. True: the writer of logs should be woken.
  bool turn_end() { return ring_ != nullptr && ring_->publish(); }

  void add_stats(model::Stats& out) const;
  const MethodTable& methods() const { return methods_; }
  size_t notes() const { return notes_.size(); }  // requests whose texts are kept for the access log
  http::h2::FrameTrace& trace() { return trace_; }
  bool logs_access() const { return log_access_; }
  bool logs_connections() const { return log_connections_; }
  const std::string& reason_text(uint8_t reason) const { return reasons_[reason]; }

 private:
  // Method, authority, path and user agent of a request, as its record will have them.
  static constexpr size_t kRequestTexts = kTextUserAgent - kTextMethod + 1;
  struct TextsView {
    std::array<uint16_t, kRequestTexts> lengths;
    const char* bytes;  // one behind the other
    size_t size() const { return size_t{lengths[0]} + lengths[1] + lengths[2] + lengths[3]; }
  };
  struct PackedTexts {
    std::array<uint16_t, kRequestTexts> lengths{};
    std::string bytes;
  };
  // What is kept of a request for its record, when it stands neither in the run that its head began with nor is an id
  // of ours.
  struct Note {
    uint8_t* text = nullptr;     // from the pool: lengths and bytes of the texts, then the client's trace
    uint32_t text_capacity = 0;
    uint8_t trace_bytes = 0;     // at the end of `text`
  };
  // The texts of a record, in its order.
  struct RecordTexts {
    const ConnectionFacts& client;
    std::string_view group_and_target;
    size_t target_bytes;  // at the end of these
    std::string_view trace;
    TextsView request;
    std::string_view why;
  };
  static constexpr size_t kTraceBytesMax = 110;
  struct PackedRun {
    http::HeaderRunRef run;
    PackedTexts texts;
  };
  static constexpr size_t kPackedRuns = 64;
  template <class Fields>
  static void pack(const Fields& fields, PackedTexts& out);
  TextsView texts_of(const Observed& seen);
  std::string_view trace_of(const Observed& seen);
  static TextsView view_of(const Note& note);
  void keep_text(Observed& seen, const PackedTexts& texts, std::string_view trace);
  uint32_t method_of(const http::HeaderList& list);
  void keep_texts(Observed& seen, const http::HeaderList& list);
  void keep_trace(Exchange& e, std::span<const http::Field> fields);
  void drop_note(uint32_t index);
  uint8_t reason_of(std::string_view text);
  void count_own(int http_status);
  void note_refusal(const AccessRecord& about, Status status, std::string_view why, TimePoint now);
  void settle(Observed& seen, EndedBy by, std::string_view why);
  void log(Exchange& e, const Target* target, const Group* group, const ConnectionFacts* client, TimePoint now);
  AccessRecord* begin_access(const RecordTexts& texts);

  BufferPool& buffers_;
  Random random_;
  LogRing* ring_;
  bool log_access_ = false;
  bool log_connections_ = false;
  BalancerMetrics metrics_;
  MethodTable methods_;
  std::deque<GroupMetrics> groups_;
  Slab<Note> notes_;
  std::array<PackedRun, kPackedRuns> packed_runs_;
  PackedTexts scratch_;
  std::vector<std::string> reasons_;
  http::h2::FrameTrace trace_;
  // The request that has arrived in this call.
  const ConnectionFacts* client_ = nullptr;
  const http::h2::HeadersEvent* event_ = nullptr;
  TimePoint arrived_at_{};
  size_t arrived_bytes_ = 0;
};

}  // namespace weir::proxy
