// A worker: one thread, one loop, its own connections, targets and counters. Nothing on the RPC path is
// shared with other workers.
//
// Everything is called on the worker's thread, most of it through loop().post(). Source files: worker.cc
// (connections, turn end), worker_config.cc (snapshots, health), exchange.cc (requests).
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
#include "proxy/balancer.h"
#include "proxy/deadline_wheel.h"
#include "proxy/downstream.h"
#include "proxy/turn_pacer.h"
#include "proxy/upstream.h"

namespace weir::proxy {

struct WorkerOptions {
  int index = 0;
  uint32_t client_streams_max = 128;  // SETTINGS_MAX_CONCURRENT_STREAMS towards clients
  uint32_t stream_window_bytes = 256u << 10;
  uint32_t connection_window_bytes = 16u << 20;
  size_t buffered_bytes_max = 512u << 20;  // above it new requests are refused with RESOURCE_EXHAUSTED
  int connections_per_target_max = 16;
};

struct WorkerCounters {
  uint64_t connections = 0;
  uint64_t connections_total = 0;
  uint64_t connections_failed = 0;
  uint64_t requests = 0;
  uint64_t retries = 0;
  uint64_t local_replies = 0;
};

// Written by a worker once per turn at most, read by anyone.
struct WorkerLoad {
  std::atomic<uint32_t> connections{0};
};

// What a worker tells the process it lives in; called on the worker's thread.
struct WorkerEvents {
  // A draining target has nothing outstanding on this worker.
  std::function<void(const std::string& group_arn, const std::string& address, uint16_t port)> drained;
};

class Worker {
 public:
  Worker(const WorkerOptions& options, const Clock& clock, Random random, WorkerLoad& load,
         WorkerEvents events);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void run() { loop_->run(); }
  net::Loop& loop() { return *loop_; }

  // --- configuration (worker_config.cc) -------------------------------------------------------------------
  using TlsByListener = std::map<std::string, std::shared_ptr<const net::TlsServerContext>>;
  using SharedByTarget = std::map<std::string, std::shared_ptr<SharedOutstanding>>;  // by target_key()
  void apply(model::SnapshotPtr snapshot, const TlsByListener& tls, const SharedByTarget& shared);
  void apply_group(const model::TargetGroup& group, const SharedByTarget& shared);
  void set_health(const std::string& group_arn, const std::string& address, uint16_t port,
                  model::TargetState state);
  const model::RoutingSnapshot& snapshot() const { return *snapshot_; }

  // --- connections (worker.cc) ----------------------------------------------------------------------------
  void add_client(int fd, std::string client_address, const std::string& listener_arn);
  void drain_all();  // GOAWAY to every client
  size_t client_count() const { return downstreams_.size(); }
  size_t stream_count() const { return exchanges_.size(); }
  // Adds this worker's numbers to `out`.
  void add_stats(model::Stats& out);

  // --- requests (exchange.cc); a stale handle does nothing
  // --------------------------------------------------
  void start_exchange(Downstream& down, Handle<Downstream> down_handle, http::h2::StreamHandle stream,
                      http::h2::Stream& s, const http::h2::HeadersEvent& event);
  void forward_request_data(ExchangeHandle handle, std::span<const uint8_t> bytes, bool end_stream);
  void forward_request_trailers(ExchangeHandle handle, const http::HeaderList& list);
  void forward_response_headers(ExchangeHandle handle, const http::h2::HeadersEvent& event);
  void forward_response_data(ExchangeHandle handle, http::h2::Connection& from, http::h2::StreamHandle stream,
                             std::span<const uint8_t> bytes, bool end_stream);
  void return_credit_upstream(ExchangeHandle handle, size_t bytes);
  void return_credit_downstream(ExchangeHandle handle, size_t bytes);
  void client_cancelled(ExchangeHandle handle);
  void target_reset(ExchangeHandle handle, http::h2::ErrorCode code, http::h2::Sink::ResetBy by);
  void target_lost(ExchangeHandle handle, bool unsent, std::string_view why);

  // --- for the connections
  // ----------------------------------------------------------------------------------
  TimePoint now() const { return loop_->now(); }
  BufferPool& buffers() { return buffers_; }
  net::ReadScratch& scratch() { return scratch_; }
  http::h2::Shared h2_shared() { return {streams_, buffers_, arena_, headers_}; }
  http::h2::ConnectionOptions downstream_options() const;
  http::h2::ConnectionOptions upstream_options() const;
  Slab<Target>& targets() { return targets_; }
  // The target could not be connected to, or now it could (worker_config.cc).
  void set_reachable(TargetHandle handle, bool reachable);
  WorkerCounters& counters() { return counters_; }
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
  void publish(Target& target);
  Upstream* connection_to(Target& target, TargetHandle handle);
  // worker_config.cc
  Group& group_for(const std::string& arn);
  void update_group(const model::TargetGroup& config, const SharedByTarget& shared);
  void update_target(Target& target, const model::Target& config, uint32_t delay_ms);
  void remove_target(TargetHandle handle);
  void check_drained(Target& target);
  // exchange.cc
  struct Outcome {
    int http_status;
    int grpc_code;
    std::string_view message;
  };
  void reject(Downstream& down, http::h2::StreamHandle stream, bool is_grpc, const Outcome& outcome);
  Group* choose_group(const model::Action& action);
  std::optional<Outcome> dispatch(Exchange& e, ExchangeHandle handle, std::span<const http::Field> fields);
  void build_request(const Downstream& down, http::HeaderList& list);
  void keep_for_replay(Exchange& e, std::span<const http::Field> fields);
  void set_timers(Exchange& e, ExchangeHandle handle, const http::HeaderList& list);
  void send_request(Exchange& e, http::h2::Connection& to, std::span<const http::Field> fields);
  void touch(Exchange& e) {
    pacer_.note_frame(e.last_activity);
    e.last_activity = now();
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
  WorkerLoad& load_;
  WorkerEvents events_;
  std::unique_ptr<net::Loop> loop_;
  BufferPool buffers_;
  net::ReadScratch scratch_;
  Arena arena_;
  http::HeaderList headers_;
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
  DeadlineWheel wheel_;
  TurnPacer pacer_;
  net::Timer tick_timer_;
  net::Timer wheel_timer_;
  uint32_t unix_seconds_;  // as of the last tick
  model::SnapshotPtr snapshot_;
  WorkerCounters counters_;
};

// How targets are named across workers: "GROUP|ADDRESS|PORT".
std::string target_key(const std::string& group_arn, const std::string& address, uint16_t port);

}  // namespace weir::proxy
