// The link between `weir serve` and `weir lb`: messages over a unix stream socket in the state directory.
//
// Frame: u32 length of what follows, u16 version, u16 type, body (all little endian). Descriptors travel
// beside a frame (SCM_RIGHTS). Each side speaks its own version and the one before it.
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

inline constexpr uint16_t kLinkVersion = 1;
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
struct Stats {
  uint64_t connections = 0;      // client connections now
  uint64_t connections_total = 0;
  uint64_t streams = 0;          // open now
  uint64_t requests_total = 0;
  std::vector<TargetStats> targets;
};
struct Shutdown {
  uint32_t drain_ms = 0;
};

using Message = std::variant<Hello, Welcome, OpenListener, CloseListener, Snapshot, GroupUpdate, Applied, Health,
                             Drained, Stats, Shutdown>;

// The whole frame, length included.
std::string encode(const Message& message);
// `frame` without the length field. Every length and enumerator is checked: bytes of a foreign or newer
// peer give an Error, never more memory than the frame has bytes.
Result<Message> decode(std::span<const uint8_t> frame);

}  // namespace weir::model
