// The link between `weir serve` and `weir lb`: messages over a unix stream socket in the state directory.
//
// Frame: u32 length of what follows, u16 version, u16 type, body (all little endian). Descriptors travel
// beside a frame (SCM_RIGHTS).
//
// Every structure stands behind its length: fields are only ever added at its end, an older reader skips those it
// does not know, a newer one takes the default for those that are missing. So each release talks to those before
// and after it; the version changes when that does not hold any more.
//
//   serve                              lb
//     | -- Hello{version} --------------> |
//     | <- Welcome{version, pid, generation, listeners} + their fds (host side and VPC side)
//     | -- OpenListener{...} + fd ------> |   one message per new socket
//     | -- CloseListener{...} ----------> |
//     | -- Snapshot{whole} -------------> |
//     | -- GroupUpdate{generation, group}>|   one target group, coalesced, one in flight
//     | <- Applied{generation} ---------- |   every worker has it: the barrier of deregistration
//     | <- Health{[...]} ---------------- |   all targets once after Hello, then on change
//     | <- Drained{group, address, port}  |   nothing outstanding on a draining target any more
//     | <- Stats{[...]} ----------------- |   once a second
//     | -- Shutdown{drain_ms} ----------> |   GOAWAY, finish streams, exit
//     | -- StreamsRequest{id, order} ---> |
//     | <- Streams{id, rows} ------------ |   when all workers have looked, or after a second with what there is
//     | -- FramesRequest{id, filter} ---> |
//     | <- Frames{id, lines} ------------ |   likewise
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/snapshot.h"

namespace weir::model {

inline constexpr uint16_t kLinkVersion = 2;
inline constexpr size_t kLinkFrameBytesMax = 64u << 20;

struct ListenerSocket {
  std::string listener_arn;
  std::string address;      // bound address
  uint16_t bound_port = 0;  // bound port (after --map)
  bool vpc_side = false;    // bound inside the VPC's namespace
};

struct Hello {};
struct Welcome {
  uint32_t pid = 0;
  uint64_t generation = 0;
  std::vector<ListenerSocket> listeners;  // one fd each, in this order
};
struct OpenListener {
  ListenerSocket socket;    // one fd
};
struct CloseListener {
  ListenerSocket socket;
};
struct Snapshot {
  SnapshotPtr snapshot;
};
struct GroupUpdate {
  uint64_t generation = 0;
  TargetGroup group;
};
struct Applied {
  uint64_t generation = 0;
};
struct TargetHealth {
  std::string group_arn;
  std::string address;
  uint16_t port = 0;
  TargetState state = TargetState::Initial;
  HealthReason reason = HealthReason::None;
  std::string description;  // as AWS words it: "Health checks failed with these codes: [12]"
  bool anomaly_known = false;  // the target's group qualifies for anomaly detection
  bool anomalous = false;
  bool mitigated = false;      // it gets less than its share of requests
};
struct Health {
  std::vector<TargetHealth> targets;
};
struct Drained {
  std::string group_arn;
  std::string address;
  uint16_t port = 0;
};
struct TargetStats {
  std::string group_arn;
  std::string address;
  uint16_t port = 0;
  uint64_t requests = 0;         // streams handed to the target since the process started
  uint64_t failed = 0;           // ended by a local error or a reset of the target
  uint64_t outstanding = 0;
};
// A counter of the defences against hostile peers (docs/defences.md), as metrics show it: NAME{side, kind}.
struct DefenceCount {
  std::string name;  // "connections_ended", "events", "refused"
  std::string side;  // "client", "target"
  std::string kind;  // "ping_flood"
  uint64_t value = 0;
};
// One number by its name: that of a CloudWatch metric of AWS/ApplicationELB, or "weir_…" as Prometheus has them.
struct Metric {
  std::string name;
  uint64_t value = 0;
  bool gauge = false;            // goes up and down; otherwise it counts since the process started
};
// Buckets as proxy/histogram.h has them: upper bounds grow by four to each power of two microseconds.
struct HistogramBucket {
  uint16_t index = 0;
  uint64_t count = 0;
};
struct HistogramStats {
  uint64_t count = 0;
  uint64_t sum_micros = 0;
  std::vector<HistogramBucket> buckets;  // by index; those that are not empty
};
struct GroupStats {
  std::string group_arn;
  std::string zone;              // of the targets
  std::vector<Metric> metrics;
  HistogramStats response_time;  // TargetResponseTime
};
struct MethodStats {
  std::string name;              // "/package.Service/Method"; "other" for all that found no place
  uint64_t open = 0;
  uint64_t started = 0;
  std::vector<uint64_t> by_code; // ended, by grpc-status 0…16; the last: without one
  uint64_t request_messages = 0;
  uint64_t response_messages = 0;
  HistogramStats duration;
};
struct Stats {
  uint64_t connections = 0;      // client connections now
  uint64_t connections_total = 0;
  uint64_t streams = 0;          // open now
  uint64_t requests_total = 0;
  std::vector<TargetStats> targets;
  std::vector<Metric> metrics;   // of the whole balancer
  std::vector<GroupStats> groups;
  std::vector<MethodStats> methods;
  std::vector<DefenceCount> defences;
};
struct Shutdown {
  uint32_t drain_ms = 0;
};

// The open streams that come first by `order`; at most kStreamRowsMax.
enum class StreamOrder : uint8_t { Rate, Bytes, Messages, Age, Idle, Blocked };
inline constexpr uint32_t kStreamRowsMax = 1000;
struct StreamsRequest {
  uint64_t id = 0;
  StreamOrder order = StreamOrder::Rate;
  uint32_t limit = 100;
  uint32_t skip = 0;             // rows before the first one wanted; skip + limit stays below kStreamRowsMax
  std::string filter;            // in the method, client or target; empty: all
};
// What keeps the bytes of a stream from going on.
enum class StreamBlock : uint8_t { None, ClientWindow, ClientConnection, TargetWindow, TargetConnection, NoTarget };
struct StreamRow {
  uint64_t key = 0;              // stays with the stream
  std::string method;
  std::string client;            // "address:port"
  std::string target;            // "address:port"; empty while there is none
  std::string group_arn;
  uint64_t age_ms = 0;
  uint64_t idle_ms = 0;          // since the last body byte either way
  uint64_t request_messages = 0;
  uint64_t response_messages = 0;
  uint64_t request_bytes = 0;
  uint64_t response_bytes = 0;
  uint64_t request_rate = 0;     // messages per 1000 s, since this stream was last looked at
  uint64_t response_rate = 0;
  uint64_t byte_rate = 0;        // bytes per second, both ways
  uint64_t waiting_bytes = 0;    // for a window, both ways
  StreamBlock blocked = StreamBlock::None;
  uint64_t deadline_ms = 0;      // what is left of grpc-timeout; 0: there is none
  uint8_t attempts = 0;
  bool is_grpc = false;
  uint32_t connection = 0;       // number of the client's connection in the flight recorder
  uint32_t stream_id = 0;        // there
};
struct Streams {
  uint64_t id = 0;
  uint64_t open = 0;             // streams in all
  std::vector<StreamRow> rows;
};

inline constexpr uint32_t kFrameLinesMax = 20000;
struct FramesRequest {
  uint64_t id = 0;
  uint32_t limit = 1000;         // of the latest frames, after the filter
  uint32_t connection = 0;       // 0: all
  uint32_t stream_id = 0;        // 0: all
};
struct Frames {
  uint64_t id = 0;
  std::vector<std::string> lines;
};

using Message = std::variant<Hello, Welcome, OpenListener, CloseListener, Snapshot, GroupUpdate, Applied, Health,
                             Drained, Stats, Shutdown, StreamsRequest, Streams, FramesRequest, Frames>;

// The whole frame, length included.
std::string encode(const Message& message);
// `frame` without the length field. Every length and enumerator is checked: bytes of a foreign or newer
// peer give an Error, never more memory than the frame has bytes.
Result<Message> decode(std::span<const uint8_t> frame);

}  // namespace weir::model
