// A worker: one thread, one loop, its own connections, targets and counters. Nothing on the RPC path is
// shared with other workers.
//
// Everything is called on the worker's thread, most of it through loop().post(). Source files: worker.cc
// (connections, turn end), worker_config.cc (snapshots, health), exchange.cc (requests), resilience.cc (outcomes of
// requests, retries by policy), worker_balance.cc (load of targets, moving streams).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "http/packed_fields.h"
#include "model/link.h"
#include "proxy/anomaly.h"
#include "proxy/balancer.h"
#include "proxy/deadline_wheel.h"
#include "proxy/defences.h"
#include "proxy/downstream.h"
#include "proxy/limits.h"
#include "proxy/observer.h"
#include "proxy/stream_report.h"
#include "proxy/target_name.h"
#include "proxy/turn_pacer.h"
#include "proxy/upstream.h"

namespace weir::proxy {

struct WorkerOptions {
  int index = 0;
  int workers = 1;  // of the process
  uint32_t stream_window_bytes = 256u << 10;
  uint32_t stream_window_bytes_max = 4u << 20;  // windows grow up to it with the path, while memory is not short
  uint32_t connection_window_bytes = 16u << 20;
  size_t buffered_bytes_max = 512u << 20;  // above it new requests are refused with RESOURCE_EXHAUSTED
  int connections_per_target_max = 16;
  LogRing* log_ring = nullptr;  // where records for the logs go; none: there are no logs
};

struct WorkerCounters {
  uint64_t connections = 0;
  uint64_t connections_total = 0;
  uint64_t connections_failed = 0;
  uint64_t requests = 0;
  uint64_t retries = 0;
  uint64_t local_replies = 0;
  uint64_t policy_retries = 0;
  uint64_t streams_moved = 0;
  uint64_t tls_handshakes = 0;      // with clients, completed
  uint64_t tls_resumed = 0;         // of these
  uint64_t tls_failed = 0;          // with clients, begun and not completed (ClientTLSNegotiationErrorCount)
  uint64_t target_tls_failed = 0;   // with targets (TargetTLSNegotiationErrorCount)
};

// Records in use, by kind: what a worker holds when it holds something.
struct WorkerRecords {
  size_t exchanges, streams, replays, tracks, notes, targets, upstreams, downstreams;
};

// Client connections of a worker, exact at every moment: those under way to it are in.
struct WorkerLoad {
  std::atomic<uint64_t> handed{0};  // written by who accepts
  std::atomic<uint64_t> ended{0};   // written by the worker
  size_t connections() const {
    uint64_t gone = ended.load(std::memory_order_acquire);  // first: it never exceeds the other
    return handed.load(std::memory_order_relaxed) - gone;
  }
};

// What a worker tells the process it lives in; called on the worker's thread.
struct WorkerEvents {
  // A draining target has nothing outstanding on this worker.
  std::function<void(const std::string& group_arn, const std::string& address, uint16_t port)> drained;
  // Many records wait in the ring of the logs.
  std::function<void()> logs_waiting;
  // So many requests to the target failed one after another that it may be ejected (outlier.h).
  std::function<void(const TargetName& target)> failing;
};

class Worker {
 public:
  Worker(const WorkerOptions& options, const Clock& clock, Random random, WorkerLoad& load,
         WorkerEvents events, std::unique_ptr<net::Loop> loop);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void run() { loop_->run(); }
  net::Loop& loop() { return *loop_; }

  // --- configuration (worker_config.cc) -------------------------------------------------------------------
  using TlsByListener = std::map<std::string, std::shared_ptr<const net::TlsServerContext>>;
  using SharedByTarget = std::map<std::string, std::shared_ptr<SharedTarget>>;  // by target_key()
  void apply(model::SnapshotPtr snapshot, const TlsByListener& tls, const SharedByTarget& shared);
  void apply_group(const model::TargetGroup& group, const SharedByTarget& shared);
  // For new connections to targets of groups with Protocol HTTPS; before apply().
  void set_target_tls(std::shared_ptr<const net::TlsClientContext> tls) { target_tls_ = std::move(tls); }
  const std::shared_ptr<const net::TlsClientContext>& target_tls() const { return target_tls_; }
  void set_health(const std::string& group_arn, const std::string& address, uint16_t port,
                  model::TargetState state);
  // What outlier ejection and anomaly mitigation have decided; `share` in thousandths.
  struct Standing {
    std::optional<bool> ejected;
    std::optional<uint32_t> share;
  };
  void set_standing(const TargetName& target, const Standing& standing);
  const model::RoutingSnapshot& snapshot() const { return *snapshot_; }

  // --- connections (worker.cc) ----------------------------------------------------------------------------
  void add_client(int fd, ClientAddress client, const std::string& listener_arn);
  void drain_all();  // the load balancer ends: GOAWAY to every client
  bool shutting_down() const { return shutting_down_; }
  size_t client_count() const { return downstreams_.size(); }
  size_t stream_count() const { return exchanges_.size(); }
  WorkerRecords records() const {
    return {exchanges_.size(), streams_.size(), replays_.size(),   tracks_.size(),
            observer_.notes(), targets_.size(), upstreams_.size(), downstreams_.size()};
  }
  // Adds this worker's numbers to `out`; its targets as rows of their own, in any order.
  void add_stats(model::Stats& out);
  // Adds how requests to the targets of weighted_random groups ended.
  void add_outcomes(std::map<TargetName, AnomalyDetector::Sample>& out);

  // --- reports (worker_report.cc) -------------------------------------------------------------------------
  // `done` is called in this or a later turn.
  void report_streams(const model::StreamsRequest& request, std::move_only_function<void(model::Streams)> done);
  std::vector<std::string> report_frames(const model::FramesRequest& request);
  // To the log, once in ten seconds at most. stream_id 0: the whole connection.
  void dump_frames(uint32_t connection, uint32_t stream_id, std::string_view why);

  // --- requests (exchange.cc); a stale handle does nothing
  // --------------------------------------------------
  void start_exchange(Downstream& down, Handle<Downstream> down_handle, http::h2::StreamHandle stream,
                      http::h2::Stream& s, const http::h2::HeadersEvent& event);
  // Both return how many bytes, for which the sender gets credit at once, have left.
  size_t forward_request_data(ExchangeHandle handle, std::span<const uint8_t> bytes, bool end_stream);
  size_t forward_response_data(ExchangeHandle handle, std::span<const uint8_t> bytes, bool end_stream);
  void forward_request_trailers(ExchangeHandle handle, const http::HeaderList& list);
  void forward_response_headers(ExchangeHandle handle, const http::h2::HeadersEvent& event);
  void return_credit_upstream(ExchangeHandle handle, size_t bytes);
  void return_credit_downstream(ExchangeHandle handle, size_t bytes);
  void client_cancelled(ExchangeHandle handle, std::string_view why);
  void target_reset(ExchangeHandle handle, http::h2::ErrorCode code, http::h2::Sink::ResetBy by);
  void target_lost(ExchangeHandle handle, bool unsent, std::string_view why);

  // --- for the connections
  // ----------------------------------------------------------------------------------
  TimePoint now() const { return loop_->now(); }
  http::HeaderRuns& runs() { return runs_; }
  BufferPool& buffers() { return buffers_; }
  net::ReadScratch& scratch() { return scratch_; }
  http::h2::Shared h2_shared(http::h2::Role role = http::h2::Role::Client) {
    return {streams_, buffers_, arena_, headers_, &runs_, &defences_of(role).frames, &observer_.trace()};
  }
  // Of clients (we are their server) or of targets.
  SideDefences& defences_of(http::h2::Role role) {
    return role == http::h2::Role::Server ? defences_.client : defences_.target;
  }
  Defences& defences() { return defences_; }
  // False: this turn has moved as many handshakes on as it may.
  bool may_handshake() {
    if (handshakes_left_ == 0) {
      ++defences_.handshakes_postponed;
      return false;
    }
    --handshakes_left_;
    return true;
  }
  http::h2::ConnectionOptions downstream_options() const;
  http::h2::ConnectionOptions upstream_options() const;
  Slab<Target>& targets() { return targets_; }
  // The target could not be connected to, or now it could (worker_config.cc).
  void set_reachable(TargetHandle handle, bool reachable);
  WorkerCounters& counters() { return counters_; }
  Observer& observer() { return observer_; }
  std::vector<Handle<Downstream>>& dirty_downstreams() { return dirty_downstreams_; }
  std::vector<Handle<Upstream>>& dirty_upstreams() { return dirty_upstreams_; }
  std::vector<Handle<Downstream>>& retired_downstreams() { return retired_downstreams_; }
  std::vector<Handle<Upstream>>& retired_upstreams() { return retired_upstreams_; }
  void close_at_turn_end(Handle<Upstream> handle) { closing_upstreams_.push_back(handle); }

 private:
  // worker.cc
  void turn_end();
  void flush_dirty();
  void release_retired();
  void tick();
  Upstream* connection_to(Target& target, TargetHandle handle);
  Upstream* next_connection(Target& target, TargetHandle handle);
  // worker_config.cc
  Group& group_for(const std::string& arn);
  void compile_routers();
  void update_group(const model::TargetGroup& config, const SharedByTarget& shared);
  void update_target(TargetHandle handle, const model::Target& config, const model::TargetGroup& group);
  TargetHandle find_target(const TargetName& name);
  void remove_target(TargetHandle handle);
  void check_drained(TargetHandle handle, Target& target);
  // worker_report.cc
  void scan_slice();
  void fill_numbers(Exchange& e, ExchangeHandle handle, model::StreamRow& row);
  void fill_blocks(const Exchange& e, model::StreamRow& row);
  void fill_texts(const Exchange& e, model::StreamRow& row);
  void dump_target_frames(const Exchange& e, http::h2::ErrorCode code);
  void apply_settings(Group& group, const model::TargetGroup& config);
  // worker_balance.cc
  void begin_on_target(Exchange& e, ExchangeHandle handle, Group& group, TargetHandle chosen);
  void end_on_target(Exchange& e);
  void begin_concerns(Exchange& e, ExchangeHandle handle, Group& group, Target& target);
  void note_outstanding(TargetHandle handle, Target& target);
  void count_loads(Group& group);
  void tick_balance(TimePoint at);
  void begin_rebalancing(Handle<Group> handle);
  void rebalance();
  void rebalance_step(Group& group);
  bool move_one(Group& group);
  void move_away(Exchange& e, ExchangeHandle handle);
  void note_request_data(const Exchange& e, size_t bytes) {
    if (e.concerns & kRate) [[unlikely]] note_rate(e, bytes);
  }
  void note_rate(const Exchange& e, size_t bytes);
  // True: the stream ended here, at a message boundary.
  bool leaves_at_boundary(Exchange& e, ExchangeHandle handle, std::span<const uint8_t> bytes, size_t boundary);
  // resilience.cc
  void note_response(Exchange& e, const http::h2::HeadersEvent& event);
  void note_outcome(Exchange& e, bool failed) {
    if (e.concerns & kOutcome) [[unlikely]] record_outcome(e, failed);
  }
  void record_outcome(Exchange& e, bool failed);
  void note_code(Exchange& e, int grpc_code);
  bool retry_by_policy(Exchange& e, ExchangeHandle handle, const http::h2::HeadersEvent& event);
  bool retry_waits(Exchange& e, ExchangeHandle handle);
  void give_up_waiting(Exchange& e, ExchangeHandle handle);
  void send_again(Exchange& e, ExchangeHandle handle);
  void add_previous_attempts(uint32_t attempts, http::h2::OutgoingHeaders& request);
  // exchange.cc
  struct Outcome {
    int http_status;
    int grpc_code;
    std::string_view message;
    http::h2::ErrorCode reset_code = http::h2::ErrorCode::InternalError;  // when HTTP has no other way left
  };
  struct RequestKind {
    bool is_grpc;
    bool is_head;
  };
  void reject(Downstream& down, http::h2::StreamHandle stream, RequestKind kind, const Outcome& outcome);
  void reject_fixed(Downstream& down, http::h2::StreamHandle stream, RequestKind kind, const RuleAction& action);
  Duration idle_timeout_of(const Exchange& e);
  void idle_timeout(Exchange& e, ExchangeHandle handle);
  std::optional<Outcome> dispatch(Exchange& e, ExchangeHandle handle, const http::h2::OutgoingHeaders& fields);
  void keep_for_replay(Exchange& e, Downstream& down, const http::h2::OutgoingHeaders& fields);
  void set_timers(Exchange& e, ExchangeHandle handle, const http::Field* timeout);
  void send_request(Exchange& e, http::h2::Connection& to, const http::h2::OutgoingHeaders& fields);
  void touch(Exchange& e) {
    pacer_.note_frame(e.last_activity);
    e.last_activity = now();
  }
  // Bytes of the request left: of how many for the first time, however often they are sent.
  size_t newly_sent(Exchange& e, size_t bytes) {
    e.request_sent += bytes;
    if (e.request_sent <= e.request_credited) return 0;
    return e.request_sent - std::exchange(e.request_credited, e.request_sent);
  }
  void credit_client(Exchange& e, size_t bytes);
  bool retry(Exchange& e, ExchangeHandle handle);
  void drop_replay(Exchange& e);
  void answer(Exchange& e, ExchangeHandle handle, const Outcome& outcome);
  void end_exchange(Exchange& e, ExchangeHandle handle);
  void response_over(Exchange& e, ExchangeHandle handle);
  void leave_target(Exchange& e);
  void on_wheel(uint32_t index);

  WorkerOptions options_;
  const Clock& clock_;
  Random random_;
  TraceIds trace_ids_;
  WorkerLoad& load_;
  WorkerEvents events_;
  std::unique_ptr<net::Loop> loop_;
  BufferPool buffers_;
  net::ReadScratch scratch_;
  Arena arena_;
  http::HeaderList headers_;
  http::HeaderRuns runs_;
  std::vector<http::Field> fields_;  // scratch
  http::h2::StreamPool streams_;
  Slab<Replay> replays_;
  Slab<Exchange> exchanges_;
  Slab<Target> targets_;
  Slab<Group> groups_;
  std::map<std::string, Handle<Group>, std::less<>> group_by_arn_;
  std::map<std::string, std::shared_ptr<ListenerState>> listeners_;
  Slab<Upstream> upstreams_;
  Slab<Downstream> downstreams_;
  std::vector<Handle<Downstream>> dirty_downstreams_, retired_downstreams_;
  std::vector<Handle<Upstream>> dirty_upstreams_, retired_upstreams_, closing_upstreams_;
  std::vector<TargetHandle> published_dirty_;
  StreamTracks tracks_;
  std::vector<Handle<Group>> moving_groups_;
  std::vector<StreamLoad> loads_;  // scratch
  net::Timer rebalance_timer_{[this] { rebalance(); }};
  TimePoint last_tick_{};
  DeadlineWheel wheel_;
  TurnPacer pacer_;
  net::Timer tick_timer_;
  net::Timer wheel_timer_;
  uint32_t unix_seconds_;  // as of the last tick
  model::SnapshotPtr snapshot_;
  std::shared_ptr<const net::TlsClientContext> target_tls_;
  WorkerCounters counters_;
  Defences defences_;
  int handshakes_left_ = kHandshakesPerTurn;
  Observer observer_;
  std::vector<std::unique_ptr<StreamScan>> scans_;
  RateSamples rates_;
  TimePoint frames_dumped_{};
  bool shutting_down_ = false;
};

}  // namespace weir::proxy
