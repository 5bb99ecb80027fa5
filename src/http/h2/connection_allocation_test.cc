// A pair of connections that has warmed up asks for no memory, whatever the number of calls.
#include <gtest/gtest.h>

#include "http/h2/allocation_counter_test.h"
#include "http/h2/h2_peer_testing_test.h"

namespace weir::http::h2 {
namespace {

// Answers every request with head, one message and trailers; writes nothing down.
struct QuietSink final : Sink {
  Connection* connection = nullptr;
  std::vector<Field> head, trailers;
  bool server = false;
  uint64_t ends = 0;

  void on_headers(StreamHandle, Stream&, const HeadersEvent& event) override { ends += event.end_stream; }
  size_t on_data(StreamHandle h, Stream&, std::span<const uint8_t> bytes, bool end_stream) override {
    ends += end_stream;
    if (!server || !end_stream) return bytes.size();
    connection->send_headers(h, head, false);
    connection->send_data(h, bytes, false);
    connection->send_headers(h, trailers, true);
    return bytes.size();
  }
  void on_reset(StreamHandle, Stream&, ErrorCode, ResetBy) override {}
  void on_sent(StreamHandle, Stream&, size_t) override {}
  void on_goaway(uint32_t, ErrorCode) override {}
  void on_settings() override {}
  void on_output() override {}
};

const Pairs kRequest = with(kPost, {{"te", "trailers"}, {"grpc-timeout", "5S"}});
const Pairs kResponse = with(kOk, {{"content-type", "application/grpc"}});

struct Pair {
  Pair() {
    server_sink.connection = &server;
    client_sink.connection = &client;
    server_sink.server = true;
    server_sink.head = fields_of(kResponse);
    server_sink.trailers = fields_of(kTrailers);
    client.start();
    server.start();
    exchange();
  }
  void exchange() {
    TimePoint now = TimePoint{} + std::chrono::seconds(1);
    for (auto [from, to] : {std::pair{&client, &server}, std::pair{&server, &client}}) {
      to->receive(from->output().bytes(), now);
      from->output().consume(from->output().size());
      from->output_flushed();
      from->pump();
    }
    arena.reset();
  }
  void calls(size_t depth) {
    for (size_t i = 0; i < depth; ++i) {
      StreamHandle h = client.open_stream(i);
      client.send_headers(h, request, false);
      client.send_data(h, message, true);
    }
    exchange();
  }

  BufferPool buffers;
  StreamPool streams;
  Arena arena;
  HeaderList headers;
  HeaderRuns runs;
  QuietSink client_sink, server_sink;
  Shared shared{streams, buffers, arena, headers, &runs};
  Connection client{Endpoint::options_for(Role::Client), shared, client_sink};
  Connection server{Endpoint::options_for(Role::Server), shared, server_sink};
  std::vector<Field> request = fields_of(kRequest);
  std::vector<uint8_t> message = std::vector<uint8_t>(100, 'm');
};

TEST(ConnectionAllocation, SteadyStateAllocatesNothing) {
  Pair pair;
  for (size_t i = 0; i < 320; ++i) pair.calls(1 + i % 32);
  uint64_t before = allocations_so_far();
  size_t in_use = pair.buffers.bytes_in_use();
  for (int i = 0; i < 1000; ++i) pair.calls(1 + static_cast<size_t>(i) % 32);
  EXPECT_EQ(allocations_so_far() - before, 0u);
  EXPECT_EQ(pair.buffers.bytes_in_use(), in_use);
  EXPECT_EQ(pair.streams.size(), 0u);
  EXPECT_GT(pair.client_sink.ends, 20000u) << "the calls must have been answered";
}

TEST(ConnectionAllocation, AnIdleConnectionOwnsNoBuffer) {
  Pair pair;
  pair.calls(32);
  pair.exchange();
  EXPECT_EQ(pair.buffers.bytes_in_use(), 0u);
}

}  // namespace
}  // namespace weir::http::h2
