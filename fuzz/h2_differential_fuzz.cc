// The same client's bytes into our server and into libnghttp2's. Input: a byte that seeds the sizes of the pieces,
// then a script from which the client's frames are made (see Script), most of them well-formed.
//
// A request that both have taken whole is the same request: head, body, trailers. What one of them has taken whole,
// the other has taken as well, or has answered with an error of the stream or of the connection: nothing is lost and
// nothing is made up. (Which of two errors comes first may differ.)
#include <nghttp2/nghttp2.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "check.h"
#include "http/h2/connection.h"

namespace {

using namespace weir;
using namespace weir::http;
using namespace weir::http::h2;

struct Message {
  std::string fields, body;
  bool whole = false;
};
using Messages = std::map<uint32_t, Message>;

void add_field(Message& m, std::string_view name, std::string_view value) {
  m.fields.append(name).append("=").append(value).append("\n");
}

struct Ours final : Sink {
  Ours() : connection(options(), Shared{streams, buffers, arena, headers, &runs}, *this) { connection.start(); }
  static ConnectionOptions options() {
    ConnectionOptions o;
    o.max_concurrent_streams = 100;
    o.stream_window_bytes = 65535;
    o.connection_window_bytes = 65535;
    return o;
  }
  void on_headers(StreamHandle, Stream& s, const HeadersEvent& event) override {
    Message& m = got[s.id];
    if (event.list.too_large) odd.insert(s.id);
    event.list.for_each([&](const Field& f) { add_field(m, f.name, f.value); });
    m.whole |= event.end_stream;
  }
  size_t on_data(StreamHandle, Stream& s, std::span<const uint8_t> bytes, bool end_stream) override {
    Message& m = got[s.id];
    m.body.append(bytes.begin(), bytes.end());
    m.whole |= end_stream;
    return bytes.size();
  }
  void on_reset(StreamHandle, Stream& s, ErrorCode, ResetBy) override { odd.insert(s.id); }
  void on_sent(StreamHandle, Stream&, size_t) override {}
  void on_goaway(uint32_t, ErrorCode) override {}
  void on_settings() override {}
  void on_output() override {}
  // RST_STREAM frames that we write: streams refused before the sink heard of them.
  void take_output() {
    const Buffer& out = connection.output();
    for (size_t at = 0; at < out.size();) {
      FrameHeader h = read_frame_header(out.data() + at);
      if (h.type == FrameType::RstStream) odd.insert(h.stream_id);
      at += kFrameHeaderBytes + h.length;
    }
    if (!out.empty()) connection.output().consume(out.size());
    connection.output_flushed();
  }

  BufferPool buffers;
  StreamPool streams;
  Arena arena;
  HeaderList headers;
  HeaderRuns runs;
  Connection connection;
  Messages got;
  std::set<uint32_t> odd;  // streams with an error
};

struct Theirs {
  Theirs() {
    nghttp2_session_callbacks* callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_server_new(&session, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100};
    nghttp2_submit_settings(session, 0, &entry, 1);
  }
  ~Theirs() { nghttp2_session_del(session); }
  static Theirs& self(void* user) { return *static_cast<Theirs*>(user); }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t, void* user) {
    add_field(self(user).got[static_cast<uint32_t>(frame->hd.stream_id)],
              {reinterpret_cast<const char*>(name), name_size}, {reinterpret_cast<const char*>(value), value_size});
    return 0;
  }
  static int on_chunk(nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size, void* user) {
    self(user).got[static_cast<uint32_t>(id)].body.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    bool message = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (message && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      self(user).got[static_cast<uint32_t>(frame->hd.stream_id)].whole = true;
    }
    return 0;
  }
  static int on_send(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY) self(user).failed = true;
    if (frame->hd.type == NGHTTP2_RST_STREAM) self(user).odd.insert(static_cast<uint32_t>(frame->hd.stream_id));
    return 0;
  }
  static int on_close(nghttp2_session*, int32_t id, uint32_t, void* user) {
    self(user).odd.insert(static_cast<uint32_t>(id));
    return 0;
  }
  bool take(const std::vector<uint8_t>& bytes) {
    if (failed) return false;
    if (nghttp2_session_mem_recv(session, bytes.data(), bytes.size()) < 0) failed = true;
    const uint8_t* out;
    while (!failed && nghttp2_session_mem_send(session, &out) > 0) {
    }
    return !failed;
  }

  nghttp2_session* session = nullptr;
  Messages got;
  std::set<uint32_t> odd;
  bool failed = false;
};

// Every whole message of `one` is one of `other`, unless that has an error with the stream.
void check_taken(const Messages& one, const std::set<uint32_t>& odd_here, const Messages& other,
                 const std::set<uint32_t>& odd_there) {
  for (const auto& [id, message] : one) {
    if (!message.whole || odd_here.count(id) != 0 || odd_there.count(id) != 0) continue;
    auto found = other.find(id);
    CHECK(found != other.end() && found->second.whole);
    CHECK(found->second.body == message.body);
    CHECK(found->second.fields == message.fields);
  }
}

// Each operation is a byte and its arguments; what is missing at the end is 0.
struct Script {
  std::span<const uint8_t> in;
  std::vector<uint8_t> out;
  uint32_t next_id = 1;

  uint8_t byte() {
    if (in.empty()) return 0;
    uint8_t value = in[0];
    in = in.subspan(1);
    return value;
  }
  std::vector<uint8_t> take(size_t size) {
    size = std::min(size, in.size());
    std::vector<uint8_t> bytes(in.begin(), in.begin() + static_cast<ptrdiff_t>(size));
    in = in.subspan(size);
    return bytes;
  }
  void frame(FrameType type, uint8_t flags, uint32_t id, const std::vector<uint8_t>& payload) {
    uint8_t head[kFrameHeaderBytes];
    write_frame_header(head, {static_cast<uint32_t>(payload.size()), type, flags, id});
    out.insert(out.end(), head, head + sizeof head);
    out.insert(out.end(), payload.begin(), payload.end());
  }
  // One of the streams opened lately.
  uint32_t stream(uint8_t choice) const {
    uint32_t back = 2 + 2u * (choice % 5u);
    return back < next_id ? next_id - back : 1;
  }
  static void text(std::vector<uint8_t>& block, std::string_view value) {
    block.push_back(static_cast<uint8_t>(value.size()));
    block.insert(block.end(), value.begin(), value.end());
  }
  // Octets of a block as the input has them: representations of all kinds, or a literal of a few letters.
  void add_fields(std::vector<uint8_t>& block, uint8_t how) {
    if (how & 1) {
      block.push_back(how & 2 ? 0x40 : 0x00);
      text(block, how & 4 ? "x-a" : "cookie");
      auto value = take(how >> 5);
      text(block, {reinterpret_cast<const char*>(value.data()), value.size()});
    } else if (how & 2) {
      auto raw = take(how >> 4);
      block.insert(block.end(), raw.begin(), raw.end());
    } else if (how & 4) {
      block.push_back(static_cast<uint8_t>(0xbe + (how >> 4)));  // of the dynamic table
    }
  }
  // HEADERS, padded or cut into CONTINUATION as `how` says.
  void headers(uint32_t id, const std::vector<uint8_t>& block, uint8_t how) {
    uint8_t end = how & 1 ? kFlagEndStream : 0;
    size_t cut = how & 2 ? std::min<size_t>(how >> 4, block.size()) : block.size();
    std::vector<uint8_t> first(block.begin(), block.begin() + static_cast<ptrdiff_t>(cut));
    uint8_t padded = how & 4 ? kFlagPadded : 0;
    if (padded) {
      first.insert(first.begin(), static_cast<uint8_t>(how >> 5));
      first.insert(first.end(), how >> 5, 0);
    }
    uint8_t flags = static_cast<uint8_t>(end | padded | (how & 2 ? 0 : kFlagEndHeaders));
    frame(FrameType::Headers, flags, id, first);
    if (how & 2) {
      frame(FrameType::Continuation, kFlagEndHeaders, id, {block.begin() + static_cast<ptrdiff_t>(cut), block.end()});
    }
  }
  void open(uint8_t how) {
    std::vector<uint8_t> block{0x83, 0x86, 0x84};  // POST, http, /
    block.push_back(how & 8 ? 0x41 : 0x01);        // :authority
    text(block, how & 16 ? "weir.test" : "a");
    add_fields(block, byte());
    if (how & 32) add_fields(block, byte());
    headers(next_id, block, static_cast<uint8_t>((how & 7) | (byte() & 0xf0)));
    next_id += 2;
  }
  void data(uint8_t how) {
    std::vector<uint8_t> payload(how & 8 ? size_t{byte()} * 40 : how >> 5, static_cast<uint8_t>(in.size()));
    uint8_t flags = how & 1 ? kFlagEndStream : 0;
    if (how & 2) {
      flags |= kFlagPadded;
      payload.insert(payload.begin(), static_cast<uint8_t>(how >> 4));
      payload.insert(payload.end(), how >> 4, 0);
    }
    frame(FrameType::Data, flags, stream(byte()), payload);
  }
  void operate() {
    uint8_t op = byte();
    uint8_t how = byte();
    switch (op & 7) {
      case 0:
      case 1: open(how); break;
      case 2:
      case 3: data(how); break;
      case 4: {
        std::vector<uint8_t> block;
        add_fields(block, how);
        headers(stream(byte()), block, static_cast<uint8_t>(how & 8 ? byte() : kFlagEndStream));
        break;
      }
      case 5: frame(FrameType::RstStream, 0, stream(how), {0, 0, 0, 8}); break;
      case 6: frame(FrameType::WindowUpdate, 0, how & 1 ? stream(byte()) : 0, {0, 0, byte(), byte()}); break;
      case 7: {
        auto type = static_cast<FrameType>(how & 15);
        frame(type, byte(), how & 16 ? stream(byte()) : 0, take(byte() & 63));
        // A client may open streams behind its GOAWAY (RFC 9113 §6.8 forbids it to the receiver): nghttp2 ignores them.
        if (type == FrameType::GoAway) in = {};
        break;
      }
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > 2000) return 0;
  Random pieces(data[0]);
  Ours ours;
  Theirs theirs;
  std::vector<uint8_t> bytes(kPreface.begin(), kPreface.end());
  bytes.insert(bytes.end(), {0, 0, 0, 4, 0, 0, 0, 0, 0});
  Script script{.in = {data + 1, size - 1}, .out = {}};
  while (!script.in.empty()) script.operate();
  bytes.insert(bytes.end(), script.out.begin(), script.out.end());
  TimePoint now{};
  for (size_t at = 0; at < bytes.size();) {
    size_t n = std::min(bytes.size() - at, 1 + pieces.below(data[0] & 1 ? 300 : bytes.size()));
    std::vector<uint8_t> exact(bytes.data() + at, bytes.data() + at + n);
    // After the first error of a connection the two need not agree any more.
    bool alive = ours.connection.receive(exact, now += std::chrono::milliseconds(1));
    ours.arena.reset();
    ours.take_output();
    bool both = theirs.take(exact) && alive;
    if (!both) return 0;
    check_taken(ours.got, ours.odd, theirs.got, theirs.odd);
    check_taken(theirs.got, theirs.odd, ours.got, ours.odd);
    at += n;
  }
  return 0;
}
