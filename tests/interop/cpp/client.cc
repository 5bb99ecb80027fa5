// The interoperability cases with grpc++.
//   interop_client --address HOST:PORT [--ca FILE --authority NAME] [--cases A,B,…]
// Ends with one line of JSON: {"client", "passed": […], "failed": {case: why}, "servers": [names]}.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "cpp/body.h"
#include "interop.grpc.pb.h"

namespace weir::interop {
namespace {

constexpr size_t kLargeRequest = 271828, kLargeResponse = 314159;
constexpr int kSoakRounds = 10;
constexpr int kManyStreams = 200;  // more than the balancer takes at once from a client, and a server from it
const char kSpecialMessage[] = "\t\ntest with whitespace\r\nand Unicode BMP \xe2\x98\xba and non-BMP \xf0\x9f\x98\x88\t\n";

struct Mismatch : std::runtime_error {
  using runtime_error::runtime_error;
};

void expect(bool good, const std::string& what) {
  if (!good) throw Mismatch(what);
}

struct Options {
  std::string address, ca, authority;
  std::set<std::string> cases;
};

Call call_of(size_t body, std::initializer_list<int> answers = {}, bool compressed = false) {
  Call call;
  call.set_body(body_of(body));
  for (int bytes : answers) {
    Answer* answer = call.add_answers();
    answer->set_bytes(bytes);
    answer->set_compressed(compressed);
  }
  return call;
}

class Client {
 public:
  explicit Client(const Options& options) : options_(options), stub_(connect()) {}

  nlohmann::json run();

 private:
  using Context = grpc::ClientContext;

  std::unique_ptr<Interop::Stub> connect() { return Interop::NewStub(channel()); }
  std::shared_ptr<grpc::Channel> channel() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    if (options_.ca.empty()) {
      return grpc::CreateCustomChannel(options_.address, grpc::InsecureChannelCredentials(), arguments);
    }
    std::ifstream file(options_.ca);
    std::stringstream pem;
    pem << file.rdbuf();
    arguments.SetSslTargetNameOverride(options_.authority);
    return grpc::CreateCustomChannel(options_.address, grpc::SslCredentials({pem.str(), "", ""}), arguments);
  }
  static void limit(Context& context, int ms = 30000) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(ms));
  }
  void note_server(const Context& context) {
    auto found = context.GetServerInitialMetadata().find("x-server");
    expect(found != context.GetServerInitialMetadata().end(), "no x-server");
    servers_.insert({found->second.data(), found->second.size()});
  }
  static void expect_status(const grpc::Status& status, grpc::StatusCode code, const std::string& what) {
    expect(status.error_code() == code, what + ": status " + std::to_string(status.error_code()) + " " +
                                            status.error_message());
  }
  static void expect_body(const Chunk& chunk, size_t size) {
    expect(chunk.body() == body_of(size), "body of " + std::to_string(chunk.body().size()) + " bytes instead of " +
                                              std::to_string(size));
  }
  Chunk unary(Interop::Stub& stub, Context& context, const Call& call) {
    limit(context);
    Chunk chunk;
    expect_status(stub.Unary(&context, call, &chunk), grpc::StatusCode::OK, "unary");
    note_server(context);
    return chunk;
  }

  void empty_unary() {
    Context context;
    limit(context);
    Nothing reply;
    expect_status(stub_->Ping(&context, {}, &reply), grpc::StatusCode::OK, "ping");
    note_server(context);
  }
  void large_unary() {
    Context context;
    expect_body(unary(*stub_, context, call_of(kLargeRequest, {kLargeResponse})), kLargeResponse);
  }
  void client_streaming() { collect(false); }
  void collect(bool compressed) {
    Context context;
    limit(context);
    if (compressed) context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    Total total;
    auto writer = stub_->Collect(&context, &total);
    for (size_t size : {27182u, 8u, 1828u, 45904u}) expect(writer->Write(call_of(size)), "write");
    writer->WritesDone();
    expect_status(writer->Finish(), grpc::StatusCode::OK, "collect");
    expect(total.bytes() == 74922 && total.messages() == 4, "total " + total.ShortDebugString());
  }
  void server_streaming() { spread(false); }
  void spread(bool compressed) {
    Context context;
    limit(context);
    auto reader = stub_->Spread(&context, call_of(10, {31415, 9, 2653, 58979}, compressed));
    Chunk chunk;
    for (size_t size : {31415u, 9u, 2653u, 58979u}) {
      expect(reader->Read(&chunk), "read");
      expect_body(chunk, size);
    }
    expect(!reader->Read(&chunk), "too many chunks");
    expect_status(reader->Finish(), grpc::StatusCode::OK, "spread");
  }
  void ping_pong() {
    Context context;
    limit(context);
    auto stream = stub_->Duplex(&context);
    const size_t requests[] = {27182, 8, 1828, 45904};
    const int answers[] = {31415, 9, 2653, 58979};
    Chunk chunk;
    for (int i = 0; i < 4; ++i) {
      expect(stream->Write(call_of(requests[i], {answers[i]})), "write");
      expect(stream->Read(&chunk), "read");
      expect_body(chunk, static_cast<size_t>(answers[i]));
    }
    stream->WritesDone();
    expect(!stream->Read(&chunk), "too many chunks");
    expect_status(stream->Finish(), grpc::StatusCode::OK, "duplex");
  }
  void empty_stream() {
    Context context;
    limit(context);
    auto stream = stub_->Duplex(&context);
    stream->WritesDone();
    Chunk chunk;
    expect(!stream->Read(&chunk), "a chunk of nothing");
    expect_status(stream->Finish(), grpc::StatusCode::OK, "duplex");
  }
  void client_compressed_unary() {
    Context context;
    context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    expect_body(unary(*stub_, context, call_of(kLargeRequest, {100})), 100);
  }
  void client_compressed_streaming() { collect(true); }
  void server_compressed_unary() {
    Context context;
    expect_body(unary(*stub_, context, call_of(10, {kLargeResponse}, true)), kLargeResponse);
  }
  void server_compressed_streaming() { spread(true); }
  void cancel_after_begin() {
    Context context;
    Total total;
    auto writer = stub_->Collect(&context, &total);
    context.TryCancel();
    expect_status(writer->Finish(), grpc::StatusCode::CANCELLED, "collect");
  }
  void cancel_after_first_response() {
    Context context;
    limit(context);
    auto stream = stub_->Duplex(&context);
    expect(stream->Write(call_of(27182, {31415})), "write");
    Chunk chunk;
    expect(stream->Read(&chunk), "read");
    expect_body(chunk, 31415);
    context.TryCancel();
    expect_status(stream->Finish(), grpc::StatusCode::CANCELLED, "duplex");
  }
  void timeout_on_sleeping_server() {
    Context context;
    limit(context, 2000);
    auto stream = stub_->Duplex(&context);
    Call call = call_of(27182, {10});
    call.mutable_answers(0)->set_delay_ms(20000);
    stream->Write(call);
    Chunk chunk;
    expect(!stream->Read(&chunk), "an answer");
    expect_status(stream->Finish(), grpc::StatusCode::DEADLINE_EXCEEDED, "duplex");
  }
  void ending(int code, const std::string& message) {
    Call call = call_of(5);
    call.mutable_ending()->set_code(code);
    call.mutable_ending()->set_message(message);
    Context one, two;
    limit(one);
    limit(two);
    Chunk chunk;
    check_ending(stub_->Unary(&one, call, &chunk), code, message);
    auto stream = stub_->Duplex(&two);
    stream->Write(call);
    stream->WritesDone();
    expect(!stream->Read(&chunk), "a chunk");
    check_ending(stream->Finish(), code, message);
  }
  static void check_ending(const grpc::Status& status, int code, const std::string& message) {
    expect(status.error_code() == code && status.error_message() == message,
           "status " + std::to_string(status.error_code()) + " '" + status.error_message() + "'");
  }
  void status_code_and_message() {
    for (int code = 1; code <= 16; ++code) ending(code, "test status message");
  }
  void special_status_message() { ending(2, kSpecialMessage); }
  void custom_metadata() {
    const std::string binary("\xab\xab\xab\0\xff", 5);
    Context one, two;
    for (Context* context : {&one, &two}) {
      limit(*context);
      context->AddMetadata("x-echo-initial", "test_initial_metadata_value");
      context->AddMetadata("x-echo-trailing-bin", binary);
    }
    unary(*stub_, one, call_of(3, {4}));
    check_metadata(one, binary);
    auto stream = stub_->Duplex(&two);
    stream->Write(call_of(3, {4}));
    stream->WritesDone();
    Chunk chunk;
    expect(stream->Read(&chunk) && !stream->Read(&chunk), "chunks");
    expect_status(stream->Finish(), grpc::StatusCode::OK, "duplex");
    check_metadata(two, binary);
  }
  static void check_metadata(const Context& context, const std::string& binary) {
    auto initial = context.GetServerInitialMetadata().find("x-echo-initial");
    auto trailing = context.GetServerTrailingMetadata().find("x-echo-trailing-bin");
    expect(initial != context.GetServerInitialMetadata().end() && initial->second == "test_initial_metadata_value",
           "initial metadata");
    expect(trailing != context.GetServerTrailingMetadata().end() &&
               std::string(trailing->second.data(), trailing->second.size()) == binary,
           "trailing metadata");
  }
  void unimplemented_method() {
    Context context;
    limit(context);
    Nothing reply;
    expect_status(stub_->Missing(&context, {}, &reply), grpc::StatusCode::UNIMPLEMENTED, "missing");
  }
  void unimplemented_service() {
    Context context;
    limit(context);
    Nothing reply;
    expect_status(Absent::NewStub(channel())->Ping(&context, {}, &reply), grpc::StatusCode::UNIMPLEMENTED, "absent");
  }
  void rpc_soak() { soak([this] { return stub_.get(); }); }
  void channel_soak() {
    std::unique_ptr<Interop::Stub> fresh;
    soak([&] {
      fresh = connect();
      return fresh.get();
    });
  }
  void soak(const std::function<Interop::Stub*()>& next) {
    for (int i = 0; i < kSoakRounds; ++i) {
      Context context;
      expect_body(unary(*next(), context, call_of(kLargeRequest, {kLargeResponse})), kLargeResponse);
    }
  }
  void more_streams_than_allowed() {
    grpc::CompletionQueue queue;
    struct Pending {
      Context context;
      Chunk chunk;
      grpc::Status status;
      std::unique_ptr<grpc::ClientAsyncResponseReader<Chunk>> reader;
    };
    std::vector<Pending> pending(kManyStreams);
    Call call = call_of(10, {20});
    call.mutable_answers(0)->set_delay_ms(30);
    for (Pending& p : pending) {
      limit(p.context, 60000);
      p.reader = stub_->AsyncUnary(&p.context, call, &queue);
      p.reader->Finish(&p.chunk, &p.status, &p);
    }
    for (int i = 0; i < kManyStreams; ++i) {
      void* tag = nullptr;
      bool ok = false;
      expect(queue.Next(&tag, &ok) && ok, "completion");
    }
    for (Pending& p : pending) {
      expect_status(p.status, grpc::StatusCode::OK, "one of many");
      expect_body(p.chunk, 20);
      note_server(p.context);
    }
  }

  const Options& options_;
  std::set<std::string> servers_;
  std::unique_ptr<Interop::Stub> stub_;
};

nlohmann::json Client::run() {
  using Case = void (Client::*)();
  const std::pair<const char*, Case> kCases[] = {
      {"empty_unary", &Client::empty_unary},
      {"large_unary", &Client::large_unary},
      {"client_streaming", &Client::client_streaming},
      {"server_streaming", &Client::server_streaming},
      {"ping_pong", &Client::ping_pong},
      {"empty_stream", &Client::empty_stream},
      {"client_compressed_unary", &Client::client_compressed_unary},
      {"client_compressed_streaming", &Client::client_compressed_streaming},
      {"server_compressed_unary", &Client::server_compressed_unary},
      {"server_compressed_streaming", &Client::server_compressed_streaming},
      {"cancel_after_begin", &Client::cancel_after_begin},
      {"cancel_after_first_response", &Client::cancel_after_first_response},
      {"timeout_on_sleeping_server", &Client::timeout_on_sleeping_server},
      {"status_code_and_message", &Client::status_code_and_message},
      {"special_status_message", &Client::special_status_message},
      {"custom_metadata", &Client::custom_metadata},
      {"unimplemented_method", &Client::unimplemented_method},
      {"unimplemented_service", &Client::unimplemented_service},
      {"rpc_soak", &Client::rpc_soak},
      {"channel_soak", &Client::channel_soak},
      {"more_streams_than_allowed", &Client::more_streams_than_allowed},
  };
  nlohmann::json result = {{"client", "cpp"}, {"passed", nlohmann::json::array()}, {"failed", nlohmann::json::object()}};
  for (const auto& [name, test] : kCases) {
    if (!options_.cases.empty() && options_.cases.count(name) == 0) continue;
    try {
      (this->*test)();
      result["passed"].push_back(name);
    } catch (const Mismatch& mismatch) {
      result["failed"][name] = mismatch.what();
    }
  }
  result["servers"] = servers_;
  return result;
}

int run(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string name = argv[i], value = argv[i + 1];
    if (name == "--address") options.address = value;
    if (name == "--ca") options.ca = value;
    if (name == "--authority") options.authority = value;
    if (name == "--cases") {
      std::stringstream list(value);
      for (std::string item; std::getline(list, item, ',');) options.cases.insert(item);
    }
  }
  nlohmann::json result = Client(options).run();
  std::puts(result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return result["failed"].empty() && !result["passed"].empty() ? 0 : 1;
}

}  // namespace
}  // namespace weir::interop

int main(int argc, char** argv) { return weir::interop::run(argc, argv); }
