// Our client and server against nghttp2's, in memory: random scripts, after which both sides agree on every
// stream's headers, bytes, trailers, end and reset code. Also our client against our server.
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <map>
#include <memory>

#include "http/h2/h2_peer_testing_test.h"

namespace weir::http::h2 {
namespace {

// One direction of a stream: as it was sent, or as it was received.
struct Half {
  std::vector<std::string> blocks;  // heads and trailers
  std::string body;
  bool ended = false;
  int64_t reset = -1;
};
using Halves = std::map<uint32_t, Half>;

std::string text_of(const Pairs& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) out += name + "=" + value + "\n";
  return out;
}

// One side of a connection, as the script sees it.
struct Side {
  virtual ~Side() = default;
  virtual uint32_t open(const Pairs& head, bool end) = 0;  // client; 0: not now
  virtual void respond(uint32_t id, const Pairs& head, bool end) = 0;
  virtual void send(uint32_t id, const std::string& bytes, bool end) = 0;
  virtual void trailers(uint32_t id, const Pairs& pairs) = 0;
  virtual void reset(uint32_t id, ErrorCode code) = 0;
  virtual void ping() = 0;
  virtual void settings(Random&) {}
  virtual void goaway() {}
  virtual std::string output(size_t max) = 0;  // takes at most `max` bytes
  virtual bool input(std::string_view bytes) = 0;
  virtual bool live(uint32_t id) = 0;  // knows the stream still
  virtual size_t streams() = 0;

  Halves received;
  std::vector<uint32_t> requests;  // server: those that came
};

// --- ours ------------------------------------------------------------------------------------------------

struct OurSide final : Side, Sink {
  OurSide(Role role, uint64_t seed) : random(seed) {
    ConnectionOptions options = Endpoint::options_for(role);
    options.stream_window_bytes = seed % 3 == 0 ? 1000 : 70000;
    options.connection_window_bytes = 80000;
    options.output_high_bytes = 20000;
    connection = std::make_unique<Connection>(options, Shared{streams_, buffers, arena, headers}, *this);
    connection->start();
  }
  StreamHandle handle(uint32_t id) {
    auto found = handles.find(id);
    return found == handles.end() ? StreamHandle{} : found->second;
  }
  uint32_t open(const Pairs& head, bool end) override {
    StreamHandle h = connection->open_stream(0);
    if (!h.valid()) return 0;
    uint32_t id = streams_.resolve(h)->id;
    handles[id] = h;
    connection->send_headers(h, fields_of(head), end);
    return id;
  }
  void respond(uint32_t id, const Pairs& head, bool end) override {
    connection->send_headers(handle(id), fields_of(head), end);
  }
  void send(uint32_t id, const std::string& bytes, bool end) override {
    connection->send_data(handle(id), span_of(bytes), end);
  }
  void trailers(uint32_t id, const Pairs& pairs) override {
    connection->send_headers(handle(id), fields_of(pairs), true);
  }
  void reset(uint32_t id, ErrorCode code) override { connection->reset(handle(id), code); }
  void ping() override { connection->ping(random.next()); }
  void goaway() override {
    connection->announce_goaway();
    connection->finish_goaway();
  }
  std::string output(size_t max) override {
    connection->pump();
    Buffer& out = connection->output();
    size_t n = std::min(max, out.size());
    std::string bytes(out.bytes().begin(), out.bytes().begin() + static_cast<ptrdiff_t>(n));
    if (n > 0) out.consume(n);
    connection->output_flushed();
    consume_some(n == 0);
    return bytes;
  }
  bool input(std::string_view bytes) override {
    bool alive = connection->receive(span_of(bytes), TimePoint{} + std::chrono::seconds(++seconds));
    connection->pump();
    arena.reset();
    return alive;
  }
  bool live(uint32_t id) override { return streams_.resolve(handle(id)) != nullptr; }
  size_t streams() override { return connection->stream_count(); }
  void consume_some(bool all) {
    for (auto& [id, bytes] : unconsumed) {
      size_t n = all ? bytes : random.below(bytes + 1);
      connection->consume(handle(id), n);
      bytes -= n;
    }
  }

  void on_headers(StreamHandle h, Stream& s, const HeadersEvent& event) override {
    if (!handles.count(s.id)) {
      handles[s.id] = h;
      requests.push_back(s.id);
    }
    std::string text;
    event.list.for_each([&](const Field& f) { text.append(f.name).append("=").append(f.value).append("\n"); });
    received[s.id].blocks.push_back(text);
    received[s.id].ended |= event.end_stream;
  }
  size_t on_data(StreamHandle, Stream& s, std::span<const uint8_t> bytes, bool end_stream) override {
    received[s.id].body.append(bytes.begin(), bytes.end());
    received[s.id].ended |= end_stream;
    unconsumed[s.id] += bytes.size();
    return 0;
  }
  void on_reset(StreamHandle, Stream& s, ErrorCode code, ResetBy by) override {
    EXPECT_EQ(by, ResetBy::Remote) << s.id;
    received[s.id].reset = static_cast<int64_t>(code);
  }
  void on_sent(StreamHandle, Stream&, size_t) override {}
  void on_goaway(uint32_t, ErrorCode) override {}
  void on_settings() override {}
  void on_output() override {}

  Random random;
  BufferPool buffers;
  StreamPool streams_;
  Arena arena;
  HeaderList headers;
  HeaderRuns runs;
  std::unique_ptr<Connection> connection;
  std::map<uint32_t, StreamHandle> handles;
  std::map<uint32_t, size_t> unconsumed;
  int64_t seconds = 0;
};

// --- nghttp2's -------------------------------------------------------------------------------------------

struct TheirSide final : Side {
  struct Out {
    std::string body;
    bool end = false;
    Pairs trailers;
    bool deferred = false;
  };
  TheirSide(bool server, uint64_t seed) : random(seed) {
    nghttp2_session_callbacks* callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid);
    nghttp2_session_callbacks_set_select_padding_callback(callbacks, pad);
    // Its own window updates reset streams whose window became negative while one was queued.
    nghttp2_option* option;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, 1);
    (server ? nghttp2_session_server_new2 : nghttp2_session_client_new2)(&session, callbacks, this, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session, 0, nullptr, 0);
  }
  ~TheirSide() override { nghttp2_session_del(session); }

  static std::vector<nghttp2_nv> nvs(const Pairs& pairs) {
    std::vector<nghttp2_nv> out;
    for (const auto& [n, v] : pairs) {
      auto bytes = [](const std::string& s) { return reinterpret_cast<uint8_t*>(const_cast<char*>(s.data())); };
      out.push_back({bytes(n), bytes(v), n.size(), v.size(), 0});
    }
    return out;
  }
  nghttp2_data_provider provider() { return {{.ptr = this}, read}; }

  uint32_t open(const Pairs& head, bool end) override {
    if (nghttp2_session_check_request_allowed(session) == 0) return 0;
    auto nv = nvs(head);
    auto data = provider();
    int32_t id = nghttp2_submit_request(session, nullptr, nv.data(), nv.size(), end ? nullptr : &data, nullptr);
    EXPECT_GT(id, 0);
    out[static_cast<uint32_t>(id)];
    ++opened;
    return static_cast<uint32_t>(id);
  }
  void respond(uint32_t id, const Pairs& head, bool end) override {
    auto nv = nvs(head);
    auto data = provider();
    nghttp2_submit_response(session, static_cast<int32_t>(id), nv.data(), nv.size(), end ? nullptr : &data);
  }
  void resume(uint32_t id) {
    if (std::exchange(out[id].deferred, false)) nghttp2_session_resume_data(session, static_cast<int32_t>(id));
  }
  void send(uint32_t id, const std::string& bytes, bool end) override {
    out[id].body += bytes;
    out[id].end = end;
    resume(id);
  }
  void trailers(uint32_t id, const Pairs& pairs) override {
    out[id].trailers = pairs;
    out[id].end = true;
    resume(id);
  }
  void reset(uint32_t id, ErrorCode code) override {
    nghttp2_submit_rst_stream(session, 0, static_cast<int32_t>(id), static_cast<uint32_t>(code));
  }
  void ping() override { nghttp2_submit_ping(session, 0, nullptr); }
  void goaway() override {
    nghttp2_submit_goaway(session, 0, nghttp2_session_get_last_proc_stream_id(session), 0, nullptr, 0);
  }
  void settings(Random& r) override {
    static constexpr uint32_t kWindows[] = {0, 1, 100, 5000, 65535, 200000}, kTables[] = {0, 64, 500, 4096, 65536};
    nghttp2_settings_entry entries[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindows[r.below(6)]},
                                        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, kTables[r.below(5)]},
                                        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, static_cast<uint32_t>(16384 << r.below(4))}};
    nghttp2_submit_settings(session, 0, entries, 3);
  }
  void consume_some() {
    for (auto& [id, bytes] : unconsumed) {
      size_t n = random.below(4) == 0 ? random.below(bytes + 1) : bytes;
      if (n > 0) nghttp2_session_consume(session, static_cast<int32_t>(id), n);
      bytes -= n;
    }
  }
  std::string output(size_t max) override {
    consume_some();
    while (queued.size() < max) {
      const uint8_t* bytes;
      ssize_t n = nghttp2_session_mem_send(session, &bytes);
      EXPECT_GE(n, 0);
      if (n <= 0) break;
      queued.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
    }
    std::string part = queued.substr(0, max);
    queued.erase(0, part.size());
    return part;
  }
  bool input(std::string_view bytes) override {
    ssize_t n = nghttp2_session_mem_recv(session, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    EXPECT_EQ(n, static_cast<ssize_t>(bytes.size())) << nghttp2_strerror(static_cast<int>(n));
    return n == static_cast<ssize_t>(bytes.size()) && invalid.empty();
  }
  bool live(uint32_t id) override {
    return nghttp2_session_find_stream(session, static_cast<int32_t>(id)) && !closed.count(id);
  }
  size_t streams() override { return opened - closed.size(); }

  static TheirSide& self(void* user) { return *static_cast<TheirSide*>(user); }
  static ssize_t read(nghttp2_session* session, int32_t id, uint8_t* to, size_t size, uint32_t* flags,
                      nghttp2_data_source* source, void*) {
    auto& side = *static_cast<TheirSide*>(source->ptr);
    Out& o = side.out[static_cast<uint32_t>(id)];
    size_t n = std::min(size, o.body.size());
    std::memcpy(to, o.body.data(), n);
    o.body.erase(0, n);
    if (o.body.empty() && o.end) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (!o.trailers.empty()) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        auto nv = nvs(o.trailers);
        nghttp2_submit_trailer(session, id, nv.data(), nv.size());
      }
    } else if (n == 0) {
      o.deferred = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    return static_cast<ssize_t>(n);
  }
  static ssize_t pad(nghttp2_session*, const nghttp2_frame* frame, size_t max, void* user) {
    size_t least = frame->hd.length;
    Random& r = self(user).random;
    return static_cast<ssize_t>(r.below(2) == 0 ? least : std::min(max, least + r.below(256)));
  }
  static int on_begin(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    auto id = static_cast<uint32_t>(frame->hd.stream_id);
    TheirSide& side = self(user);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      side.requests.push_back(id);
      ++side.opened;
    }
    side.received[id].blocks.emplace_back();
    return 0;
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t, void* user) {
    std::string& text = self(user).received[static_cast<uint32_t>(frame->hd.stream_id)].blocks.back();
    text.append(name, name + name_size).append("=").append(value, value + value_size).append("\n");
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    auto id = static_cast<uint32_t>(frame->hd.stream_id);
    bool message = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (message && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) self(user).received[id].ended = true;
    if (frame->hd.type == NGHTTP2_RST_STREAM) self(user).received[id].reset = frame->rst_stream.error_code;
    return 0;
  }
  static int on_chunk(nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* user) {
    self(user).received[static_cast<uint32_t>(id)].body.append(bytes, bytes + size);
    self(user).unconsumed[static_cast<uint32_t>(id)] += size;
    return 0;
  }
  static int on_close(nghttp2_session*, int32_t id, uint32_t, void* user) {
    self(user).closed.insert({static_cast<uint32_t>(id), true});
    return 0;
  }
  static int on_invalid(nghttp2_session*, const nghttp2_frame*, int error, void* user) {
    self(user).invalid = nghttp2_strerror(error);
    ADD_FAILURE() << self(user).invalid;
    return 0;
  }

  Random random;
  nghttp2_session* session = nullptr;
  std::map<uint32_t, Out> out;
  std::map<uint32_t, bool> closed;
  std::map<uint32_t, size_t> unconsumed;
  size_t opened = 0;
  std::string queued, invalid;
};

// --- the script --------------------------------------------------------------------------------------------

struct Script {
  Script(Side& client_side, Side& server_side, uint64_t seed)
      : client(client_side), server(server_side), random(seed) {}

  enum class To { Server, Client };
  Halves& sent_to(To to) { return to == To::Server ? requests : responses; }
  Side& sender(To to) { return to == To::Server ? client : server; }
  Side& receiver(To to) { return to == To::Server ? server : client; }

  Pairs some_fields() {
    Pairs out;
    for (size_t n = random.below(4); n > 0; --n) {
      out.push_back({"x-" + std::to_string(random.below(20)), std::string(random.below(60), 'v')});
    }
    if (random.below(40) == 0) out.push_back({"x-large", std::string(9000 + random.below(12000), 'L')});
    return out;
  }
  void open() {
    if (client.streams() > 60) return;
    bool end = random.below(3) == 0;
    Pairs head = with(kPost, some_fields());
    uint32_t id = client.open(head, end);
    if (id == 0) return;
    Half& half = requests[id];
    half.blocks.push_back(text_of(head));
    half.ended = end;
  }
  void respond() {
    while (answered < server.requests.size() && random.below(2) == 0) {
      uint32_t id = server.requests[answered++];
      if (!server.live(id)) continue;
      bool end = random.below(4) == 0;
      Pairs head = with(kOk, some_fields());
      server.respond(id, head, end);
      responses[id].blocks.push_back(text_of(head));
      responses[id].ended = end;
    }
  }
  // A random stream that `to`'s sender has begun and not finished; 0 when there is none.
  uint32_t pick(To to) {
    Halves& halves = sent_to(to);
    for (int tries = 0; tries < 20 && !halves.empty(); ++tries) {
      auto at = halves.upper_bound(static_cast<uint32_t>(random.below(halves.rbegin()->first + 1)));
      if (at == halves.end()) continue;
      bool open = !at->second.ended && at->second.reset < 0;
      if (open && sender(to).live(at->first)) return at->first;
    }
    return 0;
  }
  void body(To to) {
    uint32_t id = pick(to);
    if (id == 0) return;
    Half& half = sent_to(to)[id];
    size_t size = random.below(10) == 0 ? random.below(60000) : random.below(300);
    std::string bytes(size, static_cast<char>('a' + random.below(26)));
    half.ended = random.below(4) == 0;
    half.body += bytes;
    sender(to).send(id, bytes, half.ended);
  }
  void trailers(To to) {
    uint32_t id = pick(to);
    if (id == 0) return;
    Pairs pairs = with(kTrailers, some_fields());
    sender(to).trailers(id, pairs);
    sent_to(to)[id].blocks.push_back(text_of(pairs));
    sent_to(to)[id].ended = true;
  }
  void reset(To to) {
    uint32_t id = pick(to);
    // nghttp2 drops a HEADERS that is still in its queue when its stream is reset: then nobody knows it.
    if (id == 0 || (to == To::Server && !server.received.count(id))) return;
    sent_to(to)[id].reset = static_cast<int64_t>(8 + random.below(4));
    sender(to).reset(id, static_cast<ErrorCode>(sent_to(to)[id].reset));
  }
  bool move(To to, size_t max) {
    std::string bytes = sender(to).output(max);
    moved += bytes.size();
    return bytes.empty() || receiver(to).input(bytes);
  }
  bool step() {
    To to = random.below(2) == 0 ? To::Server : To::Client;
    switch (random.below(12)) {
      case 0: case 1: open(); break;
      case 2: case 3: respond(); break;
      case 4: case 5: body(to); break;
      case 6: trailers(to); break;
      case 7: if (random.below(3) == 0) reset(to); break;
      case 8: if (random.below(4) == 0) sender(to).ping(); break;
      case 9: if (random.below(6) == 0) sender(to).settings(random); break;
      default: return move(to, 1 + random.below(random.below(3) == 0 ? 40000 : 60));
    }
    return true;
  }
  // Opens the windows again and moves bytes until both are silent.
  bool settle() {
    for (int quiet = 0, rounds = 0; quiet < 3 && rounds < 20000; ++rounds) {
      size_t before = moved;
      if (!move(To::Server, 50000) || !move(To::Client, 50000)) return false;
      quiet = moved == before ? quiet + 1 : 0;
    }
    return true;
  }
  void finish() {
    for (Side* side : {&client, &server}) {
      if (auto* theirs = dynamic_cast<TheirSide*>(side)) {
        nghttp2_settings_entry wide{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20};
        nghttp2_submit_settings(theirs->session, 0, &wide, 1);
      }
    }
    ASSERT_TRUE(settle());
    for (To to : {To::Server, To::Client}) {
      for (auto& [id, half] : sent_to(to)) {
        if (half.ended || half.reset >= 0 || !sender(to).live(id)) continue;
        sender(to).send(id, "", true);
        half.ended = true;
      }
    }
    for (; answered < server.requests.size(); ++answered) {
      uint32_t id = server.requests[answered];
      if (!server.live(id)) continue;
      server.respond(id, kOk, true);
      responses[id].blocks.push_back(text_of(kOk));
      responses[id].ended = true;
    }
    ASSERT_TRUE(settle());
  }
  void compare(To to) {
    Halves& other = sent_to(to == To::Server ? To::Client : To::Server);
    for (auto& [id, sent] : sent_to(to)) {
      const Half& got = receiver(to).received[id];
      bool cut = sent.reset >= 0 || (other.count(id) && other[id].reset >= 0);
      if (cut) {  // a part of what was sent; and who was reset knows why
        ASSERT_TRUE(sent.body.starts_with(got.body)) << id;
        ASSERT_LE(got.blocks.size(), sent.blocks.size()) << id;
        for (size_t i = 0; i < got.blocks.size(); ++i) ASSERT_TRUE(sent.blocks[i].starts_with(got.blocks[i])) << id;
        bool crossed = other.count(id) && other[id].reset >= 0;
        bool over = got.ended && other.count(id) && other[id].ended;  // both ends may have crossed the reset
        if (sent.reset >= 0 && !crossed && !over) {
          ASSERT_EQ(got.reset, sent.reset) << id;
        }
        ++cuts;
      } else {
        ASSERT_EQ(got.blocks, sent.blocks) << id;
        ASSERT_EQ(got.body, sent.body) << id;
        ASSERT_EQ(got.ended, sent.ended) << id;
        ASSERT_EQ(got.reset, -1) << id;
        ++whole;
      }
    }
  }
  void run(int steps) {
    for (int i = 0; i < steps; ++i) ASSERT_TRUE(step()) << "step " << i;
    finish();
    if (testing::Test::HasFatalFailure()) return;
    compare(To::Server);
    compare(To::Client);
    EXPECT_EQ(client.streams(), 0u);
    EXPECT_EQ(server.streams(), 0u);
    EXPECT_GT(whole, static_cast<size_t>(steps / 40));
    EXPECT_GT(cuts, 3u);
    server.goaway();
    ASSERT_TRUE(settle());
    EXPECT_EQ(client.open(kGet, true), 0u) << "the client knows that the server goes";
  }

  Side& client;
  Side& server;
  Random random;
  Halves requests, responses;
  size_t answered = 0, moved = 0, whole = 0, cuts = 0;
};

constexpr int kSteps = 6000;

class H2Differential : public testing::TestWithParam<int> {};

TEST_P(H2Differential, OurServerAgreesWithTheirClient) {
  auto seed = static_cast<uint64_t>(GetParam());
  OurSide server(Role::Server, seed);
  TheirSide client(false, seed);
  Script(client, server, seed * 31 + 1).run(kSteps);
  EXPECT_FALSE(server.connection->failed()) << server.connection->error_detail();
  EXPECT_EQ(server.connection->pending_bytes(), 0u);
}

TEST_P(H2Differential, OurClientAgreesWithTheirServer) {
  auto seed = static_cast<uint64_t>(GetParam());
  OurSide client(Role::Client, seed);
  TheirSide server(true, seed);
  Script(client, server, seed * 31 + 2).run(kSteps);
  EXPECT_FALSE(client.connection->failed()) << client.connection->error_detail();
  EXPECT_EQ(client.connection->pending_bytes(), 0u);
}

TEST_P(H2Differential, OurClientAgreesWithOurServer) {
  auto seed = static_cast<uint64_t>(GetParam());
  OurSide client(Role::Client, seed), server(Role::Server, seed + 1);
  Script(client, server, seed * 31 + 3).run(kSteps);
  EXPECT_EQ(client.connection->pending_bytes() + server.connection->pending_bytes(), 0u);
  EXPECT_EQ(client.streams_.size() + server.streams_.size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, H2Differential, testing::Range(1, 9));

}  // namespace
}  // namespace weir::http::h2
