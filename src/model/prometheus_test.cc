#include "model/prometheus.h"

#include <gtest/gtest.h>

namespace weir::model {
namespace {

constexpr const char* kArn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/lb/00aa";

bool has_line(const std::string& page, const std::string& line) {
  return ("\n" + page).find("\n" + line + "\n") != std::string::npos;
}

TEST(Prometheus, MetricsOfAwsKeepTheirNamesAndDimensions) {
  Stats stats;
  add_metric(stats.metrics, "NewConnectionCount", 3);
  add_metric(stats.metrics, "NewConnectionCount", 4);
  add_metric(stats.metrics, "weir_streams", 9, true);
  GroupStats group;
  group.group_arn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/tg/00bb";
  group.zone = "us-east-1a";
  add_metric(group.metrics, "RequestCount", 5);
  stats.groups.push_back(group);
  std::string page = prometheus_text({{kArn, stats}});
  EXPECT_TRUE(has_line(page, "aws_applicationelb_NewConnectionCount{LoadBalancer=\"app/lb/00aa\"} 7")) << page;
  EXPECT_TRUE(has_line(page, "# TYPE weir_streams gauge"));
  EXPECT_TRUE(has_line(page, "weir_streams{LoadBalancer=\"app/lb/00aa\"} 9"));
  EXPECT_TRUE(has_line(page, "aws_applicationelb_RequestCount{LoadBalancer=\"app/lb/00aa\","
                             "TargetGroup=\"targetgroup/tg/00bb\",AvailabilityZone=\"us-east-1a\"} 5"));
}

TEST(Prometheus, HistogramsAreCumulativeAndInSeconds) {
  Stats stats;
  MethodStats method;
  method.name = "/a.B/\"C\"";
  method.by_code.assign(18, 0);
  method.by_code[14] = 2;
  method.duration = {3, 1'500'000, {{24, 1}, {60, 2}}};  // 128 µs or more, 65 ms or more
  stats.methods.push_back(method);
  std::string page = prometheus_text({{kArn, stats}});
  std::string labels = "{LoadBalancer=\"app/lb/00aa\",grpc_method=\"/a.B/\\\"C\\\"\"";
  EXPECT_TRUE(has_line(page, "weir_grpc_duration_seconds_bucket" + labels + ",le=\"0.000128\"} 0")) << page;
  EXPECT_TRUE(has_line(page, "weir_grpc_duration_seconds_bucket" + labels + ",le=\"0.000256\"} 1"));
  EXPECT_TRUE(has_line(page, "weir_grpc_duration_seconds_bucket" + labels + ",le=\"0.065536\"} 1"));
  EXPECT_TRUE(has_line(page, "weir_grpc_duration_seconds_bucket" + labels + ",le=\"0.131072\"} 3"));
  EXPECT_TRUE(has_line(page, "weir_grpc_duration_seconds_bucket" + labels + ",le=\"+Inf\"} 3"));
  EXPECT_TRUE(has_line(page, "weir_grpc_duration_seconds_sum" + labels + "} 1.5"));
  EXPECT_TRUE(has_line(page, "weir_grpc_requests_total" + labels + ",grpc_status=\"UNAVAILABLE\"} 2"));
}

TEST(Prometheus, HistogramsOfWorkersAddUpBucketByBucket) {
  HistogramStats sum{1, 10, {{3, 1}, {8, 4}}};
  merge(sum, {2, 30, {{1, 1}, {8, 1}, {9, 7}}});
  EXPECT_EQ(sum.count, 3u);
  EXPECT_EQ(sum.sum_micros, 40u);
  ASSERT_EQ(sum.buckets.size(), 4u);
  EXPECT_EQ(sum.buckets[0].index, 1);
  EXPECT_EQ(sum.buckets[2].count, 5u);
  EXPECT_EQ(sum.buckets[3].index, 9);
}

}  // namespace
}  // namespace weir::model
