#include "control/balancer_queries.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/world.h"

namespace weir::control {
namespace {

using std::chrono::seconds;

TEST_F(World, ABalancerIsAskedForItsStreamsAndFrames) {
  make_stack(1);
  ASSERT_TRUE(until([&] { return steady(1); }));
  std::optional<model::Streams> streams;
  std::optional<model::Frames> frames;
  controller->streams(kLb, {}, [&](auto answer) { streams = answer; });
  controller->frames(kLb, {}, [&](auto answer) { frames = answer; });
  ASSERT_TRUE(until([&] { return streams && frames; }, seconds(2)));
  EXPECT_EQ(streams->open, 7u);
  EXPECT_EQ(frames->lines, std::vector<std::string>{"a frame"});
}

TEST_F(World, ABalancerThatDoesNotAnswerIsGivenUpInTime) {
  make_stack(1);
  ASSERT_TRUE(until([&] { return steady(1); }));
  processes.only().auto_answer = false;
  int given_up = 0;
  for (size_t i = 0; i < BalancerQueries::kWaitingMax + 1; ++i) {
    controller->streams(kLb, {}, [&](const auto& answer) { given_up += !answer; });
  }
  EXPECT_EQ(given_up, 1) << "no more than kWaitingMax wait";
  advance(BalancerQueries::kAnswerBound + seconds(1));
  EXPECT_EQ(given_up, static_cast<int>(BalancerQueries::kWaitingMax) + 1);
  controller->streams("arn:no/such", {}, [&](const auto& answer) { given_up += !answer; });
  EXPECT_EQ(given_up, static_cast<int>(BalancerQueries::kWaitingMax) + 2);
}

TEST_F(World, ABucketOfTheAttributesReachesTheBalancerAsAFolder) {
  make_stack(1);
  ASSERT_TRUE(until([&] { return steady(1); }));
  edit(kind::kLoadBalancer, kLb, [](Json& lb) {
    lb["weir"]["attributes"]["access_logs.s3.enabled"] = "true";
    lb["weir"]["attributes"]["access_logs.s3.bucket"] = "my-logs";
  });
  std::string made = folder + "/s3/my-logs/AWSLogs/000000000000/elasticloadbalancing/us-east-1";
  ASSERT_TRUE(until([&] { return std::filesystem::is_directory(made); }, seconds(5)));
}

}  // namespace
}  // namespace weir::control
