#include "model/link.h"

#include <gtest/gtest.h>

namespace weir::model {
namespace {

std::span<const uint8_t> body(const std::string& frame) {
  return {reinterpret_cast<const uint8_t*>(frame.data()) + 4, frame.size() - 4};
}

RoutingSnapshot sample() {
  RoutingSnapshot s;
  s.generation = 7;
  s.load_balancer_arn = "arn:lb";
  s.ingress = {{"0.0.0.0/0", 443, 443}};
  TargetGroup g;
  g.arn = "arn:tg";
  g.algorithm = Algorithm::LeastOutstandingRequests;
  g.targets = {{.address = "10.0.1.11", .port = 50051, .draining = true, .drain_elapsed_ms = 5,
                .last_state = TargetState::Healthy, .zone = "us-east-1a"}};
  s.groups = {g};
  Listener l;
  l.arn = "arn:listener";
  l.certificates = {{"arn:cert", "CHAIN", "KEY", {"a.example", "localhost"}}};
  Rule rule;
  rule.priority = 3;
  rule.conditions = {{Condition::Field::PathPattern, "", {"/a/*", "/b"}}};
  rule.action.groups = {{"arn:tg", 5}};
  l.rules = {rule};
  l.default_action.kind = Action::Kind::FixedResponse;
  l.default_action.status = 404;
  s.listeners = {l};
  return s;
}

TEST(Link, CarriesASnapshotUnchanged) {
  std::string frame = encode(Snapshot{std::make_shared<RoutingSnapshot>(sample())});
  auto got = decode(body(frame));
  ASSERT_TRUE(got) << got.error().message;
  const RoutingSnapshot& s = *std::get<Snapshot>(*got).snapshot;
  EXPECT_EQ(s.generation, 7u);
  ASSERT_EQ(s.groups.size(), 1u);
  EXPECT_EQ(s.groups[0].targets[0].address, "10.0.1.11");
  EXPECT_TRUE(s.groups[0].targets[0].draining);
  EXPECT_EQ(s.groups[0].algorithm, Algorithm::LeastOutstandingRequests);
  EXPECT_EQ(s.listeners[0].certificates[0].names[1], "localhost");
  EXPECT_EQ(s.listeners[0].rules[0].conditions[0].values[1], "/b");
  EXPECT_EQ(s.listeners[0].default_action.status, 404);
  EXPECT_EQ(encode(Snapshot{std::get<Snapshot>(*got).snapshot}), frame);
}

TEST(Link, RefusesEveryTruncationOfAMessage) {
  std::string frame = encode(Snapshot{std::make_shared<RoutingSnapshot>(sample())});
  auto whole = body(frame);
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(decode(whole.first(n))) << n;
}

TEST(Link, RefusesAForeignVersionAndAnUnknownType) {
  std::string frame = encode(Applied{3});
  frame[4] = 99;
  EXPECT_FALSE(decode(body(frame)));
  frame = encode(Applied{3});
  frame[6] = 99;
  EXPECT_FALSE(decode(body(frame)));
}

TEST(Link, DoesNotAllocateForAFalseCount) {
  std::string frame = encode(Health{});
  for (size_t i = 8; i < 12; ++i) frame[i] = '\xff';
  EXPECT_FALSE(decode(body(frame)));
}

}  // namespace
}  // namespace weir::model
