// Floods end with ENHANCE_YOUR_CALM within a bound; honest connections never run out, however old they are.
#include <gtest/gtest.h>

#include "http/h2/h2_peer_testing_test.h"

namespace weir::http::h2 {
namespace {

using Lines = std::vector<std::string>;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr TimePoint kStart = TimePoint{} + hours(1);

TEST(Budget, SpendsItsBurstAndRefillsWithTime) {
  Budget budget(10, 5);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(budget.spend(1, kStart));
  EXPECT_FALSE(budget.spend(1, kStart));
  EXPECT_FALSE(budget.spend(1, kStart + milliseconds(199)));
  EXPECT_TRUE(budget.spend(1, kStart + milliseconds(200)));
  EXPECT_FALSE(budget.spend(1, kStart + milliseconds(399)));
  EXPECT_TRUE(budget.spend(5, kStart + milliseconds(1200)));
  EXPECT_FALSE(budget.spend(1, kStart + milliseconds(1200)));
}

TEST(Budget, NeverHoldsMoreThanItsBurst) {
  Budget budget(10, 5);
  EXPECT_TRUE(budget.spend(1, kStart));
  int taken = 0;
  while (budget.spend(1, kStart + hours(1000))) ++taken;
  EXPECT_EQ(taken, 10);
}

TEST(Budget, NoTimeIsLostBetweenFrequentSpendings) {
  Budget budget(10, 330);
  TimePoint now = kStart;
  int taken = 0;
  for (int i = 0; i < 10000; ++i) taken += budget.spend(1, now += milliseconds(1));
  EXPECT_GE(taken, 3300);
  EXPECT_LE(taken, 3311);
}

TEST(Budget, TheFirstShortageOfAnOldConnectionIsNone) {
  Budget budget(10, 1);
  TimePoint now = kStart;
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(budget.spend(1, now += seconds(2))) << i;
}

TEST(Budget, SurvivesAClockThatStandsStillAndYearsOfSilence) {
  Budget budget(10, 2000);
  EXPECT_TRUE(budget.spend(10, TimePoint{}));
  EXPECT_FALSE(budget.spend(1, TimePoint{}));
  EXPECT_TRUE(budget.spend(10, TimePoint{} + hours(24 * 365 * 100)));
}

// Feeds `wire(i)` until the connection ends; how many it took. All at one moment.
int flood(Endpoint& endpoint, int limit, const std::function<Wire(uint32_t)>& wire) {
  endpoint.take();
  for (int i = 0; i < limit; ++i) {
    if (!endpoint.feed(wire(static_cast<uint32_t>(i)).bytes, kStart)) {
      EXPECT_EQ(endpoint.connection.error(), ErrorCode::EnhanceYourCalm);
      EXPECT_TRUE(endpoint.take().back().ends_with("ENHANCE_YOUR_CALM"));
      return i + 1;
    }
    endpoint.take();
  }
  return limit;
}

struct Flooded {
  Endpoint server{Role::Server};
  Flooded() { server.feed(greeting(Role::Server).headers(1, kPost, false).bytes, kStart); }
  int operator()(int limit, const std::function<Wire(uint32_t)>& wire) { return flood(server, limit, wire); }
};

TEST(Abuse, FloodsEndWithinABound) {
  EXPECT_LE(Flooded{}(5000, [](uint32_t) { return Wire{}.ping(); }), 2001);
  EXPECT_LE(Flooded{}(5000, [](uint32_t) { return Wire{}.settings(); }), 201);
  EXPECT_LE(Flooded{}(5000, [](uint32_t) { return Wire{}.goaway(1); }), 201);
  EXPECT_LE(Flooded{}(5000, [](uint32_t) { return Wire{}.data(1, ""); }), 1001);
  EXPECT_LE(Flooded{}(5000, [](uint32_t) { return Wire{}.padded_data(1, "", 100); }), 1001);
  EXPECT_LE(Flooded{}(5000, [](uint32_t) { return Wire{}.frame(FrameType::Priority, 0, 1, u32(0) + "x"); }), 2001);
  EXPECT_LE(Flooded{}(50000, [](uint32_t) { return Wire{}.frame(FrameType{0xee}, 0, 1, ""); }), 10001);
}

TEST(Abuse, RapidResetEnds) {
  int took = Flooded{}(5000, [](uint32_t i) { return Wire{}.headers(2 * i + 3, kGet, false).rst(2 * i + 3); });
  EXPECT_LE(took, 1001);
  EXPECT_GE(took, 1000);
  took = Flooded{}(5000, [](uint32_t i) { return Wire{}.headers(2 * i + 3, kGet, true).rst(2 * i + 3); });
  EXPECT_LE(took, 1001) << "also when the requests were whole";
}

TEST(Abuse, MadeYouResetEnds) {
  using Make = std::function<Wire(Wire, uint32_t)>;
  const Make tricks[] = {
      [](Wire w, uint32_t id) { return w.window(id, 0); },
      [](Wire w, uint32_t id) { return w.window(id, 0x7fffffff); },
      [](Wire w, uint32_t id) { return w.data(id, "x", true).data(id, "y"); },
      [](Wire w, uint32_t id) { return w.data(id, "x", true).headers(id, kTrailers, true); },
      [](Wire w, uint32_t id) { return w.headers(id, kTrailers, false); },
      [](Wire w, uint32_t id) { return w.frame(FrameType::Priority, 0, id, "123"); },
      [](Wire w, uint32_t id) { return w.frame(FrameType::Priority, 0, id, u32(id) + "x"); },
  };
  for (size_t i = 0; i < std::size(tricks); ++i) {
    int took = Flooded{}(5000, [&](uint32_t n) {
      return tricks[i](Wire{}.headers(2 * n + 3, kPost, false), 2 * n + 3);
    });
    EXPECT_LE(took, 501) << i;
  }
  EXPECT_LE(Flooded{}(5000, [](uint32_t n) { return Wire{}.headers(2 * n + 3, {{":method", "GET"}}, true); }), 501);
}

TEST(Abuse, RefusedStreamsEnd) {
  Flooded flooded;
  for (uint32_t id = 3; id < 257; id += 2) flooded.server.feed(Wire{}.headers(id, kPost, false).bytes, kStart);
  EXPECT_LE(flooded(5000, [](uint32_t i) { return Wire{}.headers(2 * i + 301, kGet, true); }), 1001);
}

TEST(Abuse, LateTrailersOfAForgottenResetAreNoConnectionError) {
  Flooded flooded;
  for (uint32_t id = 3; id < 803; id += 2) flooded.server.feed(Wire{}.headers(id, kPost, false).bytes, kStart);
  EXPECT_TRUE(flooded.server.feed(Wire{}.headers(301, kTrailers, true).bytes, kStart)) << "refused, and forgotten";
  EXPECT_EQ(flooded.server.take().back(), "RST 301 STREAM_CLOSED");
}

TEST(Abuse, FramesOnClosedStreamsEnd) {
  Flooded flooded;
  for (uint32_t id = 3; id < 20003; id += 2) {
    flooded.server.feed(Wire{}.headers(id, kGet, true).bytes, kStart);
    flooded.server.connection.send_headers(flooded.server.sink.opened.back().second, fields_of(kOk), true);
    flooded.server.take();
    flooded.server.sink.opened.clear();
  }
  EXPECT_LE(flooded(9000, [](uint32_t i) { return Wire{}.data(2 * i + 3, "x"); }), 1001);
}

TEST(Abuse, AnEmptyContinuationCannotGoOnForEver) {
  Flooded flooded;
  int took = flooded(100, [](uint32_t i) {
    return i == 0 ? Wire{}.frame(FrameType::Headers, 0, 3, "") : Wire{}.frame(FrameType::Continuation, 0, 3, "");
  });
  EXPECT_LE(took, 17);
}

TEST(Abuse, MemoryOfAHeaderBlockIsBounded) {
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server));
  Wire wire = Wire{}.frame(FrameType::Headers, 0, 1, std::string(16384, '\0'));
  for (int i = 0; i < 100; ++i) wire.frame(FrameType::Continuation, 0, 1, std::string(16384, '\0'));
  EXPECT_FALSE(server.feed(wire));
  EXPECT_EQ(server.connection.error(), ErrorCode::EnhanceYourCalm);
  EXPECT_LT(server.buffers.bytes_in_use(), 300u << 10);
}

TEST(Abuse, AnOldHealthyConnectionNeverRunsOut) {
  // Ten days of a keepalive ping, a settings frame, an empty DATA and a cancelled call every ten seconds.
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server).headers(1, kPost, false).bytes, kStart);
  TimePoint now = kStart;
  uint32_t id = 3;
  for (int i = 0; i < 86400; ++i, id += 2) {
    now += seconds(10);
    Wire wire = Wire{}.ping().settings().data(1, "").headers(id, kPost, false).rst(id);
    ASSERT_TRUE(server.feed(wire.bytes, now)) << i << server.connection.error_detail();
    server.take();
    server.sink.events.clear();
    server.sink.opened.clear();
  }
}

TEST(Abuse, ABusyClientMayCancelAFewPercentOfItsCalls) {
  // 20000 calls a second, of which 2 % are cancelled: four times what the budget alone gives back.
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server).bytes, kStart);
  TimePoint now = kStart;
  server.sink.headers_hook = [&](StreamHandle h, Stream&, const HeadersEvent& event) {
    if (event.end_stream) server.connection.send_headers(h, fields_of(kOk), true);
  };
  uint32_t id = 1;
  for (int i = 0; i < 400000; ++i, id += 2) {
    now += microseconds(50);
    bool cancelled = i % 50 == 0;
    Wire wire = Wire{}.headers(id, kGet, !cancelled);
    if (cancelled) wire.rst(id);
    ASSERT_TRUE(server.feed(wire.bytes, now)) << i << server.connection.error_detail();
    if (i % 16 == 0) server.take();
    server.sink.events.clear();
    server.sink.opened.clear();
  }
}

TEST(Abuse, AReceiverMayPingForEveryDataFrameItGets) {
  // Some clients measure the path with a PING for each DATA frame, thousands a second on a fast network.
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server).headers(1, kPost, false).bytes, kStart);
  StreamHandle h = server.sink.handle(1);
  server.connection.send_headers(h, fields_of(kOk), false);
  TimePoint now = kStart;
  for (int i = 0; i < 20000; ++i) {
    now += microseconds(200);
    server.connection.send_data(h, span_of("0123456789"), false);
    ASSERT_TRUE(server.feed(Wire{}.ping().window(0, 10).window(1, 10).bytes, now)) << i;
    server.take();
  }
}

}  // namespace
}  // namespace weir::http::h2
