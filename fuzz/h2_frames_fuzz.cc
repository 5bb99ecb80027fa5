// A peer's bytes into a Connection. Input: a byte that chooses the role, a byte that seeds the sink's
// choices and the sizes of the pieces, then what the peer sends (behind preface and SETTINGS).
//
// Whatever comes: every stream the sink heard of ends once, buffers stay within what was granted, the output
// is well-formed frames, and a connection that is over stays so.
#include <map>
#include <vector>

#include "base/random.h"
#include "check.h"
#include "http/h2/connection.h"

namespace {

using namespace weir;
using namespace weir::http;
using namespace weir::http::h2;

constexpr uint32_t kStreamWindow = 3000, kConnectionWindow = 70000;
constexpr size_t kPeerStreamsMax = 8, kOwnStreamsMax = 100;

struct Life {
  bool ended = false;     // the peer's side
  bool over = false;      // reset
  uint64_t received = 0;
  size_t unconsumed = 0;
};

struct Peer final : Sink {
  Peer(Role role, uint64_t seed)
      : random(seed), connection(options(role), Shared{streams, buffers, arena, headers, &runs}, *this) {
    client = role == Role::Client;
    connection.start();
    for (int i = 0; client && i < 4; ++i) open();
  }
  static ConnectionOptions options(Role role) {
    ConnectionOptions o;
    o.role = role;
    o.max_concurrent_streams = kPeerStreamsMax;
    o.stream_window_bytes = kStreamWindow;
    o.connection_window_bytes = kConnectionWindow;
    o.output_high_bytes = 4000;
    o.hpack.fields_max = 20;
    return o;
  }
  void open() {
    StreamHandle h = connection.open_stream(0);
    if (!h.valid()) return;
    lives[streams.resolve(h)->id] = {};
    const Field head[] = {{":method", "POST"}, {":scheme", "http"}, {":path", "/"}};
    connection.send_headers(h, head, random.below(2) == 0);
    if (random.below(2) == 0) connection.send_data(h, body(random.below(5000)), random.below(2) == 0);
  }
  std::span<const uint8_t> body(size_t size) {
    static const std::vector<uint8_t> bytes(20000, 'b');
    return std::span(bytes).first(size);
  }
  Life& live(const Stream& s) {
    auto found = lives.find(s.id);
    CHECK(found != lives.end() && !found->second.over);
    return found->second;
  }
  void answer(StreamHandle h, const HeadersEvent* event) {
    const Field ok[] = {{":status", "200"}};
    const Field end[] = {{"grpc-status", "0"}};
    switch (random.below(8)) {
      case 0: connection.reset(h, ErrorCode::Cancel); break;
      case 1: connection.send_data(h, body(random.below(20000)), random.below(3) == 0); break;
      case 2: connection.send_headers(h, end, true); break;
      case 3: connection.reset_after_end(h); break;
      case 4: if (event != nullptr) connection.send_headers(h, OutgoingHeaders(event->list), false); break;
      case 5: if (random.below(50) == 0) connection.fail(ErrorCode::InternalError, weir::http::h2::EndReason::OtherError, "chosen"); break;
      default: connection.send_headers(h, ok, random.below(4) == 0); break;
    }
  }
  void on_headers(StreamHandle h, Stream& s, const HeadersEvent& event) override {
    if (!client && event.kind == HeadersEvent::Kind::Head) CHECK(lives.emplace(s.id, Life{}).second);
    Life& life = live(s);
    CHECK(!life.ended);
    CHECK(event.kind != HeadersEvent::Kind::Trailers || event.end_stream);
    life.ended = event.end_stream;
    size_t bytes = 0;
    event.list.for_each([&](const Field& f) { bytes += f.name.size() + f.value.size(); });  // all readable
    CHECK(bytes <= 64u << 10 && event.list.size() <= 20);
    answer(h, &event);
  }
  size_t on_data(StreamHandle h, Stream& s, std::span<const uint8_t> bytes, bool end_stream) override {
    Life& life = live(s);
    CHECK(!life.ended);
    life.ended = end_stream;
    life.received += bytes.size();
    life.unconsumed += bytes.size();
    CHECK(life.unconsumed <= kDefaultWindow);
    size_t n = random.below(life.unconsumed + 1);
    life.unconsumed -= n;
    bool at_once = random.below(2) == 0;
    if (at_once) connection.consume(h, n);
    if (random.below(3) == 0) answer(h, nullptr);
    return at_once ? 0 : n;
  }
  void on_reset(StreamHandle, Stream& s, ErrorCode, ResetBy) override { live(s).over = true; }
  void on_sent(StreamHandle h, Stream& s, size_t) override {
    live(s);
    if (random.below(8) == 0) answer(h, nullptr);
  }
  void on_goaway(uint32_t, ErrorCode) override {}
  void on_settings() override {
    if (client && streams.size() < kOwnStreamsMax && random.below(2) == 0) open();
  }
  void on_output() override {
    CHECK(!dirty);
    dirty = true;
  }

  // Whole frames of a size every peer takes.
  void flush() {
    CHECK(dirty == !connection.output().empty());
    size_t at = client && !flushed ? kPreface.size() : 0;
    flushed |= dirty;
    const Buffer& out = connection.output();
    while (dirty && at < out.size()) {
      CHECK(out.size() - at >= kFrameHeaderBytes);
      FrameHeader h = read_frame_header(out.data() + at);
      CHECK(h.length <= kFrameBytesMax);
      CHECK(h.type != FrameType::WindowUpdate || read_u32(out.data() + at + 9) - 1 < kWindowMax);
      at += kFrameHeaderBytes + h.length;
      CHECK(at <= out.size());
    }
    if (dirty) connection.output().consume(connection.output().size());
    dirty = false;
    connection.output_flushed();
  }
  void check() {
    CHECK(connection.stream_count() == streams.size());
    CHECK(streams.size() <= (client ? kOwnStreamsMax : kPeerStreamsMax));
    size_t waiting = 0;
    connection.for_each_stream([&](StreamHandle h) {
      const Stream& s = *streams.resolve(h);
      CHECK(lives.count(s.id) && !lives[s.id].over);
      CHECK(s.state != StreamState::Closed);
      if (s.pending != nullptr) waiting += s.pending->data.size();
    });
    CHECK(waiting == connection.pending_bytes());
  }

  Random random;
  BufferPool buffers;
  StreamPool streams;
  Arena arena;
  HeaderList headers;
  HeaderRuns runs;
  Connection connection;
  std::map<uint32_t, Life> lives;
  bool client = false, dirty = false, flushed = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > 20000) return 0;
  Role role = data[0] & 1 ? Role::Client : Role::Server;
  Peer peer(role, data[1]);
  Random pieces(data[1]);
  std::vector<uint8_t> bytes;
  if (!(data[0] & 2)) {
    if (role == Role::Server) bytes.insert(bytes.end(), kPreface.begin(), kPreface.end());
    bytes.insert(bytes.end(), {0, 0, 0, 4, 0, 0, 0, 0, 0});
  }
  bytes.insert(bytes.end(), data + 2, data + size);
  TimePoint now{};
  bool alive = true;
  size_t bound = data[0] & 4 ? bytes.size() : 200;
  for (size_t at = 0; at < bytes.size();) {
    size_t n = std::min(bytes.size() - at, 1 + pieces.below(bound));
    std::vector<uint8_t> exact(bytes.data() + at, bytes.data() + at + n);
    bool was_failed = peer.connection.failed();
    alive = peer.connection.receive(exact, now += std::chrono::milliseconds(1));
    CHECK(alive == !peer.connection.failed() && !(was_failed && alive));
    peer.connection.pump();
    peer.check();
    peer.arena.reset();
    if (peer.random.below(3) != 0) {
      peer.flush();
      peer.connection.pump();
    }
    at += n;
  }
  peer.flush();
  peer.check();
  return 0;
}
