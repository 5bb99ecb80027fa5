// Flow control: windows are conserved, nothing that waits is lost, and streams share fairly.
#include <gtest/gtest.h>

#include <map>

#include "http/h2/h2_peer_testing_test.h"

namespace weir::http::h2 {
namespace {

using Lines = std::vector<std::string>;

constexpr uint32_t kStreamWindow = 100000;
constexpr uint32_t kConnectionWindow = 200000;

ConnectionOptions small_windows(Role role) {
  ConnectionOptions options = Endpoint::options_for(role);
  options.stream_window_bytes = kStreamWindow;
  options.connection_window_bytes = kConnectionWindow;
  return options;
}

// Sum of the WINDOW_UPDATE increments for `id` in `lines`.
uint64_t credit(const Lines& lines, uint32_t id) {
  uint64_t sum = 0;
  std::string start = "WINDOW " + std::to_string(id) + " ";
  for (const std::string& line : lines) {
    if (line.starts_with(start)) sum += std::stoul(line.substr(start.size()));
  }
  return sum;
}

// A server that has the request `id` of a client with these windows, and has greeted.
void begin(Endpoint& server, uint32_t streams = 1, Wire settings = Wire{}.settings()) {
  server.feed(Wire{}.preface().raw(settings.bytes).settings_ack());
  for (uint32_t i = 0; i < streams; ++i) server.feed(Wire{}.headers(2 * i + 1, kPost, false));
  server.take();
}

std::string body(size_t size, char c = 'x') { return std::string(size, c); }

TEST(FlowControl, TheConnectionWindowComesBackWhateverBecomesOfTheData) {
  // Consumed, padded, left unconsumed, on reset, refused, ended and forgotten streams: the connection's
  // credit must return for every byte of payload, or all streams of the connection stall.
  Endpoint server(small_windows(Role::Server));
  begin(server, 3);
  server.sink.consumes = false;
  uint64_t used = 0, returned = 0;
  auto feed = [&](const Wire& wire, size_t bytes) {
    ASSERT_TRUE(server.feed(wire));
    used += bytes;
    returned += credit(server.take(), 0);
    ASSERT_LE(used - returned, kConnectionWindow / 2) << "half a window is due back";
  };
  feed(Wire{}.data(1, body(10000)), 10000);
  feed(Wire{}.padded_data(1, body(5000), 255), 5256);
  feed(Wire{}.padded_data(3, "", 255), 256);
  server.connection.reset(server.sink.handle(3), ErrorCode::Cancel);
  for (int i = 0; i < 50; ++i) feed(Wire{}.data(3, body(9000)), 9000);
  for (int i = 0; i < 5; ++i) feed(Wire{}.data(5, body(16000)), 16000);
  feed(Wire{}.data(5, body(16000), true), 16000);
  feed(Wire{}.data(5, body(700)), 700);                              // STREAM_CLOSED
  for (int i = 0; i < 30; ++i) feed(Wire{}.data(5, body(9000)), 9000);
}

TEST(FlowControl, WhatTheSinkWritesThroughLeavesInTheSameOrderAndIsCountedTheSame) {
  auto written = [](size_t taken_at_once) {
    Endpoint server(Role::Server);
    begin(server, 2, Wire{}.settings({{4, 1u << 20}}).window(0, 1u << 20));
    std::string out;
    server.sink.write_through_hook = [&](Buffer& output, std::span<const uint8_t> bytes) -> size_t {
      size_t taken = std::min(bytes.size(), taken_at_once);
      if (taken == 0) return 0;
      out.append(output.bytes().begin(), output.bytes().end());
      output.release();
      out.append(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(taken));
      return taken;
    };
    for (uint32_t id : {1, 3}) server.connection.send_headers(server.sink.handle(id), fields_of(kOk), false);
    size_t sent = 0;
    for (size_t size : {4095, 4096, 16384, 40000, 1}) {
      for (uint32_t id : {1, 3}) {
        sent += server.connection.send_data(server.sink.handle(id), span_of(body(size, static_cast<char>('a' + id))),
                                            size == 1);
      }
    }
    EXPECT_EQ(sent, 2u * (4095 + 4096 + 16384 + 40000 + 1));
    server.take();
    return out + server.last_output;
  };
  std::string expected = written(0);
  EXPECT_GT(expected.size(), 129000u);
  for (size_t taken : {1, 5000, 16384}) EXPECT_EQ(written(taken), expected) << taken;
}

TEST(FlowControl, TheStreamWindowComesBackWhenConsumedAndPaddingAtOnce) {
  Endpoint server(small_windows(Role::Server));
  begin(server);
  server.sink.consumes = false;
  for (int i = 0; i < 3; ++i) server.feed(Wire{}.data(1, body(16000)));
  EXPECT_EQ(credit(server.take(), 1), 0u) << "nothing left the proxy yet";
  server.connection.consume(server.sink.handle(1), 48000);
  EXPECT_EQ(credit(server.take(), 1), 0u) << "not half a window";
  server.connection.consume(server.sink.handle(1), 0);
  server.feed(Wire{}.data(1, body(2000)));
  server.connection.consume(server.sink.handle(1), 2000);
  EXPECT_EQ(credit(server.take(), 1), 50000u);
  uint64_t returned = 0;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(server.feed(Wire{}.padded_data(1, "", 255)));
    returned += credit(server.take(), 1);
  }
  EXPECT_GE(returned, 1000 * 256 - kStreamWindow / 2);
  EXPECT_LE(returned, 1000u * 256);
}

TEST(FlowControl, APeerThatSendsMoreThanAStreamWindowIsReset) {
  Endpoint server(small_windows(Role::Server));
  begin(server);
  server.sink.consumes = false;
  for (int i = 0; i < 10; ++i) server.feed(Wire{}.data(1, body(10000)));
  EXPECT_EQ(server.take_errors(), Lines{});
  server.feed(Wire{}.data(1, "x"));
  EXPECT_EQ(server.take_errors(), Lines{"RST 1 FLOW_CONTROL_ERROR"});
  EXPECT_EQ(server.sink.events.back(), "reset 1 FLOW_CONTROL_ERROR local");
}

TEST(FlowControl, UntilOurSettingsAreAcknowledgedThePeerMayUseTheDefaultWindow) {
  ConnectionOptions options = small_windows(Role::Server);
  options.stream_window_bytes = 1000;
  Endpoint server(options);
  server.sink.consumes = false;
  server.feed(Wire{}.preface().settings().headers(1, kPost, false).headers(3, kPost, false));
  for (int i = 0; i < 4; ++i) server.feed(Wire{}.data(1, body(15000)));  // RFC 9113 §6.9.3
  EXPECT_EQ(server.take_errors(), Lines{});
  server.feed(Wire{}.settings_ack().data(3, body(1000)));
  EXPECT_EQ(server.take_errors(), Lines{});
  server.feed(Wire{}.data(3, "x"));
  EXPECT_EQ(server.take_errors(), Lines{"RST 3 FLOW_CONTROL_ERROR"});
  server.feed(Wire{}.data(1, "x"));
  EXPECT_EQ(server.take_errors(), Lines{"RST 1 FLOW_CONTROL_ERROR"});
}

TEST(FlowControl, WaitingBytesTrailersAndTheEndFollowTheWindow) {
  Endpoint server(Role::Server);
  begin(server, 1, Wire{}.settings({{4, 10}}));
  StreamHandle h = server.sink.handle(1);
  Connection& c = server.connection;
  c.send_headers(h, fields_of(kOk), false);
  EXPECT_EQ(c.send_data(h, span_of("0123456789abcdef"), false), 10u);
  EXPECT_EQ(c.send_data(h, span_of("ghij"), false), 0u);
  c.send_headers(h, fields_of(kTrailers), true);
  EXPECT_EQ(server.take(), (Lines{"HEADERS 1", "DATA 1 10"}));
  EXPECT_EQ(c.pending_bytes(), 10u);
  server.feed(Wire{}.window(1, 7));
  EXPECT_EQ(server.take(), Lines{"DATA 1 7"});
  server.feed(Wire{}.window(1, 3));
  EXPECT_EQ(server.take(), (Lines{"DATA 1 3", "HEADERS 1 end"})) << "trailers need no window";
  EXPECT_EQ(c.pending_bytes(), 0u);
  EXPECT_EQ(server.sink.sent_bytes, 10u);
  EXPECT_TRUE(server.connection.stream_count() == 1) << "the request goes on";
  server.feed(Wire{}.data(1, "", true));
  EXPECT_EQ(c.stream_count(), 0u);
}

TEST(FlowControl, TheEndIsNeverLostBehindAClosedWindow) {
  for (bool ended_with_data : {true, false}) {
    Endpoint server(Role::Server);
    begin(server, 1, Wire{}.settings({{4, 4}}));
    StreamHandle h = server.sink.handle(1);
    server.connection.send_headers(h, fields_of(kOk), false);
    server.connection.send_data(h, span_of("abcdef"), ended_with_data);
    if (!ended_with_data) server.connection.send_data(h, {}, true);
    server.take();
    server.feed(Wire{}.window(1, 100));
    EXPECT_EQ(server.take(), Lines{"DATA 1 2 end"});
  }
  Endpoint server(Role::Server);
  begin(server, 1, Wire{}.settings({{4, 0}}));
  StreamHandle h = server.sink.handle(1);
  server.connection.send_headers(h, fields_of(kOk), false);
  server.connection.send_data(h, {}, true);
  EXPECT_EQ(server.take(), (Lines{"HEADERS 1", "DATA 1 0 end"})) << "an empty frame needs no window";
}

TEST(FlowControl, NothingIsTakenBehindAnEndThatWaits) {
  Endpoint server(Role::Server);
  begin(server, 1, Wire{}.settings({{4, 4}}));
  StreamHandle h = server.sink.handle(1);
  server.connection.send_headers(h, fields_of(kOk), false);
  server.connection.send_data(h, span_of("abcdef"), true);
  EXPECT_EQ(server.connection.send_data(h, span_of("more"), false), 4u) << "nobody takes them: credit goes back";
  server.connection.send_headers(h, fields_of(kTrailers), true);
  EXPECT_EQ(server.connection.pending_bytes(), 2u);
  server.take();
  server.feed(Wire{}.window(1, 100));
  EXPECT_EQ(server.take(), Lines{"DATA 1 2 end"});
}

TEST(FlowControl, ASinkThatSendsFromOnSentCannotSendBehindTheEnd) {
  Endpoint server(Role::Server);
  begin(server, 1, Wire{}.settings({{4, 4}}));
  StreamHandle h = server.sink.handle(1);
  server.sink.sent_hook = [&](StreamHandle s, Stream&) { server.connection.send_data(s, span_of("late"), false); };
  server.connection.send_headers(h, fields_of(kOk), false);
  server.connection.send_data(h, span_of("abcdef"), true);
  server.take();
  server.feed(Wire{}.window(1, 100));
  EXPECT_EQ(server.take(), Lines{"DATA 1 2 end"});
}

TEST(FlowControl, AWindowMayBecomeNegativeAndMustBeFilledUp) {
  Endpoint server(Role::Server);
  begin(server, 1, Wire{}.settings({{4, 100}}));
  StreamHandle h = server.sink.handle(1);
  server.connection.send_headers(h, fields_of(kOk), false);
  server.connection.send_data(h, span_of(body(60)), false);
  server.feed(Wire{}.settings({{4, 10}}));  // 100 - 60 - 90 = -50
  EXPECT_EQ(server.stream(1)->send_window, -50);
  EXPECT_EQ(server.connection.send_data(h, span_of(body(5)), true), 0u);
  server.take();
  server.feed(Wire{}.window(1, 50));
  EXPECT_EQ(server.take(), Lines{});
  server.feed(Wire{}.window(1, 2));
  EXPECT_EQ(server.take(), Lines{"DATA 1 2"});
  server.feed(Wire{}.settings({{4, 13}}));
  EXPECT_EQ(server.take(), (Lines{"SETTINGS ack", "DATA 1 3 end"})) << "a settings change wakes the stream";
}

TEST(FlowControl, AChangeOfTheInitialWindowMovesAllStreamsOverAnySplit) {
  Wire wire = Wire{}.preface().settings({{4, 50}}).headers(1, kPost, false).headers(3, kPost, false);
  wire.settings({{4, 20}, {3, 9}, {4, 70}}).headers(5, kPost, false);
  for (size_t split = 1; split < wire.bytes.size(); ++split) {
    Endpoint server(Role::Server);
    server.feed(std::string_view(wire.bytes).substr(0, split));
    server.feed(std::string_view(wire.bytes).substr(split));
    for (uint32_t id : {1u, 3u, 5u}) ASSERT_EQ(server.stream(id)->send_window, 70) << split;
  }
}

TEST(FlowControl, TheConnectionWindowIsSharedAndComesBackToAll) {
  Endpoint server(Role::Server);
  begin(server, 4, Wire{}.settings({{4, 1 << 20}}));
  for (uint32_t id = 1; id < 8; id += 2) {
    server.connection.send_headers(server.sink.handle(id), fields_of(kOk), false);
    server.connection.send_data(server.sink.handle(id), span_of(body(60000)), true);
  }
  EXPECT_EQ(server.connection.pending_bytes(), 4 * 60000 - 65535u);
  server.take();
  uint64_t data = 0;
  Lines ends;
  for (int i = 0; i < 100 && server.connection.stream_count() > 0 && ends.size() < 4; ++i) {
    server.feed(Wire{}.window(0, 5000));
    for (const std::string& line : server.take()) {
      if (line.ends_with(" end")) ends.push_back(line);
      data += std::stoul(line.substr(7));
    }
  }
  EXPECT_EQ(data, 4 * 60000 - 65535u);
  EXPECT_EQ(ends.size(), 3u) << "the first had all the window";
  EXPECT_EQ(server.sink.sent_bytes, data);
}

TEST(FlowControl, AStreamWhoseOwnWindowIsShutDoesNotHoldTheOthers) {
  Endpoint server(Role::Server);
  begin(server, 500, Wire{}.settings({{4, 0}}));
  ConnectionOptions unused;
  for (uint32_t i = 0; i < unused.max_concurrent_streams; ++i) {
    StreamHandle h = server.sink.handle(2 * i + 1);
    server.connection.send_headers(h, fields_of(kOk), false);
    server.connection.send_data(h, span_of(body(1000)), true);
  }
  server.take();
  server.feed(Wire{}.window(101, 1000));
  EXPECT_EQ(server.take(), Lines{"DATA 101 1000 end"});
}

// Rounds of pump() under a bounded output: how much each of 100 streams got.
std::map<uint32_t, uint64_t> shares(int pumps, bool by_connection_window) {
  ConnectionOptions options = Endpoint::options_for(Role::Server);
  options.output_high_bytes = 64 << 10;
  Endpoint server(options);
  begin(server, 100, Wire{}.settings({{4, 1 << 24}}));
  if (!by_connection_window) server.feed(Wire{}.window(0, 1 << 28));
  std::string much = body(1 << 20);
  for (uint32_t id = 1; id < 200; id += 2) {
    server.connection.send_headers(server.sink.handle(id), fields_of(kOk), false);
    server.connection.send_data(server.sink.handle(id), span_of(much), true);
  }
  server.take();
  std::map<uint32_t, uint64_t> out;
  for (int i = 0; i < pumps; ++i) {
    if (by_connection_window) {
      server.feed(Wire{}.window(0, 40000));
    } else {
      server.connection.pump();
    }
    EXPECT_LE(server.connection.output().size(), options.output_high_bytes + kFrameBytesMax + kFrameHeaderBytes);
    for (const std::string& line : server.take()) {
      uint32_t id = 0, bytes = 0;
      if (std::sscanf(line.c_str(), "DATA %u %u", &id, &bytes) == 2) out[id] += bytes;
    }
  }
  return out;
}

TEST(FlowControl, StreamsTakeTurnsWhenTheOutputIsFull) {
  auto got = shares(100, false);
  EXPECT_GE(got.size(), 99u) << "every waiting stream had its turn (the first may have had all before)";
  for (auto [id, bytes] : got) EXPECT_LE(bytes, 8u * kFrameBytesMax) << id;
}

TEST(FlowControl, StreamsTakeTurnsAtTheConnectionsWindow) {
  auto got = shares(100, true);
  EXPECT_GE(got.size(), 99u);
  for (auto [id, bytes] : got) EXPECT_LE(bytes, 8u * kFrameBytesMax) << id;
}

TEST(FlowControl, AResetDropsWhatWaitsAndWakesNobody) {
  Endpoint server(Role::Server);
  begin(server, 2, Wire{}.settings({{4, 10}}));
  for (uint32_t id : {1u, 3u}) {
    server.connection.send_headers(server.sink.handle(id), fields_of(kOk), false);
    server.connection.send_data(server.sink.handle(id), span_of(body(1000)), true);
  }
  EXPECT_EQ(server.connection.pending_bytes(), 1980u);
  server.take();
  server.feed(Wire{}.window(1, 5).rst(1));
  EXPECT_EQ(server.connection.pending_bytes(), 990u);
  EXPECT_EQ(server.take(), Lines{});
  server.connection.reset(server.sink.handle(3), ErrorCode::Cancel);
  EXPECT_EQ(server.connection.pending_bytes(), 0u);
  server.feed(Wire{}.window(3, 5).window(0, 5));
  EXPECT_EQ(server.take(), Lines{"RST 3 CANCEL"});
  EXPECT_EQ(server.connection.stream_count(), 0u);
  EXPECT_EQ(server.streams.size(), 0u);
}

TEST(FlowControl, AResetFromInsideOnSentIsSafe) {
  Endpoint server(Role::Server);
  begin(server, 3, Wire{}.settings({{4, 10}}));
  for (uint32_t id : {1u, 3u, 5u}) {
    server.connection.send_headers(server.sink.handle(id), fields_of(kOk), false);
    server.connection.send_data(server.sink.handle(id), span_of(body(100)), true);
  }
  server.sink.sent_hook = [&](StreamHandle, Stream&) {
    for (uint32_t id : {1u, 3u, 5u}) server.connection.reset(server.sink.handle(id), ErrorCode::Cancel);
  };
  server.take();
  server.feed(Wire{}.settings({{4, 1000}}));
  EXPECT_EQ(server.take_errors().size(), 3u);
  EXPECT_EQ(server.connection.stream_count(), 0u);
  EXPECT_EQ(server.connection.pending_bytes(), 0u);
}

TEST(FlowControl, ResetAfterEndWaitsForTheLastByte) {
  Endpoint server(Role::Server);
  begin(server, 2, Wire{}.settings({{4, 10}}));
  StreamHandle h = server.sink.handle(1);
  server.connection.reset_after_end(h);
  server.connection.send_headers(h, fields_of(kOk), false);
  server.connection.send_data(h, span_of(body(20)), true);
  EXPECT_EQ(server.take(), (Lines{"HEADERS 1", "DATA 1 10"}));
  server.feed(Wire{}.window(1, 10));
  EXPECT_EQ(server.take(), (Lines{"DATA 1 10 end", "RST 1 NO_ERROR"}));
  server.connection.send_headers(server.sink.handle(3), fields_of(kOk), true);
  server.connection.reset_after_end(server.sink.handle(3));
  EXPECT_EQ(server.take(), (Lines{"HEADERS 3 end", "RST 3 NO_ERROR"}));
  EXPECT_EQ(server.connection.stream_count(), 0u);
  server.feed(Wire{}.data(1, "late").data(3, "late", true));
  EXPECT_EQ(server.take_errors(), Lines{}) << "the client had sent this before it knew";
}

TEST(FlowControl, LargeBodiesLeaveInFramesOfTheSizeEveryPeerTakes) {
  Endpoint server(Role::Server);
  begin(server, 1, Wire{}.settings({{4, 1 << 20}}));
  StreamHandle h = server.sink.handle(1);
  server.connection.send_headers(h, fields_of(kOk), false);
  server.connection.send_data(h, span_of(body(40000)), true);
  EXPECT_EQ(server.take(), (Lines{"HEADERS 1", "DATA 1 16384", "DATA 1 16384", "DATA 1 7232 end"}));
}

TEST(FlowControl, AHeaderBlockOverTheFrameSizeIsContinued) {
  Endpoint client(Role::Client), server(Role::Server);
  Pairs large = kGet;
  for (int i = 0; i < 50; ++i) large.push_back({"x-" + std::to_string(i), body(1000, static_cast<char>('a' + i % 26))});
  client.request(large, true);
  carry(client, server);
  EXPECT_EQ(server.sink.opened.size(), 1u);
  EXPECT_TRUE(server.sink.events.back().ends_with(" end"));
  EXPECT_GT(server.sink.events.back().size(), 50000u);
}

}  // namespace
}  // namespace weir::http::h2
