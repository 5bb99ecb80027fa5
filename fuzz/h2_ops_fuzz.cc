// Two connections back to back, driven by the input: each two bytes are an operation on one side. Bytes
// travel in pieces; nothing either side does by the rules may be an error for the other.
//
// At the end everything is let through: both sides know the same streams, windows add up, and no stream,
// byte or credit is left over.
#include <map>
#include <vector>

#include "check.h"
#include "http/h2/connection.h"

namespace {

using namespace weir;
using namespace weir::http;
using namespace weir::http::h2;

struct Talk {
  StreamHandle handle;
  uint64_t sent = 0, received = 0, unconsumed = 0;
  bool head = false, sent_end = false, received_end = false, reset = false;
  bool may_reset = false;  // the response will be whole, the request perhaps not
};

struct Node final : Sink {
  Node(Role role, uint8_t choice)
      : client(role == Role::Client),
        connection(options(role, choice), Shared{streams, buffers, arena, headers, &runs}, *this) {
    connection.start();
  }
  static ConnectionOptions options(Role role, uint8_t choice) {
    static constexpr uint32_t kStreams[] = {100, 1000, 66000, 1u << 20};
    static constexpr uint32_t kConnections[] = {65535, 66000, 100000, 1u << 20};
    ConnectionOptions o;
    o.role = role;
    o.max_concurrent_streams = 6;
    o.stream_window_bytes = kStreams[choice & 3];
    o.connection_window_bytes = kConnections[choice >> 2 & 3];
    o.output_high_bytes = choice & 16 ? 1000 : 100000;
    return o;
  }
  void on_headers(StreamHandle h, Stream& s, const HeadersEvent& event) override {
    Talk& t = talks[s.id];
    if (!client && event.kind == HeadersEvent::Kind::Head) {
      CHECK(!t.handle.valid());
      t.handle = h;
    }
    CHECK(t.handle == h && !t.received_end && !t.reset);
    t.received_end = event.end_stream;
  }
  size_t on_data(StreamHandle h, Stream& s, std::span<const uint8_t> bytes, bool end_stream) override {
    Talk& t = talks.at(s.id);
    CHECK(t.handle == h && !t.received_end && !t.reset);
    for (uint8_t b : bytes) CHECK(b == static_cast<uint8_t>(t.received++ * 7 + s.id));
    t.unconsumed += bytes.size();
    t.received_end = end_stream;
    if (s.id % 4 != 1) return 0;  // these are consumed by and by
    size_t taken = t.unconsumed;
    t.unconsumed = 0;
    return taken;
  }
  void on_reset(StreamHandle, Stream& s, ErrorCode code, ResetBy by) override {
    CHECK(by == ResetBy::Remote);
    CHECK(code == ErrorCode::Cancel || code == ErrorCode::RefusedStream || code == ErrorCode::NoError);
    CHECK(!talks.at(s.id).reset);
    talks.at(s.id).reset = true;
  }
  void on_sent(StreamHandle, Stream&, size_t) override {}
  void on_goaway(uint32_t, ErrorCode code) override { CHECK(code == ErrorCode::NoError); }
  void on_settings() override {}
  void on_output() override {}

  Talk* pick(uint8_t n) {
    if (talks.empty()) return nullptr;
    auto at = talks.begin();
    // Mostly the newest ones.
    std::advance(at, n % talks.size());
    return &at->second;
  }
  void open(bool end) {
    StreamHandle h = connection.open_stream(0);
    if (!h.valid()) return;
    Talk& t = talks[streams.resolve(h)->id];
    t.handle = h;
    t.head = true;
    t.sent_end = end;
    const Field head[] = {{":method", "POST"}, {":scheme", "http"}, {":path", "/p"}, {"x-a", "1"}};
    connection.send_headers(h, head, end);
  }
  void head_or_trailers(Talk& t) {
    const Field ok[] = {{":status", "200"}};
    const Field trailers[] = {{"grpc-status", "0"}};
    Stream* s = streams.resolve(t.handle);
    if (s == nullptr || t.sent_end) return;
    connection.send_headers(t.handle, t.head ? std::span<const Field>(trailers) : ok, t.head);
    t.sent_end = t.head;
    t.head = true;
  }
  void data(Talk& t, size_t size, bool end) {
    Stream* s = streams.resolve(t.handle);
    if (s == nullptr || t.sent_end || !t.head) return;
    std::vector<uint8_t> bytes(size);
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(t.sent++ * 7 + s->id);
    t.sent_end = end;
    connection.send_data(t.handle, bytes, end);
  }
  void consume(Talk& t, uint64_t bytes) {
    bytes = std::min(bytes, t.unconsumed);
    t.unconsumed -= bytes;
    connection.consume(t.handle, bytes);
  }
  void check() {
    CHECK(!connection.failed());
    CHECK(connection.stream_count() == streams.size());
    size_t waiting = 0;
    connection.for_each_stream([&](StreamHandle h) {
      const Stream& s = *streams.resolve(h);
      // Negative only by what came before our SETTINGS were known (RFC 9113 §6.9.3).
      CHECK(s.receive_window >= -static_cast<int32_t>(kDefaultWindow));
      CHECK(s.state != StreamState::Closed);
      if (s.pending != nullptr) waiting += s.pending->data.size();
    });
    CHECK(waiting == connection.pending_bytes());
  }

  bool client;
  BufferPool buffers;
  StreamPool streams;
  Arena arena;
  HeaderList headers;
  HeaderRuns runs;
  Connection connection;
  std::map<uint32_t, Talk> talks;
};

struct Pair {
  explicit Pair(uint8_t choice)
      : large((choice & 3) < 2 || (choice >> 3 & 3) < 2 ? 5 : 257),
        client(Role::Client, choice),
        server(Role::Server, static_cast<uint8_t>(choice >> 3)) {}
  size_t carry(Node& from, Node& to, size_t max) {
    from.connection.pump();
    Buffer& out = from.connection.output();
    size_t n = std::min(max, out.size());
    std::vector<uint8_t> exact(out.bytes().begin(), out.bytes().begin() + static_cast<ptrdiff_t>(n));
    if (n > 0) out.consume(n);
    from.connection.output_flushed();
    if (n > 0) CHECK(to.connection.receive(exact, now += std::chrono::milliseconds(20)));
    to.connection.pump();
    to.arena.reset();
    from.check();
    to.check();
    return n;
  }
  void settle() {
    while (carry(client, server, 1 << 20) + carry(server, client, 1 << 20) > 0) {
      for (Node* node : {&client, &server}) {
        for (auto& [id, talk] : node->talks) node->consume(talk, talk.unconsumed);
      }
    }
  }
  void operate(uint8_t op, uint8_t arg) {
    Node& node = op & 1 ? client : server;
    Node& other = op & 1 ? server : client;
    Talk* talk = node.pick(static_cast<uint8_t>(op >> 4 | (arg & 0x30)));
    switch (op >> 1 & 7) {
      case 0: carry(node, other, 1 + arg * (arg & 1 ? 1 : 300)); break;
      case 1: carry(other, node, 1 + arg * (arg & 1 ? 1 : 300)); break;
      case 2: if (node.client) node.open(arg & 1); else if (talk) node.head_or_trailers(*talk); break;
      case 3: if (talk) node.data(*talk, size_t{arg} * (op & 16 ? 1 : large), arg & 1); break;
      case 4: if (talk) node.consume(*talk, arg * 40u); break;
      case 5: if (talk && arg < 60) reset(node, *talk); break;
      case 6: if (talk) node.head_or_trailers(*talk); break;
      case 7:
        if (arg < 20) node.connection.ping(arg);
        if (arg == 21 && !node.client) node.connection.announce_goaway();
        if (arg == 22 && !node.client) node.connection.finish_goaway();
        if (arg >= 30 && arg < 60 && talk && !node.client && talk->head) {
          node.connection.reset_after_end(talk->handle);
          talk->may_reset = true;
        }
        break;
    }
    node.check();
  }
  void reset(Node& node, Talk& talk) {
    if (node.streams.resolve(talk.handle) == nullptr) return;
    node.connection.reset(talk.handle, ErrorCode::Cancel);
    talk.reset = true;
  }
  void finish() {
    settle();
    for (Node* node : {&client, &server}) {
      for (auto& [id, talk] : node->talks) {
        if (!talk.head) node->head_or_trailers(talk);
        if (!talk.sent_end) node->data(talk, 0, true);
        node->consume(talk, talk.unconsumed);
      }
    }
    settle();
    CHECK(client.streams.size() == 0 && server.streams.size() == 0);
    CHECK(client.connection.pending_bytes() + server.connection.pending_bytes() == 0);
    CHECK(client.buffers.bytes_in_use() == 0 && server.buffers.bytes_in_use() == 0);
    for (auto& [id, talk] : client.talks) {
      auto found = server.talks.find(id);
      bool cut = talk.reset || found == server.talks.end() || found->second.reset || found->second.may_reset;
      if (found != server.talks.end() && found->second.may_reset && !found->second.reset && !talk.reset) {
        CHECK(talk.received == found->second.sent && talk.received_end);
      }
      if (cut) continue;
      CHECK(talk.sent == found->second.received && talk.received == found->second.sent);
      CHECK(talk.received_end && found->second.received_end);
    }
  }

  TimePoint now{};
  size_t large;  // with small windows little data makes many turns
  Node client, server;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > 1000) return 0;
  Pair pair(data[0]);
  for (size_t at = 1; at + 1 < size; at += 2) pair.operate(data[at], data[at + 1]);
  pair.finish();
  return 0;
}
