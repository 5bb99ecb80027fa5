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
  rule.conditions = {{Condition::Field::PathPattern, "", {"/a/*", "/b"}, {}, {"^/c"}},
                     {Condition::Field::QueryString, "", {}, {{"key", "v*"}}, {}}};
  rule.action.groups = {{"arn:tg", 5}};
  l.rules = {rule};
  l.default_action.kind = Action::Kind::FixedResponse;
  l.default_action.status = 404;
  s.listeners = {l};
  s.health_check_log = {"/logs", "health_check_log_x"};
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
  EXPECT_EQ(s.listeners[0].rules[0].conditions[0].regex_values[0], "^/c");
  EXPECT_EQ(s.listeners[0].rules[0].conditions[1].query[0].value, "v*");
  EXPECT_EQ(s.listeners[0].default_action.status, 404);
  EXPECT_EQ(s.health_check_log.prefix, "health_check_log_x");
  EXPECT_EQ(encode(Snapshot{std::get<Snapshot>(*got).snapshot}), frame);
}

TEST(Link, CarriesTheCountersOfTheDefences) {
  Stats sent;
  sent.targets = {{"arn:tg", "10.0.0.1", 7, 1, 2, 3}};
  sent.defences = {{"connections_ended", "client", "ping_flood", 5}, {"events", "target", "empty_data", 1ull << 40}};
  auto got = decode(body(encode(sent)));
  ASSERT_TRUE(got) << got.error().message;
  const Stats& s = std::get<Stats>(*got);
  EXPECT_EQ(s.targets[0].outstanding, 3u);
  ASSERT_EQ(s.defences.size(), 2u);
  EXPECT_EQ(s.defences[0].kind, "ping_flood");
  EXPECT_EQ(s.defences[0].side, "client");
  EXPECT_EQ(s.defences[1].name, "events");
  EXPECT_EQ(s.defences[1].value, 1ull << 40);
}

TEST(Link, CarriesCountersStreamsAndFramesUnchanged) {
  Stats stats;
  stats.streams = 3;
  stats.metrics = {{"RequestCount", 5, false}, {"weir_streams", 3, true}};
  stats.groups = {{"arn:tg", "us-east-1a", {{"RequestCount", 5, false}}, {2, 40, {{3, 1}, {17, 1}}}}};
  MethodStats method;
  method.name = "/a.B/C";
  method.by_code = {1, 0, 7};
  method.duration = {1, 9, {{4, 1}}};
  stats.methods = {method};
  StreamRow row;
  row.method = "/a.B/C";
  row.byte_rate = 99;
  row.blocked = StreamBlock::TargetWindow;
  row.stream_id = 7;
  for (const Message& message :
       {Message(stats), Message(StreamsRequest{4, StreamOrder::Age, 10, 20, "x"}), Message(Streams{4, 9, {row, row}}),
        Message(FramesRequest{5, 100, 2, 3}), Message(Frames{5, {"a", "", "b"}})}) {
    std::string frame = encode(message);
    auto got = decode(body(frame));
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(encode(*got), frame);
    auto whole = body(frame);
    for (size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(decode(whole.first(n))) << n;
  }
  auto got = decode(body(encode(Streams{4, 9, {row}})));
  EXPECT_EQ(std::get<Streams>(*got).rows[0].blocked, StreamBlock::TargetWindow);
  EXPECT_EQ(std::get<Streams>(*got).rows[0].byte_rate, 99u);
  EXPECT_EQ(std::get<Streams>(*got).rows[0].stream_id, 7u);
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
  for (size_t i = 12; i < 16; ++i) frame[i] = '\xff';
  EXPECT_FALSE(decode(body(frame)));
}

// A frame of type Drained: its structure's length, then its members.
std::string drained_frame(const std::string& members) {
  std::string frame = encode(Drained{"group", "10.0.0.1", 7}).substr(0, 8);
  auto size = static_cast<uint32_t>(members.size());
  frame.append(reinterpret_cast<const char*>(&size), sizeof size);
  return frame + members;
}

TEST(Link, TakesDefaultsForWhatAnOlderPeerDoesNotSend) {
  auto got = decode(body(drained_frame(std::string("\x05\0\0\0group", 9))));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(std::get<Drained>(*got).group_arn, "group");
  EXPECT_EQ(std::get<Drained>(*got).port, 0);
}

TEST(Link, SkipsWhatANewerPeerSendsBehindTheMembersItKnows) {
  std::string whole = encode(Drained{"group", "10.0.0.1", 7});
  auto got = decode(body(drained_frame(whole.substr(12) + "newer")));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(std::get<Drained>(*got).port, 7);
}

TEST(Link, RefusesAMemberCutInTheMiddle) {
  std::string whole = encode(Drained{"group", "10.0.0.1", 7});
  EXPECT_FALSE(decode(body(drained_frame(whole.substr(12, whole.size() - 13)))));
}

}  // namespace
}  // namespace weir::model
