// The interoperability service in C++ (grpc++, synchronous API), in the clear on a port the kernel chooses.
//   interop_server NAME      prints "port N", runs until it is killed
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "cpp/body.h"
#include "interop.grpc.pb.h"

namespace weir::interop {
namespace {

constexpr int kStreamsMax = 16;  // per connection, so that the tests reach it

class Service final : public Interop::Service {
 public:
  explicit Service(std::string name) : name_(std::move(name)) {}

  grpc::Status Ping(grpc::ServerContext* context, const Nothing*, Nothing*) override {
    Entry entry(*this, context);
    return grpc::Status::OK;
  }
  grpc::Status Unary(grpc::ServerContext* context, const Call* call, Chunk* chunk) override {
    Entry entry(*this, context);
    if (grpc::Status status = check(*call); !status.ok()) return status;
    if (call->answers_size() == 0) return grpc::Status::OK;
    const Answer& answer = call->answers(0);
    if (answer.compressed()) context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
    if (!pause(context, answer.delay_ms())) return grpc::Status::CANCELLED;
    chunk->set_body(body_of(static_cast<size_t>(answer.bytes())));
    return grpc::Status::OK;
  }
  grpc::Status Collect(grpc::ServerContext* context, grpc::ServerReader<Call>* reader, Total* total) override {
    Entry entry(*this, context);
    Call call;
    while (reader->Read(&call)) {
      if (grpc::Status status = check(call); !status.ok()) return status;
      total->set_bytes(total->bytes() + static_cast<int64_t>(call.body().size()));
      total->set_messages(total->messages() + 1);
    }
    return grpc::Status::OK;
  }
  grpc::Status Spread(grpc::ServerContext* context, const Call* call, grpc::ServerWriter<Chunk>* writer) override {
    Entry entry(*this, context);
    return answer_all(context, *call, *writer);
  }
  grpc::Status Duplex(grpc::ServerContext* context, grpc::ServerReaderWriter<Chunk, Call>* stream) override {
    Entry entry(*this, context);
    Call call;
    while (stream->Read(&call)) {
      if (grpc::Status status = answer_all(context, call, *stream); !status.ok()) return status;
    }
    return grpc::Status::OK;
  }
  grpc::Status Count(grpc::ServerContext*, const Nothing*, Counts* counts) override {
    counts->set_calls(calls_);
    counts->set_cancelled(cancelled_);
    return grpc::Status::OK;
  }

 private:
  // Counts a call and its end, and answers its metadata.
  struct Entry {
    Entry(Service& service, grpc::ServerContext* context) : owner(service), call(context) {
      ++owner.calls_;
      call->AddInitialMetadata("x-server", owner.name_);
      for (const auto& [name, value] : call->client_metadata()) {
        if (name == "x-echo-initial") call->AddInitialMetadata("x-echo-initial", {value.data(), value.size()});
        if (name == "x-echo-trailing-bin") call->AddTrailingMetadata("x-echo-trailing-bin", {value.data(), value.size()});
      }
    }
    ~Entry() {
      if (call->IsCancelled()) ++owner.cancelled_;
    }
    Service& owner;
    grpc::ServerContext* call;
  };

  static grpc::Status check(const Call& call) {
    if (call.body() != body_of(call.body().size())) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "the body has changed on its way"};
    }
    if (!call.has_ending()) return grpc::Status::OK;
    return {static_cast<grpc::StatusCode>(call.ending().code()), call.ending().message()};
  }
  // False: the client has left.
  static bool pause(grpc::ServerContext* context, int ms) {
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (!context->IsCancelled()) {
      auto left = end - std::chrono::steady_clock::now();
      if (left <= std::chrono::steady_clock::duration::zero()) return true;
      std::this_thread::sleep_for(std::min<std::chrono::steady_clock::duration>(left, std::chrono::milliseconds(20)));
    }
    return false;
  }
  template <class Writer>
  static grpc::Status answer_all(grpc::ServerContext* context, const Call& call, Writer& writer) {
    if (grpc::Status status = check(call); !status.ok()) return status;
    for (const Answer& answer : call.answers()) {
      if (answer.compressed()) context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
      if (!pause(context, answer.delay_ms())) return grpc::Status::CANCELLED;
      Chunk chunk;
      chunk.set_body(body_of(static_cast<size_t>(answer.bytes())));
      if (!writer.Write(chunk)) return grpc::Status::CANCELLED;
    }
    return grpc::Status::OK;
  }

  std::string name_;
  std::atomic<int64_t> calls_{0}, cancelled_{0};
};

int serve(const char* name) {
  Service service(name);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsMax);
  builder.RegisterService(&service);
  auto server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::printf("port %d\n", port);
  std::fflush(stdout);
  server->Wait();
  return 0;
}

}  // namespace
}  // namespace weir::interop

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  return weir::interop::serve(argv[1]);
}
