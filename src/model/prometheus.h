// What a scraper reads: counters of load balancers in Prometheus' text format 0.0.4.
//
// CloudWatch's metrics of AWS/ApplicationELB keep their names behind "aws_applicationelb_" and their dimensions as
// labels (LoadBalancer, TargetGroup, AvailabilityZone). Each is shown at its finest dimensions only, so that sums
// over labels count nothing twice. What AWS does not have begins with "weir_". docs/observability.md lists them.
#pragma once

#include <string>
#include <vector>

#include "model/link.h"

namespace weir::model {

struct BalancerStats {
  std::string load_balancer_arn;
  Stats stats;
};
std::string prometheus_text(const std::vector<BalancerStats>& balancers);

// The text behind the last "loadbalancer/" ("app/NAME/ID"): the value of the dimension LoadBalancer.
std::string load_balancer_dimension(const std::string& arn);
// "targetgroup/NAME/ID" of a target group's ARN.
std::string target_group_dimension(const std::string& arn);

// Adds `from` to `into`, name by name.
void merge(HistogramStats& into, const HistogramStats& from);
void add_metric(std::vector<Metric>& into, std::string_view name, uint64_t value, bool gauge = false);

}  // namespace weir::model
