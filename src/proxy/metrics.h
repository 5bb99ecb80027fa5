// Numbers that a worker counts. Plain integers of one thread; a slow reader asks for them through the worker's loop.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "model/link.h"
#include "proxy/histogram.h"
#include "proxy/method_table.h"

namespace weir::proxy {

// Names are CloudWatch's (AWS/ApplicationELB), dimension LoadBalancer.
struct BalancerMetrics {
  uint64_t new_connections = 0;        // NewConnectionCount: clients and targets
  uint64_t tls_errors = 0;             // ClientTLSNegotiationErrorCount
  uint64_t processed_bytes = 0;        // ProcessedBytes: heads and bodies, from and to clients
  uint64_t ipv6_processed_bytes = 0;   // at the end of each request
  uint64_t ipv6_requests = 0;
  uint64_t invalid_dropped = 0;        // DroppedInvalidHeaderRequestCount: requests that lost fields
  uint64_t invalid_forwarded = 0;      // ForwardedInvalidHeaderRequestCount
  uint64_t fixed_responses = 0;        // HTTP_Fixed_Response_Count
  uint64_t own_class[6] = {};          // HTTPCode_ELB_3XX_Count … by first digit; 4XX has 460 in it
  uint64_t own_500 = 0, own_502 = 0, own_503 = 0, own_504 = 0;
  uint64_t ended_by[3] = {};           // by EndedBy
};

// Dimensions LoadBalancer, TargetGroup, AvailabilityZone.
struct GroupMetrics {
  std::string group_arn;
  std::string zone;
  uint64_t requests = 0;               // RequestCount
  uint64_t grpc_requests = 0;          // GrpcRequestCount
  uint64_t target_class[6] = {};       // HTTPCode_Target_2XX_Count …
  uint64_t connection_errors = 0;      // TargetConnectionErrorCount
  uint64_t tls_errors = 0;             // TargetTLSNegotiationErrorCount
  uint64_t unhealthy_routing = 0;      // UnhealthyRoutingRequestCount: sent because no healthy target was there
  Histogram response_time;             // TargetResponseTime
};

// Adds a worker's numbers to those of the others; groups, targets and methods as rows of their own.
void add_to(model::Stats& out, const BalancerMetrics& metrics);
void add_to(model::Stats& out, const GroupMetrics& metrics);
void add_to(model::Stats& out, const MethodTable& methods);

// What is known on the main thread alone: rejected connections, lost log records, hosts by health and group.
struct GroupHosts {
  uint64_t healthy = 0;
  uint64_t unhealthy = 0;
};
void add_hosts(model::Stats& out, const std::string& group_arn, const std::string& zone, const GroupHosts& hosts);
// Rows of the same target, of the same group and zone, of the same method become one.
void merge_rows(model::Stats& stats);

}  // namespace weir::proxy
