// What a simulated call is going to do, on both sides, drawn from the seed when the client starts it. Client and
// server look at the same plan, so that each knows every byte it must see.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/random.h"

namespace weir::sim {

enum class Direction : uint8_t { Request, Response };
inline constexpr int kGroups = 2;  // target groups of a run

// What a seed consists of ("swarm": each seed has its own mix, calm ones among them).
struct Mix {
  // the balancer
  int workers = 1;
  bool tls = false;
  uint32_t client_streams_max = 128;
  uint32_t stream_window_bytes = 256u << 10;
  uint32_t connection_window_bytes = 1u << 20;
  uint32_t idle_timeout_ms = 20000;
  uint32_t keep_alive_ms = 3600000;
  uint8_t algorithm = 0;
  bool adaptive_windows = false;
  uint32_t stream_window_bytes_max = 4u << 20;
  bool tight_memory = false;       // little of it for buffers
  size_t buffered_bytes_max = 512u << 20;
  bool target_tls[kGroups] = {};   // groups with protocol HTTPS
  bool http2[kGroups] = {};        // groups of version HTTP2: a GET is their health check
  bool access_log = false;
  bool rate_placement = false;
  uint32_t drain_ms = 300000;      // deregistration delay
  bool drain_whole = false;        // … which lasts, whether streams are left or not
  uint32_t requests_per_connection = 0;  // of clients; 0: no limit
  int connections_per_target = 16;
  uint32_t group_idle_ms = UINT32_MAX;  // streams of the groups; UINT32_MAX: as the balancer, 0: never
  uint32_t slow_reader_ms = 300000;
  uint32_t retry_codes = 0;        // 0: no retries by policy
  uint32_t retry_attempts_max = 2, retry_budget_percent = 20;
  bool outliers = false;
  uint32_t outlier_failures = 5, outlier_ms = 1000;
  bool anomalies = false;
  uint32_t slow_start_ms = 0;
  bool rebalancing = false;
  uint32_t rebalance_age_ms = 1000, rebalance_per_s = 10;
  bool rules = false;              // more of them, fixed responses among them
  bool strict = false;             // strict mode: pages of HTTP instead of gRPC statuses, no deadlines
  bool listener_gaps = false;      // the listener is deleted for a while, now and then
  bool watch = false;              // the standard health service, with Watch streams
  // the workload
  int clients = 3;
  int targets = 2;
  int calls = 120;
  int concurrent = 8;          // per client
  bool spread = false;         // calls begin over many seconds
  bool long_streams = false;   // some exchange a message now and then, for seconds
  bool retry_storm = false;    // most calls fail in a way that the policy retries
  bool large = false;          // messages beyond the windows
  bool wide = false;           // a long path that messages fill
  bool streams = true;         // other than unary
  bool cancels = false, deadlines = false, hangs = false;
  bool server_errors = false;  // statuses other than OK, trailers-only, early trailers
  bool server_resets = false, refusals = false;
  bool slow_readers = false;
  bool few_streams = false;    // servers allow few at a time
  bool large_heads = false;    // metadata of many bytes, both ways
  bool small_peer_windows = false, setting_changes = false, pings = false;
  // the world
  bool odd_io = false;         // short reads and writes, clogged sockets
  bool churn = false;          // targets added and drained, weights and rules changed
  bool goaways = false;        // of targets
  bool health_flaps = false;
  bool settings_churn = false; // settings of groups, listeners and balancer change
  bool drain_balancer = false; // GOAWAY to every client in the middle
  // faults
  bool target_crashes = false, target_silence = false, target_cuts = false;
  bool client_cuts = false;
  bool tls_failures = false;   // targets that answer no handshake for a while
  Duration latency{}, turn_delay_max{};

  static Mix draw(Random& random);
  std::string text() const;
  // The shortest time without a message after which a stream may be ended.
  uint32_t idle_ms_min() const;
};

enum class Fate : uint8_t {
  Finish,        // all response messages, then trailers
  TrailersOnly,  // no message
  Early,         // trailers before the request has ended
  Reset,         // RST_STREAM in the middle
  Hang,          // no answer at all
};

struct Plan {
  uint64_t id = 0;
  uint32_t messages[2] = {1, 1};      // by Direction
  uint8_t size_class = 0;             // 0: up to 200 B; 1: up to 20 KB; 2: up to 200 KB
  bool interleaved = false;           // response i follows request i; else responses follow the whole request, or
  bool eager = false;                 // … do not wait for it
  Fate fate = Fate::Finish;
  int grpc_status = 0;
  uint32_t reset_code = 0;            // Reset
  uint32_t stop_after = 0;            // Early, Reset: response messages before it
  int refusals = 0;                   // attempts that get REFUSED_STREAM
  bool refused_late = false;          // those come behind the failures, not before them
  int failures = 0;                   // attempts that end at once with failure_status and no message
  int failure_status = 14;
  std::string pushback;               // grpc-retry-pushback-ms of these; empty: none
  uint32_t head_bytes[2] = {0, 0};    // of metadata, with the request and with the trailers
  Duration pace{};                    // between the messages of the client
  std::optional<Duration> deadline;
  std::optional<Duration> cancel_after;
  bool slow_reader[2] = {false, false};  // of the request, of the response

  static Plan draw(uint64_t id, const Mix& mix, Random& random);
  std::string text() const;
  // That metadata.
  std::string metadata(Direction direction) const;
  // The pushback in milliseconds; nullopt: there is none, or one that forbids another try.
  std::optional<int64_t> pushback_ms() const;
};

// The bytes of one side of a call: gRPC messages whose every byte follows from call, direction and position.
class MessageStream {
 public:
  MessageStream(const Plan& plan, Direction direction) : plan_(&plan), direction_(direction) {}
  // Up to `size` bytes of the first `messages` messages; 0: there are none left of those.
  size_t read(char* out, size_t size, uint32_t messages);
  // True when `bytes` are the next ones.
  bool accept(std::string_view bytes);
  // Complete messages so far.
  uint32_t passed() const { return next_ - (offset_ < current_.size() ? 1 : 0); }
  uint32_t begun() const { return next_; }
  bool at_boundary() const { return offset_ == current_.size(); }
  bool at_end() const { return next_ == plan_->messages[static_cast<int>(direction_)] && offset_ == current_.size(); }

 private:
  void make_next();
  const Plan* plan_;
  Direction direction_;
  uint32_t next_ = 0;      // message after the current one
  std::string current_;
  size_t offset_ = 0;
};

}  // namespace weir::sim
