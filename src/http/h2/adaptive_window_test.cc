#include "http/h2/adaptive_window.h"

#include <gtest/gtest.h>

#include "http/h2/h2_peer_testing_test.h"

namespace weir::http::h2 {
namespace {

using std::chrono::milliseconds;
constexpr TimePoint kBegin{std::chrono::hours(1)};

TEST(AdaptiveWindow, DoublesWhenARoundTripBringsTwoFifthsOfAWindow) {
  AdaptiveWindow w(100000, 300000);
  EXPECT_TRUE(w.begin_sample(1, kBegin));
  EXPECT_FALSE(w.begin_sample(3, kBegin)) << "one sample at a time";
  w.note_data(1, 40000);
  EXPECT_TRUE(w.end_sample(true, kBegin + milliseconds(10)));
  EXPECT_EQ(w.window(), 200000u);
  EXPECT_TRUE(w.begin_sample(3, kBegin));
  w.note_data(3, 80000);
  EXPECT_TRUE(w.end_sample(true, kBegin + milliseconds(10)));
  EXPECT_EQ(w.window(), 300000u) << "the limit";
  EXPECT_FALSE(w.begin_sample(3, kBegin)) << "nothing to find out any more";
}

TEST(AdaptiveWindow, StaysWhenTheStreamBringsLess) {
  AdaptiveWindow w(100000, 300000);
  EXPECT_TRUE(w.begin_sample(1, kBegin));
  w.note_data(1, 39000);
  w.note_data(3, 90000);  // another stream
  EXPECT_FALSE(w.end_sample(true, kBegin + milliseconds(10)));
  EXPECT_EQ(w.window(), 100000u);
}

TEST(AdaptiveWindow, StaysWhenItsBytesQueueUp) {
  AdaptiveWindow w(100000, 1000000);
  auto round_trip = [&w](int ms) {
    EXPECT_TRUE(w.begin_sample(1, kBegin));
    w.note_data(1, w.window());
    return w.end_sample(true, kBegin + milliseconds(ms));
  };
  w.note_round_trip(milliseconds(10));
  EXPECT_FALSE(round_trip(21));
  EXPECT_EQ(w.window(), 100000u);
  EXPECT_TRUE(round_trip(20)) << "a little more is no queue";
  EXPECT_FALSE(round_trip(40));
  EXPECT_TRUE(round_trip(4));
  EXPECT_FALSE(round_trip(10)) << "the path is shorter than it seemed";
}

TEST(AdaptiveWindow, StaysWhileMemoryIsShort) {
  AdaptiveWindow w(100000, 300000);
  EXPECT_TRUE(w.begin_sample(1, kBegin));
  w.note_data(1, 100000);
  EXPECT_FALSE(w.end_sample(false, kBegin + milliseconds(10)));
}

TEST(AdaptiveWindow, AnAnswerThatNobodyWaitsForChangesNothing) {
  AdaptiveWindow w(0, 300000);
  EXPECT_FALSE(w.end_sample(true, kBegin + milliseconds(10)));
  AdaptiveWindow fixed(100000, 0);
  EXPECT_FALSE(fixed.begin_sample(1, kBegin));
}

// A server whose windows grow from 100,000 to 400,000 bytes.
struct Grown {
  Grown() : server(options()) {
    server.feed(Wire{}.preface().settings().settings_ack().headers(1, kPost, false).headers(3, kPost, false));
    server.take();
  }
  static ConnectionOptions options() {
    ConnectionOptions o = Endpoint::options_for(Role::Server);
    o.stream_window_bytes = 100000;
    o.stream_window_bytes_max = 400000;
    return o;
  }
  // DATA of `bytes` on stream 1, consumed at once; what the server answered.
  std::vector<std::string> upload(size_t bytes) {
    for (; bytes > 0; bytes -= std::min<size_t>(bytes, 10000)) {
      EXPECT_TRUE(server.feed(Wire{}.data(1, std::string(std::min<size_t>(bytes, 10000), 'x'))));
    }
    return server.take();
  }
  bool answer_ping() {
    uint64_t opaque = AdaptiveWindow::kPing;
    std::string payload(reinterpret_cast<const char*>(&opaque), sizeof opaque);
    return server.feed(Wire{}.frame(FrameType::Ping, kFlagAck, 0, payload));
  }
  Endpoint server;
};

bool has(const std::vector<std::string>& lines, const std::string& start) {
  return std::any_of(lines.begin(), lines.end(), [&](const std::string& l) { return l.starts_with(start); });
}

TEST(AdaptiveWindow, AConnectionProbesTellsThePeerAndTakesMoreOnAllStreams) {
  Grown g;
  EXPECT_TRUE(has(g.upload(50000), "PING"));
  g.upload(70000);
  ASSERT_TRUE(g.answer_ping());
  EXPECT_TRUE(has(g.server.take(), "SETTINGS"));
  // Stream 3 had 100,000 bytes and has 200,000 now.
  g.server.sink.consumes = false;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(g.server.feed(Wire{}.data(3, std::string(10000, 'y'))));
  EXPECT_FALSE(has(g.server.take(), "RST"));
  ASSERT_TRUE(g.server.feed(Wire{}.data(3, "z")));
  EXPECT_TRUE(has(g.server.take(), "RST"));
}

TEST(AdaptiveWindow, GrowsForASenderThatHasUsedItsWindowUpWhenHalfOfItComesBack) {
  Grown g;
  auto first_half = g.upload(50000);
  EXPECT_TRUE(has(first_half, "WINDOW 1 50000")) << "credit for one half";
  EXPECT_TRUE(has(first_half, "PING"));
  g.upload(50000);  // was on its way; the sender waits for credit now
  ASSERT_TRUE(g.answer_ping());
  EXPECT_TRUE(has(g.server.take(), "SETTINGS"));
}

TEST(AdaptiveWindow, AShrunkWindowHoldsWhenThePeerHasAcknowledgedIt) {
  Grown g;
  g.upload(50000);
  g.upload(70000);
  ASSERT_TRUE(g.answer_ping());
  ASSERT_TRUE(g.server.feed(Wire{}.settings_ack()));
  g.server.connection.shrink_windows();
  EXPECT_TRUE(has(g.server.take(), "SETTINGS"));
  g.server.sink.consumes = false;
  for (int i = 0; i < 15; ++i) ASSERT_TRUE(g.server.feed(Wire{}.data(3, std::string(10000, 'y'))));
  EXPECT_FALSE(has(g.server.take(), "RST")) << "sent before the peer knew";
  ASSERT_TRUE(g.server.feed(Wire{}.settings_ack().data(3, "z")));
  EXPECT_TRUE(has(g.server.take(), "RST"));
}

}  // namespace
}  // namespace weir::http::h2
