// Attacks whose answer is more than a budget, and honest peers that must not be taken for attackers.
#include <gtest/gtest.h>

#include "http/h2/h2_peer_testing_test.h"

namespace weir::http::h2 {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr TimePoint kStart = TimePoint{} + hours(1);

// A server with one stream that was answered with `bytes` of body; windows as the peer's SETTINGS say.
struct Answered {
  Endpoint server{Role::Server};
  explicit Answered(uint32_t window, size_t bytes) {
    server.feed(Wire{}.preface().settings({{4, window}}).settings_ack().headers(1, kPost, true).bytes, kStart);
    StreamHandle h = server.sink.handle(1);
    server.connection.send_headers(h, fields_of(kOk), false);
    server.connection.send_data(h, span_of(std::string(bytes, 'x')), true);
  }
  int stalled(TimePoint now) {
    int count = 0;
    server.connection.for_each_stalled(now, seconds(60), 1024, [&](StreamHandle, Stream&) { ++count; });
    return count;
  }
};

TEST(Defence, WindowsOfOneByteEndTheConnectionWithinABound) {
  Answered a(0, 20000);
  int took = 0;
  while (took < 15000 && a.server.feed(Wire{}.window(1, 1).bytes, kStart) && !a.server.connection.failed()) ++took;
  EXPECT_GE(took, 9990);
  EXPECT_LE(took, 10001);
  EXPECT_EQ(a.server.connection.error(), ErrorCode::EnhanceYourCalm);
  EXPECT_EQ(a.server.connection.end_reason(), EndReason::TinyWindowFlood);
}

TEST(Defence, WindowsOfOneByteAtAHumaneRateNeverRunOut) {
  Answered a(0, 200000);
  TimePoint now = kStart;
  for (int i = 0; i < 100000; ++i) {
    ASSERT_TRUE(a.server.feed(Wire{}.window(1, 1).bytes, now += milliseconds(5))) << i;
    ASSERT_FALSE(a.server.connection.failed()) << i;
    a.server.take();
  }
}

TEST(Defence, AStreamBehindAClosedWindowIsStalledAfterThePeriod) {
  Answered a(0, 2000);
  EXPECT_EQ(a.stalled(kStart), 0);
  EXPECT_EQ(a.stalled(kStart + seconds(59)), 0);
  EXPECT_EQ(a.stalled(kStart + seconds(60)), 1);
}

TEST(Defence, AStreamOfWhichAKilobyteIsTakenInEachPeriodIsNotStalled) {
  Answered a(0, 200000);
  TimePoint now = kStart;
  for (int i = 0; i < 150; ++i) {
    EXPECT_EQ(a.stalled(now), 0) << i;
    ASSERT_TRUE(a.server.feed(Wire{}.window(0, 1024).window(1, 1024).bytes, now));
    now += seconds(59);
  }
}

TEST(Defence, AStreamThatWaitsForTheSocketAloneIsNotStalled) {
  Answered a(1 << 30, 0);
  a.server.feed(Wire{}.window(0, 1 << 30).headers(3, kPost, true).bytes, kStart);
  StreamHandle h = a.server.sink.handle(3);
  a.server.connection.send_headers(h, fields_of(kOk), false);
  a.server.connection.send_data(h, span_of(std::string(1 << 20, 'x')), false);
  a.server.connection.send_data(h, span_of(std::string(1 << 20, 'x')), true);  // output() is full: waits
  ASSERT_GT(a.server.connection.pending_bytes(), 0u);
  EXPECT_EQ(a.stalled(kStart), 0);
  EXPECT_EQ(a.stalled(kStart + hours(1)), 0);
}

TEST(Defence, ThousandsOfBombsInOneTurnHoldTheMemoryOfOne) {
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server).bytes, kStart);
  std::string entry = std::string("\x40\x01x\x7f\xbd\x1d", 6) + std::string(3900, 'b');  // enters the table
  ASSERT_TRUE(server.feed(Wire{}.frame(FrameType::Headers, kFlagEndHeaders, 1, block_of(kPost) + entry).bytes, kStart));
  std::string bomb = block_of(kPost) + std::string(14, '\xbe');
  Wire wire;
  for (uint32_t id = 3; id < 1003; id += 2) wire.frame(FrameType::Headers, kFlagEndHeaders, id, bomb);
  std::vector<uint8_t> bytes(wire.bytes.begin(), wire.bytes.end());
  const char* first = server.arena.mark().next;
  ASSERT_TRUE(server.connection.receive(bytes, kStart));
  EXPECT_EQ(server.arena.mark().next, first) << "nothing of 500 lists of 55 KB is left";
  EXPECT_EQ(server.arena.mark().block, 0u);
}

TEST(Defence, InformationalResponsesEndTheConnectionWithinABound) {
  Endpoint client(Role::Client);
  client.feed(greeting(Role::Client).bytes, kStart);
  client.request(kPost, true);
  int took = 0;
  while (took < 5000 && client.feed(Wire{}.headers(1, {{":status", "103"}}, false).bytes, kStart)) ++took;
  EXPECT_LE(took, 2000);
  EXPECT_EQ(client.connection.end_reason(), EndReason::InformationalFlood);
}

TEST(Defence, ClientsThatCancelDoNotEndTheConnectionToTheirTarget) {
  // 5000 cancelled calls at one moment, whose heads and data were under way.
  Endpoint client(Role::Client);
  client.feed(greeting(Role::Client).bytes, kStart);
  Wire late;
  for (uint32_t id = 1; id < 10001; id += 2) {
    client.connection.reset(client.request(kPost, true), ErrorCode::Cancel);
    late.headers(id, kOk, false).data(id, "x");
    client.take();
  }
  EXPECT_TRUE(client.feed(late.bytes, kStart)) << client.connection.error_detail();
}

TEST(Defence, HeadsForAStreamThatWeResetAreCharged) {
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server).headers(1, kPost, false).window(1, 0).bytes, kStart);
  int took = 0;
  while (took < 5000 && server.feed(Wire{}.headers(1, kTrailers, true).bytes, kStart)) ++took;
  EXPECT_LE(took, 1000);
  EXPECT_EQ(server.connection.end_reason(), EndReason::ClosedStreamFlood);
}

TEST(Defence, StreamIdsThatRanOutAreTold) {
  ConnectionOptions options = Endpoint::options_for(Role::Client);
  options.first_stream_id = kStreamIdMax - 2;
  Endpoint client(options);
  client.feed(greeting(Role::Client).bytes, kStart);
  EXPECT_FALSE(client.connection.ids_exhausted());
  EXPECT_TRUE(client.request(kPost, true).valid());
  EXPECT_TRUE(client.connection.ids_exhausted());
  EXPECT_FALSE(client.connection.can_open_stream());
  EXPECT_FALSE(client.connection.open_stream(0).valid());
}

TEST(Defence, WhatThePeerOwesIsTimedFromItsFirstByte) {
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server).bytes, kStart);
  EXPECT_EQ(server.connection.partial_since(), TimePoint{});
  Wire wire = Wire{}.frame(FrameType::Headers, 0, 1, block_of(kPost)).frame(FrameType::Continuation, 0, 1, "");
  server.feed(std::string_view(wire.bytes).substr(0, 5), kStart + seconds(1));
  server.feed(std::string_view(wire.bytes).substr(5, 5), kStart + seconds(3));
  EXPECT_EQ(server.connection.partial_since(), kStart + seconds(1)) << "a byte more is no frame";
  server.feed(std::string_view(wire.bytes).substr(10), kStart + seconds(4));
  server.feed(Wire{}.frame(FrameType::Continuation, 0, 1, "").bytes, kStart + seconds(9));
  EXPECT_EQ(server.connection.partial_since(), kStart + seconds(4)) << "a CONTINUATION is no end";
  EXPECT_TRUE(server.connection.in_header_block());
  server.feed(Wire{}.frame(FrameType::Continuation, kFlagEndHeaders, 1, "").bytes, kStart + seconds(9));
  EXPECT_EQ(server.connection.partial_since(), TimePoint{});
}

TEST(Defence, EveryReasonAndEventHasItsOwnName) {
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kEndReasons; ++i) names.push_back(to_string(static_cast<EndReason>(i)));
  for (size_t i = 0; i < kEvents; ++i) names.push_back(to_string(static_cast<Event>(i)));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(Defence, HoursOfAnHonestConnectionAtAHumaneRateRunNothingOut) {
  // A day: each second a ping, a SETTINGS frame, priorities, empty DATA, an unknown frame, and
  // a handful of cancelled calls.
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server).headers(1, kPost, false).bytes, kStart);
  TimePoint now = kStart;
  uint32_t id = 3;
  for (int i = 0; i < 86400; ++i) {
    Wire wire = Wire{}.ping().settings().data(1, "").frame(FrameType{0xbe}, 0, 0, "?");
    wire.frame(FrameType::Priority, 0, 1, u32(0) + "x");
    for (int n = 0; n < 5; ++n, id += 2) wire.headers(id, kPost, false).rst(id);
    ASSERT_TRUE(server.feed(wire.bytes, now += seconds(1))) << i << server.connection.error_detail();
    server.take();
    server.sink.events.clear();
    server.sink.opened.clear();
  }
}

}  // namespace
}  // namespace weir::http::h2
