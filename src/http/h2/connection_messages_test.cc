// RFC 9113 §8: which messages are well-formed, what the sink hears of them, and what it never hears.
#include <gtest/gtest.h>

#include "http/h2/h2_peer_testing_test.h"

namespace weir::http::h2 {
namespace {

using Lines = std::vector<std::string>;

// What a server answers a request with these fields, as stream 1.
Lines server_errors(const Pairs& pairs, Lines* events = nullptr) {
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server));
  server.sink.events.clear();
  EXPECT_TRUE(server.feed(Wire{}.headers(1, pairs, true)));
  if (events != nullptr) *events = server.sink.events;
  return server.take_errors();
}

// What a client answers these frames, having asked for stream 1.
struct Answered {
  Lines errors, events;
};
Answered client_after(const Wire& wire, const Pairs& request = kPost, bool ended = true, bool no_body = false) {
  Endpoint client(Role::Client);
  client.feed(greeting(Role::Client));
  StreamHandle handle = client.request(request, ended);
  client.streams.resolve(handle)->expects_no_body = no_body;
  client.sink.events.clear();
  EXPECT_TRUE(client.feed(wire));
  return {client.take_errors(), client.sink.events};
}

TEST(Messages, MalformedRequestsResetTheirStreamAndTheSinkNeverHearsOfThem) {
  const Pairs bad[] = {
      {},
      {{":method", "GET"}, {":scheme", "http"}},
      {{":method", "GET"}, {":path", "/"}},
      {{":scheme", "http"}, {":path", "/"}},
      {{":method", "GET"}, {":scheme", "http"}, {":path", ""}},
      {{":method", "GET"}, {":scheme", "http"}, {":path", "x"}},
      {{":method", "GET"}, {":scheme", "http"}, {":path", "*"}},
      {{":method", "CONNECT"}, {":authority", "a:1"}},
      with(kGet, {{":path", "/again"}}),
      with(kGet, {{":method", "GET"}}),
      with(kGet, {{":scheme", "http"}}),
      with(kGet, {{":authority", "b"}}),
      with(kGet, {{":status", "200"}}),
      with(kGet, {{":unknown", "x"}}),
      with(kGet, {{":protocol", "websocket"}}),
      {{":method", "GET"}, {":scheme", "http"}, {"x", "y"}, {":path", "/"}},
      with(kGet, {{"connection", "close"}}),
      with(kGet, {{"keep-alive", "1"}}),
      with(kGet, {{"proxy-connection", "close"}}),
      with(kGet, {{"transfer-encoding", "chunked"}}),
      with(kGet, {{"upgrade", "h2c"}}),
      with(kGet, {{"te", "gzip"}}),
      with(kGet, {{"te", "trailers, deflate"}}),
      with(kGet, {{"X-Upper", "1"}}),
      with(kGet, {{"x y", "1"}}),
      with(kGet, {{"", "1"}}),
      with(kGet, {{"x", "a\nb"}}),
      with(kGet, {{"x", "a\rb"}}),
      with(kGet, {{"x", std::string("a\0b", 3)}}),
      with(kGet, {{"x", " a"}}),
      with(kGet, {{"content-length", "-1"}}),
      with(kGet, {{"content-length", "1x"}}),
      with(kGet, {{"content-length", ""}}),
      with(kGet, {{"content-length", "99999999999999999999"}}),
      with(kGet, {{"content-length", "0"}, {"content-length", "1"}}),
      with(kGet, {{"content-length", "1"}}),  // and END_STREAM
  };
  for (const Pairs& pairs : bad) {
    Lines events;
    EXPECT_EQ(server_errors(pairs, &events), Lines{"RST 1 PROTOCOL_ERROR"}) << block_of(pairs);
    EXPECT_EQ(events, Lines{}) << block_of(pairs);
  }
}

TEST(Messages, WellFormedRequestsReachTheSink) {
  const Pairs good[] = {
      kGet,
      {{":path", "/"}, {":scheme", "http"}, {":method", "GET"}},
      {{":method", "OPTIONS"}, {":scheme", "http"}, {":path", "*"}},
      with(kGet, {{"te", "trailers"}}),
      with(kGet, {{"content-length", "0"}}),
      with(kGet, {{"content-length", "0"}, {"content-length", "0"}}),
      with(kGet, {{"x", ""}, {"cookie", "a=b"}, {"cookie", "c=d"}}),
  };
  for (const Pairs& pairs : good) {
    Lines events;
    EXPECT_EQ(server_errors(pairs, &events), Lines{}) << block_of(pairs);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_TRUE(events[0].starts_with("head 1") && events[0].ends_with(" end")) << events[0];
  }
}

TEST(Messages, AContentLengthIsHeldToByRequestsBodies) {
  auto errors = [](const Wire& body, const char* length) {
    Endpoint server(Role::Server);
    server.feed(greeting(Role::Server));
    Wire wire = Wire{}.headers(1, with(kPost, {{"content-length", length}}), false);
    EXPECT_TRUE(server.feed(wire.raw(body.bytes)));
    return server.take_errors();
  };
  EXPECT_EQ(errors(Wire{}.data(1, "abc", true), "3"), Lines{});
  EXPECT_EQ(errors(Wire{}.data(1, "ab").padded_data(1, "c", 9).data(1, "", true), "3"), Lines{});
  EXPECT_EQ(errors(Wire{}.data(1, "abc").headers(1, kTrailers, true), "3"), Lines{});
  EXPECT_EQ(errors(Wire{}.data(1, "abcd"), "3"), Lines{"RST 1 PROTOCOL_ERROR"});
  EXPECT_EQ(errors(Wire{}.data(1, "ab", true), "3"), Lines{"RST 1 PROTOCOL_ERROR"});
  EXPECT_EQ(errors(Wire{}.data(1, "ab").headers(1, kTrailers, true), "3"), Lines{"RST 1 PROTOCOL_ERROR"});
  EXPECT_EQ(errors(Wire{}.data(1, "x", true), "0"), Lines{"RST 1 PROTOCOL_ERROR"});
}

TEST(Messages, TrailersEndTheStreamAndHoldNoPseudoHeaders) {
  auto errors = [](const Pairs& trailers, bool end) {
    Endpoint server(Role::Server);
    server.feed(greeting(Role::Server));
    EXPECT_TRUE(server.feed(Wire{}.headers(1, kPost, false).data(1, "x").headers(1, trailers, end)));
    return server.take_errors();
  };
  EXPECT_EQ(errors(kTrailers, true), Lines{});
  EXPECT_EQ(errors({}, true), Lines{});
  EXPECT_EQ(errors(kTrailers, false), Lines{"RST 1 PROTOCOL_ERROR"});
  EXPECT_EQ(errors({{":path", "/"}}, true), Lines{"RST 1 PROTOCOL_ERROR"});
  EXPECT_EQ(errors({{":status", "200"}}, true), Lines{"RST 1 PROTOCOL_ERROR"});
  EXPECT_EQ(errors({{"connection", "close"}}, true), Lines{"RST 1 PROTOCOL_ERROR"});
  EXPECT_EQ(errors({{"X", "y"}}, true), Lines{"RST 1 PROTOCOL_ERROR"});
}

TEST(Messages, ResponsesAsAClientTakesThem) {
  auto head = [](const Pairs& pairs, bool end = true) { return client_after(Wire{}.headers(1, pairs, end)).errors; };
  EXPECT_EQ(head(kOk), Lines{});
  EXPECT_EQ(head({{":status", "599"}, {"content-length", "0"}}), Lines{});
  for (const Pairs& bad : {Pairs{}, Pairs{{"x", "y"}}, Pairs{{":status", "20"}}, Pairs{{":status", "2000"}},
                           Pairs{{":status", "2x0"}}, Pairs{{":status", "099"}}, Pairs{{":status", ""}},
                           with(kOk, kOk), with(kOk, {{":path", "/"}}), Pairs{{"x", "y"}, {":status", "200"}},
                           with(kOk, {{"connection", "x"}}), with(kOk, {{"transfer-encoding", "chunked"}}),
                           with(kOk, {{"content-length", "5"}}), Pairs{{":status", "101"}}, Pairs{{":status", "100"}}}) {
    EXPECT_EQ(head(bad), Lines{"RST 1 PROTOCOL_ERROR"}) << block_of(bad);
  }
}

TEST(Messages, InformationalResponsesPrecedeTheHead) {
  Wire wire;
  wire.headers(1, {{":status", "103"}, {"link", "a"}}, false).headers(1, {{":status", "100"}}, false);
  wire.headers(1, kOk, false).data(1, "body").headers(1, kTrailers, true);
  Answered a = client_after(wire);
  EXPECT_EQ(a.errors, Lines{});
  EXPECT_EQ(a.events, (Lines{"informational 1 :status=103 link=a", "informational 1 :status=100",
                             "head 1 :status=200", "data 1 body", "trailers 1 grpc-status=0 end"}));
  EXPECT_EQ(client_after(Wire{}.headers(1, {{":status", "101"}}, false)).errors, Lines{"RST 1 PROTOCOL_ERROR"});
  EXPECT_EQ(client_after(Wire{}.headers(1, {{":status", "100"}}, false).data(1, "x")).errors,
            Lines{"RST 1 PROTOCOL_ERROR"});
}

TEST(Messages, ResponsesWithoutBodyMayAnnounceALength) {
  Pairs announced = with(kOk, {{"content-length", "10"}});
  EXPECT_EQ(client_after(Wire{}.headers(1, announced, true), kPost, true, true).errors, Lines{});
  EXPECT_EQ(client_after(Wire{}.headers(1, {{":status", "304"}, {"content-length", "10"}}, true)).errors, Lines{});
  EXPECT_EQ(client_after(Wire{}.headers(1, announced, true)).errors, Lines{"RST 1 PROTOCOL_ERROR"});
}

TEST(Messages, ABrokenResponseIsToldAsALocalReset) {
  Answered a = client_after(Wire{}.headers(1, kOk, false).data(1, "ok").headers(1, kTrailers, false));
  EXPECT_EQ(a.errors, Lines{"RST 1 PROTOCOL_ERROR"});
  EXPECT_EQ(a.events.back(), "reset 1 PROTOCOL_ERROR local");
}

TEST(Messages, AListThatIsTooLargeReachesTheSinkMarkedAndTheConnectionLives) {
  ConnectionOptions options = Endpoint::options_for(Role::Server);
  options.hpack.fields_max = 6;
  Endpoint server(options);
  server.feed(greeting(Role::Server));
  Wire wire;
  wire.headers(1, with(kGet, {{"a", "1"}, {"b", "2"}, {"c", "3"}}), true).headers(3, kGet, true);
  EXPECT_TRUE(server.feed(wire));
  ASSERT_EQ(server.sink.events.size(), 3u);
  EXPECT_NE(server.sink.events[1].find("too_large"), std::string::npos);
  EXPECT_EQ(server.sink.events[2].find("too_large"), std::string::npos);
}

TEST(Messages, AHeaderBlockOpenAcrossReadsIsPartialInput) {
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server));
  EXPECT_FALSE(server.connection.has_partial_input());
  server.feed(Wire{}.frame(FrameType::Headers, kFlagEndStream, 1, ""));
  EXPECT_TRUE(server.connection.has_partial_input()) << "although its first fragment is empty";
  server.feed(Wire{}.frame(FrameType::Continuation, kFlagEndHeaders, 1, block_of(kGet)));
  EXPECT_FALSE(server.connection.has_partial_input());
  server.feed(std::string_view("\0\0\0", 3));
  EXPECT_TRUE(server.connection.has_partial_input());
}

TEST(Messages, GoawayRefusesTheStreamsAboveItsId) {
  Endpoint client(Role::Client);
  client.feed(greeting(Role::Client));
  for (int i = 0; i < 3; ++i) client.request(kPost, false);
  client.sink.events.clear();
  EXPECT_TRUE(client.feed(Wire{}.goaway(2)));  // even: of no meaning, but not wrong
  EXPECT_EQ(client.sink.events.size(), 3u);
  EXPECT_EQ(client.sink.events.back(), "goaway 2 NO_ERROR");
  EXPECT_EQ(client.connection.stream_count(), 1u);
  EXPECT_FALSE(client.connection.can_open_stream());
  EXPECT_TRUE(client.feed(Wire{}.headers(1, kOk, false).goaway(0)));
  EXPECT_EQ(client.sink.events.back(), "goaway 0 NO_ERROR");
  EXPECT_EQ(client.connection.stream_count(), 0u);
  EXPECT_EQ(client.take_errors(), Lines{}) << "the peer does not know these streams";
}

TEST(Messages, TheTwoStepsOfAGracefulShutdownLoseNoStream) {
  Endpoint server(Role::Server);
  server.feed(greeting(Role::Server));
  server.feed(Wire{}.headers(1, kGet, true));
  server.connection.announce_goaway();
  server.feed(Wire{}.headers(3, kGet, true));
  EXPECT_EQ(server.take_errors(), Lines{"GOAWAY 2147483647 NO_ERROR"});
  server.connection.finish_goaway();
  server.connection.finish_goaway();
  server.feed(Wire{}.headers(5, kGet, true));
  EXPECT_EQ(server.take_errors(), (Lines{"GOAWAY 3 NO_ERROR", "RST 5 REFUSED_STREAM"}));
  server.connection.send_headers(server.sink.handle(3), fields_of(kOk), true);
  EXPECT_EQ(server.take().back(), "HEADERS 3 end");
}

TEST(Messages, AStreamThatWasNeverSaidIsNotReset) {
  Endpoint client(Role::Client);
  client.feed(greeting(Role::Client));
  StreamHandle silent = client.connection.open_stream(0);
  client.take();
  client.connection.reset(silent, ErrorCode::Cancel);
  EXPECT_EQ(client.take(), Lines{}) << "RST_STREAM on an idle stream would end the connection";
  EXPECT_EQ(client.connection.stream_count(), 0u);
}

}  // namespace
}  // namespace weir::http::h2
