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
#include "net/tls.h"
#include "proxy/load_index.h"
#include "proxy/rate.h"
#include "proxy/rebalancer.h"
#include "proxy/retry_policy.h"

namespace weir::proxy {

class Upstream;
struct Group;
struct GroupMetrics;

inline constexpr int kWorkersMax = 64;
inline constexpr uint32_t kWholeShare = 1000;

// What the workers share about a target. Each adds what changed once per turn (or tick), and only for groups that
// choose by it.
struct SharedTarget {
  alignas(64) std::atomic<uint32_t> outstanding{0};
  std::atomic<int64_t> load_milli{0};  // Placement::Rate: units per second, in thousandths
  alignas(64) std::atomic<uint32_t> failures_in_row{0};  // written on failures and on the first success behind them
};

struct Target {
  Handle<Group> group;
  model::TargetState health = model::TargetState::Initial;
  bool draining = false;
  bool removed = false;  // no snapshot has it any more; kept until its streams are over
  bool drained_told = false;
  bool drain_whole_delay = false;  // draining lasts for the whole delay, idle or not
  bool unreachable = false;        // the latest connection could not be made; tried again after unreachable_until
  bool ejected = false;            // by outlier ejection; chosen only when nothing else is left
  bool published_dirty = false;
  bool counts_loads = false;    // as its group
  bool starts_whole = false;    // does not enter slow start when it becomes healthy for the first time
  uint32_t failure_codes = 0;     // 1 << grpc-status
  uint32_t failures_in_row_max = 0;  // 0: no outlier ejection
  uint32_t share = kWholeShare;      // of a target that is not slowed down, in thousandths
  uint32_t slot = UINT32_MAX;        // where it stands in Group::routable
  uint32_t outstanding = 0;          // of this worker
  uint32_t published = 0;            // what others know of it
  uint32_t waiting_responses = 0;    // complete ones that clients have not taken: their records will name the target
  uint32_t elsewhere = 0;            // of the other workers, when last looked at
  uint32_t streams_known = UINT32_MAX;  // SETTINGS_MAX_CONCURRENT_STREAMS of its latest connection
  RateMeter rate;
  uint64_t requests = 0;
  uint64_t failed = 0;
  uint64_t answered = 0;  // requests that ended with an outcome, failures among them
  uint64_t failures = 0;
  TimePoint ramp_start{};  // slow start; zero: none
  TimePoint drain_deadline{};
  TimePoint unreachable_until{};
  uint64_t tls_failed = 0;  // TLS handshakes with it (TargetTLSNegotiationErrorCount)
  bool tls = false;         // Protocol HTTPS of its group
  net::TlsSession tls_session;  // of its latest connection: the next one resumes it
  std::vector<Handle<Upstream>> connections;
  Handle<Upstream> current;        // the one for the next stream, until it carries current_streams_max
  size_t current_streams_max = 0;
  std::shared_ptr<SharedTarget> shared;
  TrackList tracks;  // streams that may be moved away, the oldest first
  std::string address;
  std::string packed;  // ARN of its group and address, as access records have them
  uint16_t port = 0;
  std::string group_arn;
  sockaddr_storage socket_address{};
  socklen_t socket_address_size = 0;
  GroupMetrics* metrics = nullptr;  // the observer's, of its group and zone
};
using TargetHandle = Handle<Target>;

// What a group wants to know about its requests; none by default: then a request costs nothing more.
enum Concern : uint8_t {
  kOutcome = 1,   // outcomes are counted: outlier ejection, anomalies
  kRate = 2,      // frames and bytes are counted: Placement::Rate
  kTrack = 4,     // message boundaries are followed: rebalancing
  kBudget = 8,    // requests fill the retry budget
};

struct Group {
  std::string arn;
  model::ProtocolVersion protocol_version = model::ProtocolVersion::Grpc;
  model::Algorithm algorithm = model::Algorithm::RoundRobin;
  model::Placement placement = model::Placement::Algorithm;
  bool counts_loads = false;     // `loads` is kept, outstanding requests are published
  uint8_t concerns = 0;          // Concern bits
  bool routable_stale = true;    // refresh_routable() before choosing
  uint32_t slow_start_ms = 0;
  uint32_t healthy_count_min = 1;
  uint32_t healthy_percent_min = 0;
  model::RetryPolicy retry;
  RetryBudget retry_budget;
  RatePlacement rates;
  Rebalance rebalance;
  uint32_t stream_idle_ms = model::kAsLoadBalancer;
  std::vector<TargetHandle> targets;   // registered, draining ones too
  std::vector<TargetHandle> routable;  // what the balancer chooses from, see refresh_routable()
  struct Reduced {
    TargetHandle target;
    uint32_t share_through;  // sum of the shares up to here
  };
  std::vector<Reduced> reduced;  // chosen from too, with less than a whole share (slow start, anomalies)
  uint64_t reduced_credit = 0;
  LoadIndex loads;               // of `routable`, when counts_loads
  size_t looked_at = 0;          // how far the other workers' counts were looked at
  TimePoint looked_turn{};
  uint64_t cursor = 0;
};

// Fills group.routable and group.reduced. Targets that do not drain and are healthy; all that do not drain when
// fewer are healthy than healthy_count_min or healthy_percent_min ask for ("fail open", alb.md 2.5). Of those,
// ejected ones and those that just refused a connection are left out while others remain. Both are empty when no
// target is registered.
void refresh_routable(Group& group, Slab<Target>& targets);

}  // namespace weir::proxy
