// Targets and target groups as one worker sees them. Records persist across snapshots as long as address
// and port stay, and so do their connections.
#pragma once

#include <netinet/in.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/slab.h"
#include "model/snapshot.h"

namespace weir::proxy {

class Upstream;

inline constexpr int kWorkersMax = 64;

// Outstanding requests of one target, one cache line per worker: each writes its own once per turn, all read.
struct SharedOutstanding {
  struct alignas(64) Cell {
    std::atomic<uint32_t> count{0};
  };
  Cell cells[kWorkersMax];
};

struct Target {
  std::string group_arn;
  std::string address;
  uint16_t port = 0;
  sockaddr_storage socket_address{};
  socklen_t socket_address_size = 0;
  model::TargetState health = model::TargetState::Initial;
  bool draining = false;
  bool removed = false;  // no snapshot has it any more; kept until its streams are over
  bool drained_told = false;
  bool unreachable = false;  // the latest connection could not be made; tried again after unreachable_until
  bool published_dirty = false;
  TimePoint drain_deadline{};
  TimePoint unreachable_until{};
  uint32_t outstanding = 0;  // of this worker
  uint32_t streams_known = UINT32_MAX;  // SETTINGS_MAX_CONCURRENT_STREAMS of its latest connection
  uint64_t requests = 0;
  uint64_t failed = 0;
  std::vector<Handle<Upstream>> connections;
  std::shared_ptr<SharedOutstanding> shared;
};
using TargetHandle = Handle<Target>;

struct Group {
  std::string arn;
  model::ProtocolVersion protocol_version = model::ProtocolVersion::Grpc;
  model::Algorithm algorithm = model::Algorithm::RoundRobin;
  std::vector<TargetHandle> targets;   // registered, draining ones too
  std::vector<TargetHandle> routable;  // what the balancer chooses from, see refresh_routable()
  uint64_t cursor = 0;
};

// Fills group.routable: healthy targets, without those that just refused a connection if others are left; when
// there are none, all that are not draining ("fail open", alb.md 2.5); empty when no target is registered.
void refresh_routable(Group& group, Slab<Target>& targets);

}  // namespace weir::proxy
