#include "proxy/metrics.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "model/prometheus.h"

namespace weir::proxy {

namespace {

model::HistogramStats stats_of(const Histogram& h) {
  model::HistogramStats out{h.count(), h.sum_micros(), {}};
  for (uint32_t i = 0; i < Histogram::kBuckets; ++i) {
    if (h.counts()[i] != 0) out.buckets.push_back({static_cast<uint16_t>(i), h.counts()[i]});
  }
  return out;
}

// As CloudWatch does: most counters are there only once they are not zero.
void add_if(std::vector<model::Metric>& into, const char* name, uint64_t value) {
  if (value != 0) model::add_metric(into, name, value);
}

}  // namespace

void add_to(model::Stats& out, const BalancerMetrics& m) {
  auto& into = out.metrics;
  model::add_metric(into, "NewConnectionCount", m.new_connections);
  model::add_metric(into, "ProcessedBytes", m.processed_bytes);
  add_if(into, "ClientTLSNegotiationErrorCount", m.tls_errors);
  add_if(into, "IPv6ProcessedBytes", m.ipv6_processed_bytes);
  add_if(into, "IPv6RequestCount", m.ipv6_requests);
  model::add_metric(into, "ForwardedInvalidHeaderRequestCount", m.invalid_forwarded);
  add_if(into, "DroppedInvalidHeaderRequestCount", m.invalid_dropped);
  add_if(into, "HTTP_Fixed_Response_Count", m.fixed_responses);
  add_if(into, "HTTPCode_ELB_3XX_Count", m.own_class[3]);
  add_if(into, "HTTPCode_ELB_4XX_Count", m.own_class[4]);
  add_if(into, "HTTPCode_ELB_5XX_Count", m.own_class[5]);
  add_if(into, "HTTPCode_ELB_500_Count", m.own_500);
  add_if(into, "HTTPCode_ELB_502_Count", m.own_502);
  add_if(into, "HTTPCode_ELB_503_Count", m.own_503);
  add_if(into, "HTTPCode_ELB_504_Count", m.own_504);
  model::add_metric(into, "weir_requests_ended_by_target_total", m.ended_by[0]);
  model::add_metric(into, "weir_requests_ended_by_client_total", m.ended_by[1]);
  model::add_metric(into, "weir_requests_ended_by_load_balancer_total", m.ended_by[2]);
}

void add_to(model::Stats& out, const GroupMetrics& m) {
  model::GroupStats& group = out.groups.emplace_back();
  group.group_arn = m.group_arn;
  group.zone = m.zone;
  auto& into = group.metrics;
  model::add_metric(into, "RequestCount", m.requests);
  model::add_metric(into, "GrpcRequestCount", m.grpc_requests);
  add_if(into, "HTTPCode_Target_2XX_Count", m.target_class[2]);
  add_if(into, "HTTPCode_Target_3XX_Count", m.target_class[3]);
  add_if(into, "HTTPCode_Target_4XX_Count", m.target_class[4]);
  add_if(into, "HTTPCode_Target_5XX_Count", m.target_class[5]);
  add_if(into, "TargetConnectionErrorCount", m.connection_errors);
  add_if(into, "TargetTLSNegotiationErrorCount", m.tls_errors);
  add_if(into, "UnhealthyRoutingRequestCount", m.unhealthy_routing);
  group.response_time = stats_of(m.response_time);
}

void add_to(model::Stats& out, const MethodTable& methods) {
  for (uint32_t id = 0; id < methods.size(); ++id) {
    const MethodStats& m = methods.at(id);
    if (m.started == 0) continue;
    model::MethodStats& row = out.methods.emplace_back();
    row.name = m.name;
    row.open = m.open;
    row.started = m.started;
    row.by_code.assign(m.by_code.begin(), m.by_code.end());
    row.request_messages = m.request_messages;
    row.response_messages = m.response_messages;
    row.duration = stats_of(m.duration);
  }
}

void add_hosts(model::Stats& out, const std::string& group_arn, const std::string& zone, const GroupHosts& hosts) {
  model::GroupStats& group = out.groups.emplace_back();
  group.group_arn = group_arn;
  group.zone = zone;
  auto& into = group.metrics;
  model::add_metric(into, "HealthyHostCount", hosts.healthy, true);
  model::add_metric(into, "UnHealthyHostCount", hosts.unhealthy, true);
}

namespace {
// Rows of the same key become one.
template <class Row, class Key, class Merge>
void merge_rows(std::vector<Row>& rows, Key key, Merge merge_into) {
  std::stable_sort(rows.begin(), rows.end(), [&key](const Row& a, const Row& b) { return key(a) < key(b); });
  size_t kept = 0;
  for (size_t i = 1; i < rows.size(); ++i) {
    if (key(rows[kept]) == key(rows[i])) {
      merge_into(rows[kept], rows[i]);
    } else if (++kept != i) {
      rows[kept] = std::move(rows[i]);
    }
  }
  if (!rows.empty()) rows.resize(kept + 1);
}
}  // namespace

void merge_rows(model::Stats& stats) {
  merge_rows(
      stats.targets, [](const model::TargetStats& t) { return std::tie(t.group_arn, t.address, t.port); },
      [](model::TargetStats& into, const model::TargetStats& from) {
        into.requests += from.requests;
        into.failed += from.failed;
        into.outstanding += from.outstanding;
      });
  merge_rows(
      stats.groups, [](const model::GroupStats& g) { return std::tie(g.group_arn, g.zone); },
      [](model::GroupStats& into, const model::GroupStats& from) {
        for (const model::Metric& m : from.metrics) model::add_metric(into.metrics, m.name, m.value, m.gauge);
        model::merge(into.response_time, from.response_time);
      });
  merge_rows(
      stats.methods, [](const model::MethodStats& m) -> const std::string& { return m.name; },
      [](model::MethodStats& into, const model::MethodStats& from) {
        into.open += from.open;
        into.started += from.started;
        for (size_t c = 0; c < into.by_code.size(); ++c) into.by_code[c] += from.by_code[c];
        into.request_messages += from.request_messages;
        into.response_messages += from.response_messages;
        model::merge(into.duration, from.duration);
      });
}

}  // namespace weir::proxy
