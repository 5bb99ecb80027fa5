// What the HTTP/2 core costs a proxy: a server connection and a client connection that forward to each
// other, between a client and a backend whose cost does not count. No sockets, no TLS, no routing.
//
//   h2_bench unary|stream [depth] [turns]
//   valgrind --tool=callgrind --toggle-collect='proxy_turn*' h2_bench unary 32 100
//       instructions, divided by the RPCs (or messages: one each way) printed
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "http/h2/connection.h"

namespace {

using namespace weir;
using namespace weir::http;
using namespace weir::http::h2;

uint64_t pack(StreamHandle h) { return uint64_t{h.generation} << 32 | h.index; }
StreamHandle unpack(uint64_t v) { return {static_cast<uint32_t>(v), static_cast<uint32_t>(v >> 32)}; }

struct Worker {
  StreamPool streams;
  BufferPool buffers;
  Arena arena;
  HeaderList headers;
  HeaderRuns runs;
  Shared shared{streams, buffers, arena, headers, &runs};
};

ConnectionOptions options(Role role) {
  ConnectionOptions o;
  o.role = role;
  return o;
}

struct BaseSink : Sink {
  void on_headers(StreamHandle, Stream&, const HeadersEvent&) override {}
  size_t on_data(StreamHandle, Stream&, std::span<const uint8_t>, bool) override { return 0; }
  void on_reset(StreamHandle, Stream&, ErrorCode, ResetBy) override { std::abort(); }
  void on_sent(StreamHandle, Stream&, size_t) override {}
  void on_goaway(uint32_t, ErrorCode) override {}
  void on_settings() override {}
  void on_output() override {}

 protected:
  ~BaseSink() = default;
};

// Forwards what one connection hears to the other.
struct Forward final : BaseSink {
  Connection* own = nullptr;
  Connection* other = nullptr;
  StreamPool* streams = nullptr;
  bool down = false;

  void on_headers(StreamHandle h, Stream& s, const HeadersEvent& event) override {
    if (down && event.kind == HeadersEvent::Kind::Head) {
      StreamHandle up = other->open_stream(pack(h));
      if (!up.valid()) std::abort();
      s.user = pack(up);
    }
    other->send_headers(unpack(s.user), OutgoingHeaders(event.list), event.end_stream);
  }
  size_t on_data(StreamHandle, Stream& s, std::span<const uint8_t> bytes, bool end_stream) override {
    return other->send_data(unpack(s.user), bytes, end_stream);
  }
};

struct Client final : BaseSink {
  Connection* own = nullptr;
  uint64_t messages = 0, ends = 0;
  void on_headers(StreamHandle, Stream&, const HeadersEvent& event) override { ends += event.end_stream; }
  size_t on_data(StreamHandle, Stream&, std::span<const uint8_t> bytes, bool) override {
    ++messages;
    return bytes.size();
  }
};

std::vector<Field> fields(std::initializer_list<std::pair<const char*, const char*>> pairs) {
  std::vector<Field> out;
  for (auto [name, value] : pairs) out.push_back({name, value, field_hash(name, value), token_of(name)});
  return out;
}

// Answers each message with one of the same size, and the end with trailers.
struct Backend final : BaseSink {
  Connection* own = nullptr;
  std::vector<Field> head = fields({{":status", "200"}, {"content-type", "application/grpc"},
                                    {"grpc-encoding", "identity"}, {"grpc-accept-encoding", "gzip"}});
  std::vector<Field> trailers = fields({{"grpc-status", "0"}, {"grpc-message", ""}});
  size_t on_data(StreamHandle h, Stream& s, std::span<const uint8_t> bytes, bool end_stream) override {
    if (s.user == 0) own->send_headers(h, head, false);
    s.user = 1;
    own->send_data(h, bytes, false);
    if (end_stream) own->send_headers(h, trailers, true);
    return bytes.size();
  }
};

TimePoint now = TimePoint{} + std::chrono::seconds(1);

// One turn of a worker for one ready connection.
extern "C" [[gnu::noinline]] void proxy_turn(Connection& from, Connection& to, Arena& arena, const uint8_t* bytes,
                                             size_t size) {
  if (!from.receive({bytes, size}, now)) std::abort();
  from.pump();
  to.pump();
  arena.reset();
}

struct Bench {
  Bench() {
    sink_down.own = sink_up.other = &down;
    sink_up.own = sink_down.other = &up;
    sink_down.down = true;
    sink_client.own = &client;
    sink_backend.own = &backend;
    for (Connection* c : {&client, &down, &up, &backend}) c->start();
    for (int i = 0; i < 3; ++i) turn();
  }
  static std::vector<uint8_t> take(Connection& c) {
    std::vector<uint8_t> bytes(c.output().bytes().begin(), c.output().bytes().end());
    if (!bytes.empty()) c.output().consume(bytes.size());
    c.output_flushed();
    return bytes;
  }
  void proxy(Connection& source, Connection& from, Connection& to) {
    std::vector<uint8_t> bytes = take(source);
    if (!bytes.empty()) proxy_turn(from, to, worker.arena, bytes.data(), bytes.size());
  }
  void outer(Connection& from, Connection& to) {
    std::vector<uint8_t> bytes = take(from);
    if (!bytes.empty() && !to.receive(bytes, now)) std::abort();
    to.pump();
    outside.arena.reset();
  }
  void turn() {
    proxy(client, down, up);
    outer(up, backend);
    proxy(backend, up, down);
    outer(down, client);
  }
  StreamHandle call(int i) {
    char timeout[16], id[40];
    std::snprintf(timeout, sizeof timeout, "%du", 999000 - i % 100000);
    std::snprintf(id, sizeof id, "%08x-0d3b-4c7e-9a6e-3f1f5b8c%04x", i * 2654435761u, i & 0xFFFF);
    std::vector<Field> request = fields({{":method", "POST"}, {":scheme", "https"},
                                         {":path", "/shop.orders.v1.Orders/PlaceOrder"},
                                         {":authority", "orders.example.internal:443"}, {"te", "trailers"},
                                         {"content-type", "application/grpc"}, {"user-agent", "grpc-go/1.67.1"},
                                         {"grpc-accept-encoding", "gzip"}, {"grpc-timeout", timeout},
                                         {"x-request-id", id}});
    StreamHandle h = client.open_stream(0);
    client.send_headers(h, request, false);
    return h;
  }

  Worker worker, outside;
  Client sink_client;
  Backend sink_backend;
  Forward sink_down, sink_up;
  Connection client{options(Role::Client), outside.shared, sink_client};
  Connection backend{options(Role::Server), outside.shared, sink_backend};
  Connection down{options(Role::Server), worker.shared, sink_down};
  Connection up{options(Role::Client), worker.shared, sink_up};
};

double seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace

int main(int argc, char** argv) {
  bool unary = argc > 1 && std::strcmp(argv[1], "unary") == 0;
  int depth = argc > 2 ? std::atoi(argv[2]) : 32;
  int turns = argc > 3 ? std::atoi(argv[3]) : 10000;
  if (depth < 1 || depth > 100 || turns < 1) return 1;
  Bench bench;
  const std::vector<uint8_t> message(105, 'm');
  std::vector<StreamHandle> open;
  for (int i = 0; !unary && i < depth; ++i) open.push_back(bench.call(i));
  double start = seconds();
  for (int t = 0; t < turns; ++t) {
    for (int i = 0; i < depth; ++i) {
      StreamHandle h = unary ? bench.call(t * depth + i) : open[static_cast<size_t>(i)];
      bench.client.send_data(h, message, unary);
    }
    bench.turn();
  }
  double taken = seconds() - start;
  uint64_t done = unary ? bench.sink_client.ends : bench.sink_client.messages;
  std::printf("%llu %s at depth %d, %.0f ns each (all four connections)\n", static_cast<unsigned long long>(done),
              unary ? "RPCs" : "messages (one each way)", depth, taken / static_cast<double>(done) * 1e9);
  return done == static_cast<uint64_t>(turns) * static_cast<uint64_t>(depth) ? 0 : 1;
}
