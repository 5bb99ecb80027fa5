// What HPACK costs a proxied gRPC call: request, response headers and trailers, each decoded from one
// connection and encoded for another. The client's blocks come from our own encoder (indexed after the
// second call) or, as other senders do, with new names written out.
//
//   hpack_bench [calls]                              time per call
//   valgrind --tool=callgrind --toggle-collect='forward*' hpack_bench 1000
//                                                    instructions, divided by the calls printed
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "http/h2/hpack.h"

namespace {

using weir::Arena;
using weir::Buffer;
using weir::BufferPool;
using weir::http::Field;
using weir::http::HeaderList;
using weir::http::h2::HpackDecoder;
using weir::http::h2::HpackEncoder;

struct Pair {
  std::string name, value;
};
using Block = std::vector<uint8_t>;

struct Blocks {
  Block request, response, trailers;
};

struct Direction {
  HpackDecoder decoder;
  HpackEncoder encoder;
};

BufferPool pool;

Block encode(HpackEncoder& encoder, const std::vector<Pair>& pairs) {
  Buffer out(pool);
  encoder.begin_block(out);
  for (const Pair& pair : pairs) encoder.encode(Field{pair.name, pair.value}, out);
  return Block(out.bytes().begin(), out.bytes().end());
}

// Eight common fields and two of this call alone.
std::vector<Blocks> calls(int count) {
  HpackEncoder client, target;
  std::vector<Blocks> out;
  for (int i = 0; i < count; ++i) {
    char timeout[16], id[40];
    std::snprintf(timeout, sizeof timeout, "%du", 999000 - i % 100000);
    std::snprintf(id, sizeof id, "%08x-0d3b-4c7e-9a6e-3f1f5b8c%04x", i * 2654435761u, i & 0xFFFF);
    Blocks call;
    call.request = encode(client, {{":method", "POST"}, {":scheme", "https"},
                                   {":path", "/shop.orders.v1.Orders/PlaceOrder"},
                                   {":authority", "orders.example.internal:443"}, {"te", "trailers"},
                                   {"content-type", "application/grpc"}, {"user-agent", "grpc-go/1.67.1"},
                                   {"grpc-accept-encoding", "gzip"}, {"grpc-timeout", timeout},
                                   {"x-request-id", id}});
    call.response = encode(target, {{":status", "200"}, {"content-type", "application/grpc"},
                                    {"grpc-encoding", "identity"}, {"grpc-accept-encoding", "gzip"}});
    call.trailers = encode(target, {{"grpc-status", "0"}, {"grpc-message", ""}});
    out.push_back(std::move(call));
  }
  return out;
}

extern "C" [[gnu::noinline]] bool forward(Direction& direction, const Block& block, Arena& arena, HeaderList& list,
                                          Buffer& out) {
  if (!direction.decoder.decode(block, arena, list)) return false;
  direction.encoder.begin_block(out);
  for (const Field& field : list.fields) direction.encoder.encode(field, out);
  return true;
}

double seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

int main(int argc, char** argv) {
  int count = argc > 1 ? std::atoi(argv[1]) : 1000000;
  int distinct = count < 10000 ? count : 10000;
  if (count < 10) return 1;
  std::vector<Blocks> all = calls(distinct);
  Direction up, down;
  Arena arena;
  HeaderList list;
  Buffer out(pool);
  size_t bytes_in = 0, bytes_out = 0;
  double start = seconds();
  for (int i = 0; i < count; ++i) {
    // The first blocks fill the tables: again only those behind them, which change no table.
    const Blocks& call = all[i < distinct ? static_cast<size_t>(i) : 5 + static_cast<size_t>(i) % (all.size() - 5)];
    arena.reset();
    bool ok = forward(up, call.request, arena, list, out) && forward(down, call.response, arena, list, out) &&
              forward(down, call.trailers, arena, list, out);
    if (!ok) return 1;
    bytes_in += call.request.size() + call.response.size() + call.trailers.size();
    bytes_out += out.size();
    out.rewind();
  }
  double taken = seconds() - start;
  std::printf("%d calls, %.0f ns per call, %zu bytes in, %zu bytes out\n", count, taken / count * 1e9,
              bytes_in / static_cast<size_t>(count), bytes_out / static_cast<size_t>(count));
  return 0;
}
