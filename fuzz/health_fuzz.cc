// Health checks against hostile targets: the response parser on any bytes, and the state machine of a call (unary
// check, GET, Watch) that is fed a whole connection in pieces. Whatever comes, memory stays bounded, a status comes
// only from well-formed messages, and every call ends in a verdict that may be shown.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "grpc/status.h"
#include "proxy/health_call.h"

using namespace weir;

namespace {

struct World {
  BufferPool buffers;
  Arena arena;
  http::HeaderList headers;
  http::h2::StreamPool streams;
  http::h2::Shared shared() { return {streams, buffers, arena, headers}; }
};

void check(bool holds) {
  if (!holds) std::abort();
}

void check_outcome(const proxy::HealthOutcome& outcome) {
  check(outcome.passed == (outcome.reason == model::HealthReason::None));
  check(outcome.passed == outcome.description.empty());
  check(outcome.description.size() < 400);
  for (char c : outcome.description) check(c >= 0x20 && c <= 0x7e);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  grpc::parse_health_response({reinterpret_cast<const char*>(data), size});
  if (size < 2) return 0;
  model::HealthCheck config;
  config.path = "/grpc.health.v1.Health/Check";
  config.grpc_codes = "0";
  if ((data[0] & 3) == 1) config.http_codes = "200-299";
  auto kind = (data[0] & 3) == 2 ? proxy::HealthCall::Kind::Watch : proxy::HealthCall::Kind::Check;
  World world;
  proxy::HealthCall call(config, kind, world.shared());
  call.start("10.0.0.1:50051");
  size_t step = 1 + data[1] % 64 * 16;
  TimePoint now{};
  for (size_t at = 2; at < size; at += step) {
    now += std::chrono::milliseconds(1);
    bool alive = call.receive({data + at, std::min(step, size - at)}, now);
    call.take_status();
    check(kind == proxy::HealthCall::Kind::Watch || !call.take_status());
    call.connection().output().release();
    call.connection().output_flushed();
    world.arena.reset();
    check(world.buffers.bytes_in_use() < (4u << 20));
    if (!alive || call.over()) break;
  }
  check_outcome(call.outcome());
  return 0;
}
