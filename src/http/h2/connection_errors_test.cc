// Every rule of RFC 9113 that a peer can break: which error it gets, and how much ends with it. Each input
// is fed whole, byte by byte and at random splits, and must have the same effect.
#include <gtest/gtest.h>

#include "http/h2/h2_peer_testing_test.h"

namespace weir::http::h2 {
namespace {

using Lines = std::vector<std::string>;
constexpr uint32_t kReserved = 0x80000000;

struct Case {
  const char* name;
  Wire wire;     // after the greeting
  Lines errors;  // RST_STREAM and GOAWAY frames in the answer
};

// Client: streams 1 and 3 are open, their requests not ended; 5 is ended.
void open_requests(Endpoint& client) {
  client.request(kPost, false);
  client.request(kPost, false);
  client.request(kGet, true);
}

struct Result {
  Lines events, output;
  bool alive = true;
  bool operator==(const Result&) const = default;
};

Result run(Role role, const std::string& bytes, const std::function<size_t(size_t)>& piece) {
  Endpoint endpoint(role);
  endpoint.sink.headers_hook = [&](StreamHandle h, Stream&, const HeadersEvent& event) {
    if (role == Role::Server && event.end_stream) endpoint.connection.send_headers(h, fields_of(kOk), true);
  };
  if (role == Role::Client) open_requests(endpoint);
  Result result;
  for (size_t at = 0; at < bytes.size();) {
    size_t n = std::min(piece(at), bytes.size() - at);
    result.alive = endpoint.feed(std::string_view(bytes).substr(at, n));
    at += n;
  }
  result.events = endpoint.sink.events;
  result.output = endpoint.take();
  return result;
}

void check(Role role, const Case& c, bool greet = true) {
  SCOPED_TRACE(c.name);
  std::string bytes = (greet ? greeting(role).bytes : "") + c.wire.bytes;
  Result whole = run(role, bytes, [&](size_t) { return bytes.size(); });
  Lines errors;
  for (const std::string& line : whole.output) {
    if (line.starts_with("RST") || line.starts_with("GOAWAY")) errors.push_back(line);
  }
  EXPECT_EQ(errors, c.errors);
  bool over = !c.errors.empty() && c.errors.back().starts_with("GOAWAY");
  EXPECT_EQ(whole.alive, !over);
  EXPECT_EQ(run(role, bytes, [](size_t) { return 1; }), whole) << "byte by byte";
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    Random random(seed);
    EXPECT_EQ(run(role, bytes, [&](size_t) { return 1 + random.below(30); }), whole) << "seed " << seed;
  }
}

void check_all(Role role, const std::vector<Case>& cases) {
  for (const Case& c : cases) check(role, c);
}

Wire get(uint32_t id) { return Wire{}.headers(id, kGet, true); }
Wire post(uint32_t id) { return Wire{}.headers(id, kPost, false); }
std::string kHead = block_of(kGet);
constexpr auto kEnds = static_cast<uint8_t>(kFlagEndHeaders | kFlagEndStream);

TEST(ConnectionErrors, APrefaceThatIsNotHttp2EndsTheConnection) {
  Wire http1 = Wire{}.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  check(Role::Server, {"http/1.1", http1, {"GOAWAY 0 PROTOCOL_ERROR"}}, false);
  Wire almost;
  almost.preface();
  almost.bytes.back() = '\r';
  check(Role::Server, {"last byte", almost, {"GOAWAY 0 PROTOCOL_ERROR"}}, false);
}

TEST(ConnectionErrors, TheFirstFrameMustBeSettings) {
  Wire ping = Wire{}.preface().ping();
  check(Role::Server, {"ping", ping, {"GOAWAY 0 PROTOCOL_ERROR"}}, false);
  check(Role::Server, {"ack", Wire{}.preface().settings_ack(), {"GOAWAY 0 PROTOCOL_ERROR"}}, false);
  check(Role::Server, {"data", Wire{}.preface().data(1, "x"), {"GOAWAY 0 PROTOCOL_ERROR"}}, false);
  check(Role::Client, {"headers", Wire{}.headers(1, kOk, true), {"GOAWAY 0 PROTOCOL_ERROR"}}, false);
  check(Role::Client, {"http/1.1", Wire{}.raw("HTTP/1.1 400 Bad Request\r\n\r\n"), {"GOAWAY 0 FRAME_SIZE_ERROR"}},
        false);
}

const std::vector<Case> kBothRoles = {
    {"frame over 16384", Wire{}.frame(FrameType::Data, 0, 1, std::string(16385, 'x')), {"GOAWAY 0 FRAME_SIZE_ERROR"}},
    {"unknown frame over 16384", Wire{}.frame(FrameType{0x77}, 0, 0, std::string(16385, 'x')),
     {"GOAWAY 0 FRAME_SIZE_ERROR"}},
    {"settings on a stream", Wire{}.frame(FrameType::Settings, 0, 1, ""), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"settings ack with payload", Wire{}.frame(FrameType::Settings, kFlagAck, 0, "123456"),
     {"GOAWAY 0 FRAME_SIZE_ERROR"}},
    {"settings of 5 bytes", Wire{}.frame(FrameType::Settings, 0, 0, "12345"), {"GOAWAY 0 FRAME_SIZE_ERROR"}},
    {"initial window 2^31", Wire{}.settings({{4, 0x80000000}}), {"GOAWAY 0 FLOW_CONTROL_ERROR"}},
    {"initial window 2^31-1", Wire{}.settings({{4, 0x7fffffff}}), {}},
    {"frame size 16383", Wire{}.settings({{5, 16383}}), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"frame size 2^24", Wire{}.settings({{5, 1 << 24}}), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"frame size 2^24-1", Wire{}.settings({{5, (1 << 24) - 1}}), {}},
    {"enable push 2", Wire{}.settings({{2, 2}}), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"unknown settings", Wire{}.settings({{0x99, 7}, {0, 1}, {0xffff, 0xffffffff}}), {}},
    {"33 settings", Wire{}.settings(std::vector<std::pair<int, uint32_t>>(33, {3, 1})), {"GOAWAY 0 ENHANCE_YOUR_CALM"}},
    {"ping on a stream", Wire{}.frame(FrameType::Ping, 0, 1, "12345678"), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"ping of 7", Wire{}.ping("1234567"), {"GOAWAY 0 FRAME_SIZE_ERROR"}},
    {"ping ack of 9", Wire{}.ping("123456789", kFlagAck), {"GOAWAY 0 FRAME_SIZE_ERROR"}},
    {"unasked ping ack", Wire{}.ping("12345678", kFlagAck), {}},
    {"goaway on a stream", Wire{}.frame(FrameType::GoAway, 0, 1, u32(0) + u32(0)), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"goaway of 7", Wire{}.frame(FrameType::GoAway, 0, 0, "1234567"), {"GOAWAY 0 FRAME_SIZE_ERROR"}},
    {"goaway raises its id", Wire{}.goaway(5).goaway(7), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"goaway with debug data", Wire{}.frame(FrameType::GoAway, 0, 0, u32(7) + u32(0) + "why"), {}},
    {"goaway with the reserved bit", Wire{}.goaway(7 | kReserved).goaway(5), {}},
    {"window update of 3", Wire{}.frame(FrameType::WindowUpdate, 0, 0, "123"), {"GOAWAY 0 FRAME_SIZE_ERROR"}},
    {"window update of 0", Wire{}.window(0, 0), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"window update of the reserved bit alone", Wire{}.window(0, kReserved), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"window update with the reserved bit", Wire{}.window(0, kReserved | 5), {}},
    {"connection window overflow", Wire{}.window(0, 0x7fffffff), {"GOAWAY 0 FLOW_CONTROL_ERROR"}},
    {"connection window to its maximum", Wire{}.window(0, 0x7fffffff - 65535), {}},
    {"unknown frame types", Wire{}.frame(FrameType{0x0a}, 0xff, 0, "abc").frame(FrameType{0xff}, 0, 9, ""), {}},
    {"data on stream 0", Wire{}.data(0, "x"), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"headers on stream 0", Wire{}.headers(0, kGet, true), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"rst on stream 0", Wire{}.rst(0), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"priority on stream 0", Wire{}.frame(FrameType::Priority, 0, 0, "12345"), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"continuation on stream 0", Wire{}.frame(FrameType::Continuation, 4, 0, "x"), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"continuation alone", Wire{}.frame(FrameType::Continuation, 4, 1, "x"), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"push promise", Wire{}.frame(FrameType::PushPromise, 4, 1, u32(2) + "\x82"), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"data on an idle stream", Wire{}.data(77, "x"), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"data on an idle stream of the server", Wire{}.data(2, "x"), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"rst on an idle stream", Wire{}.rst(77), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"window update on an idle stream", Wire{}.window(77, 1), {"GOAWAY 0 PROTOCOL_ERROR"}},
    {"priority on an idle stream", Wire{}.frame(FrameType::Priority, 0, 77, u32(1) + "x"), {}},
    {"priority of 4 on an idle stream", Wire{}.frame(FrameType::Priority, 0, 77, "1234"),
     {"GOAWAY 0 FRAME_SIZE_ERROR"}},
    {"headers with an even id", Wire{}.headers(2, kGet, true), {"GOAWAY 0 PROTOCOL_ERROR"}},
};

TEST(ConnectionErrors, RulesThatHoldForBothRoles) {
  check_all(Role::Server, kBothRoles);
  check_all(Role::Client, kBothRoles);
}

TEST(ConnectionErrors, PushIsTheClientsToAllow) {
  check(Role::Server, {"server takes 1", Wire{}.settings({{2, 1}}), {}});
  check(Role::Client, {"client refuses 1", Wire{}.settings({{2, 1}}), {"GOAWAY 0 PROTOCOL_ERROR"}});
}

Wire then(Wire a, const Wire& b) { return a.raw(b.bytes); }

TEST(ConnectionErrors, StreamIdsOfAServer) {
  check_all(Role::Server,
            {{"ids grow", then(get(1), get(7)), {}},
             {"an id goes back", then(get(5), get(3)), {"GOAWAY 5 STREAM_CLOSED"}},
             {"an id comes again", then(get(5), get(5)), {"GOAWAY 5 STREAM_CLOSED"}},
             {"the reserved bit of an id is not part of it", Wire{}.headers(1 | kReserved, kGet, true).rst(1), {}},
             {"skipped ids are closed", then(get(5), Wire{}.rst(3).window(1, 1)), {}},
             {"data on a skipped id", then(get(5), Wire{}.data(3, "x")), {"RST 3 STREAM_CLOSED"}},
             {"id 2^31-1", get(0x7fffffff), {}}});
}

TEST(ConnectionErrors, FramesOnHalfClosedAndClosedStreams) {
  Wire ended_slow = Wire{}.headers(1, kPost, false).data(1, "x", true);  // the response is still to come
  check_all(
      Role::Server,
      {{"data on half-closed (remote)", then(ended_slow, Wire{}.data(1, "x")), {"RST 1 STREAM_CLOSED"}},
       {"headers on half-closed (remote)", then(ended_slow, Wire{}.headers(1, kTrailers, true)),
        {"RST 1 STREAM_CLOSED"}},
       {"window update on half-closed (remote)", then(ended_slow, Wire{}.window(1, 1)), {}},
       {"rst on half-closed (remote)", then(ended_slow, Wire{}.rst(1)), {}},
       {"priority on half-closed (remote)", then(ended_slow, Wire{}.frame(FrameType::Priority, 0, 1, "12345")), {}},
       {"data on closed", then(get(1), Wire{}.data(1, "x")), {"RST 1 STREAM_CLOSED"}},
       {"data on closed twice", then(get(1), Wire{}.data(1, "x").data(1, "y")), {"RST 1 STREAM_CLOSED"}},
       {"rst, window update, priority on closed",
        then(get(1), Wire{}.rst(1).window(1, 9).frame(FrameType::Priority, 0, 1, "12345")), {}},
       {"data after the peer's rst", then(post(1), Wire{}.rst(1).data(1, "x")), {"RST 1 STREAM_CLOSED"}},
       {"headers after the peer's rst", then(post(1), Wire{}.rst(1).headers(1, kTrailers, true)),
        {"GOAWAY 1 STREAM_CLOSED"}},
       {"frames after our rst are normal",
        then(ended_slow, Wire{}.data(1, "x").data(1, "y").headers(1, kTrailers, true).rst(1).window(1, 1)),
        {"RST 1 STREAM_CLOSED"}}});
  Wire answered = Wire{}.headers(5, kOk, true);
  check_all(Role::Client, {{"data on closed", then(answered, Wire{}.data(5, "x")), {"RST 5 STREAM_CLOSED"}},
                           {"headers on closed", then(answered, Wire{}.headers(5, kOk, true)), {"RST 5 STREAM_CLOSED"}},
                           {"headers on idle", Wire{}.headers(7, kOk, true), {"GOAWAY 0 PROTOCOL_ERROR"}},
                           {"data before headers", Wire{}.data(1, "x"), {"RST 1 PROTOCOL_ERROR"}}});
}

TEST(ConnectionErrors, WindowsOfAStream) {
  check_all(Role::Server,
            {{"window update of 0", then(post(1), Wire{}.window(1, 0)), {"RST 1 PROTOCOL_ERROR"}},
             {"window overflow", then(post(1), Wire{}.window(1, 0x7fffffff)), {"RST 1 FLOW_CONTROL_ERROR"}},
             {"window to its maximum", then(post(1), Wire{}.window(1, 0x7fffffff - 65535)), {}},
             {"overflow by settings", then(post(1), Wire{}.window(1, 0x7fffffff - 65535).settings({{4, 65536}})),
              {"GOAWAY 1 FLOW_CONTROL_ERROR"}},
             {"window update of 5 bytes", then(post(1), Wire{}.frame(FrameType::WindowUpdate, 0, 1, "12345")),
              {"GOAWAY 1 FRAME_SIZE_ERROR"}},
             {"rst of 3 bytes", then(post(1), Wire{}.frame(FrameType::RstStream, 0, 1, "123")),
              {"GOAWAY 1 FRAME_SIZE_ERROR"}},
             {"priority of 4 bytes", then(post(1), Wire{}.frame(FrameType::Priority, 0, 1, "1234")),
              {"RST 1 FRAME_SIZE_ERROR"}},
             {"priority on itself", then(post(1), Wire{}.frame(FrameType::Priority, 0, 1, u32(1 | kReserved) + "x")),
              {"RST 1 PROTOCOL_ERROR"}},
             {"headers on itself", Wire{}.frame(FrameType::Headers, 0x20 | kEnds, 1, u32(1) + "x" + kHead),
              {"GOAWAY 0 PROTOCOL_ERROR"}}});
}

TEST(ConnectionErrors, HeaderBlocksInPieces) {
  auto begin = [](std::string_view part) { return Wire{}.frame(FrameType::Headers, kFlagEndStream, 1, part); };
  auto more = [](std::string_view part, uint8_t flags, uint32_t id = 1) {
    return Wire{}.frame(FrameType::Continuation, flags, id, part);
  };
  std::string a = kHead.substr(0, 5), b = kHead.substr(5, 9), c = kHead.substr(14);
  ASSERT_GT(kHead.size(), 15u);
  Wire fifteen = begin(kHead.substr(0, 1));
  for (size_t i = 1; i < 15; ++i) fifteen.raw(more(kHead.substr(i, 1), 0).bytes);
  fifteen.raw(more(kHead.substr(15), 4).bytes);
  Wire sixteen = begin("");
  for (int i = 0; i < 16; ++i) sixteen.raw(more(kHead.substr(0, 1), 0).bytes);
  check_all(Role::Server,
            {{"three pieces", then(then(begin(a), more(b, 0)), more(c, 4)), {}},
             {"empty first piece", then(begin(""), more(kHead, 4)), {}},
             {"data between", then(begin(a), Wire{}.data(1, "x")), {"GOAWAY 0 PROTOCOL_ERROR"}},
             {"ping between", then(begin(a), Wire{}.ping()), {"GOAWAY 0 PROTOCOL_ERROR"}},
             {"unknown frame between", then(begin(a), Wire{}.frame(FrameType{0x55}, 0, 1, "")),
              {"GOAWAY 0 PROTOCOL_ERROR"}},
             {"headers between", then(begin(a), get(3)), {"GOAWAY 0 PROTOCOL_ERROR"}},
             {"another stream", then(begin(a), more(b + c, 4, 3)), {"GOAWAY 0 PROTOCOL_ERROR"}},
             {"after the end", then(get(1), more("", 4)), {"GOAWAY 1 PROTOCOL_ERROR"}},
             {"fifteen", fifteen, {}},
             {"sixteen", sixteen, {"GOAWAY 0 ENHANCE_YOUR_CALM"}}});
}

TEST(ConnectionErrors, Padding) {
  auto padded_head = [](int pad, std::string_view rest, uint8_t flags = 0) {
    return Wire{}.frame(FrameType::Headers, static_cast<uint8_t>(kEnds | kFlagPadded | flags), 1,
                        std::string(1, static_cast<char>(pad)).append(rest));
  };
  auto data = [](std::string_view payload) {
    return then(post(1), Wire{}.frame(FrameType::Data, kFlagPadded, 1, payload));
  };
  check_all(Role::Server,
            {{"headers padded", padded_head(3, kHead + "000"), {}},
             {"headers padded, with priority", padded_head(3, u32(9) + "w" + kHead + "000", 0x20), {}},
             {"headers: padding one too long", padded_head(static_cast<int>(kHead.size()) + 1, kHead),
              {"GOAWAY 0 PROTOCOL_ERROR"}},
             {"headers: no room for the pad length", Wire{}.frame(FrameType::Headers, kEnds | kFlagPadded, 1, ""),
              {"GOAWAY 0 FRAME_SIZE_ERROR"}},
             {"headers: no room for the priority", Wire{}.frame(FrameType::Headers, kEnds | 0x20, 1, "1234"),
              {"GOAWAY 0 FRAME_SIZE_ERROR"}},
             {"data padded", then(post(1), Wire{}.padded_data(1, "abc", 5)), {}},
             {"data of padding alone", then(post(1), Wire{}.padded_data(1, "", 255)), {}},
             {"data: padding one too long", data(std::string("\x03") + "ab"), {"GOAWAY 1 PROTOCOL_ERROR"}},
             {"data: padding as long as the frame", data("\x01"), {"GOAWAY 1 PROTOCOL_ERROR"}},
             {"data: no room for the pad length", data(""), {"GOAWAY 1 FRAME_SIZE_ERROR"}}});
}

TEST(ConnectionErrors, ABlockThatDoesNotDecodeEndsTheConnection) {
  auto head = [](std::string_view payload) { return Wire{}.frame(FrameType::Headers, kEnds, 1, payload); };
  check_all(Role::Server, {{"index 0", head("\x80"), {"GOAWAY 0 COMPRESSION_ERROR"}},
                           {"index of nothing", head("\xff\x20"), {"GOAWAY 0 COMPRESSION_ERROR"}},
                           {"cut short", head(kHead.substr(0, kHead.size() - 1)), {"GOAWAY 0 COMPRESSION_ERROR"}},
                           {"size update behind a field", head("\x82\x20"), {"GOAWAY 0 COMPRESSION_ERROR"}},
                           {"table over our size", head("\x3f\xe2\x1f"), {"GOAWAY 0 COMPRESSION_ERROR"}}});
}

TEST(ConnectionErrors, StreamsOverTheLimitAreRefusedFromTheFirstByte) {
  ConnectionOptions options = Endpoint::options_for(Role::Server);
  options.max_concurrent_streams = 2;
  Endpoint server(options);
  Wire wire;
  wire.preface().settings().headers(1, kPost, false).headers(3, kPost, false).headers(5, kPost, false);
  EXPECT_TRUE(server.feed(wire));
  EXPECT_EQ(server.take_errors(), Lines{"RST 5 REFUSED_STREAM"});
  EXPECT_EQ(server.connection.stream_count(), 2u);
  EXPECT_EQ(server.connection.last_accepted_stream_id(), 3u);
  // What the client sent before it knew is no error; a place that became free is used.
  EXPECT_TRUE(server.feed(Wire{}.data(5, "x", true).rst(1).headers(7, kPost, false)));
  EXPECT_EQ(server.take_errors(), Lines{});
  EXPECT_EQ(server.connection.stream_count(), 2u);
}

TEST(ConnectionErrors, NothingIsReadAfterAConnectionError) {
  Endpoint server(Role::Server);
  EXPECT_FALSE(server.feed(then(greeting(Role::Server), then(Wire{}.window(0, 0), get(1)))));
  EXPECT_FALSE(server.feed(get(3)));
  EXPECT_EQ(server.sink.opened.size(), 0u);
  EXPECT_EQ(server.connection.error(), ErrorCode::ProtocolError);
  EXPECT_FALSE(server.connection.error_detail().empty());
  EXPECT_EQ(server.take_errors(), Lines{"GOAWAY 0 PROTOCOL_ERROR"}) << "one GOAWAY";
}

TEST(ConnectionErrors, AStreamErrorLeavesTheOthersAlone) {
  Endpoint server(Role::Server);
  Wire wire = then(greeting(Role::Server), then(post(1), post(3)));
  EXPECT_TRUE(server.feed(wire.window(1, 0).data(3, "abc", true)));
  EXPECT_EQ(server.sink.events.back(), "data 3 abc end");
  EXPECT_EQ(server.connection.stream_count(), 1u);
  server.connection.send_headers(server.sink.handle(3), fields_of(kOk), true);
  EXPECT_EQ(server.connection.stream_count(), 0u);
}

}  // namespace
}  // namespace weir::http::h2
