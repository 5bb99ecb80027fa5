#include "client/singles.h"

#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "chat.grpc.pb.h"

namespace weir::chat {
namespace {

std::unique_ptr<v1::ChatService::Stub> stub_for(const Endpoint& endpoint) {
  return v1::ChatService::NewStub(make_channel(endpoint, credentials(endpoint)));
}

void set_deadline(grpc::ClientContext* context, const Wish& wish) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(wish.deadline_ms));
}

void fill(const Wish& wish, v1::Behaviour* behaviour) {
  behaviour->set_reply_bytes(wish.reply_bytes);
  behaviour->set_delay_ms(wish.delay_ms);
}

void fill_failure(const Wish& wish, v1::Behaviour* behaviour) {
  behaviour->set_fail_code(wish.fail_code);
  behaviour->set_fail_message(wish.fail_message);
}

int report(const grpc::Status& status) {
  if (status.ok()) return std::printf("status: OK\n"), 0;
  std::printf("status: %s: %s\n", code_name(status.error_code()), status.error_message().c_str());
  return 1;
}

}  // namespace

int run_say(const Endpoint& endpoint, const Wish& wish) {
  auto stub = stub_for(endpoint);
  grpc::ClientContext context;
  set_deadline(&context, wish);
  v1::SayRequest request;
  request.set_sequence(1);
  request.set_text(wish.text);
  request.set_payload(std::string(wish.bytes, 'c'));
  fill(wish, request.mutable_behaviour());
  fill_failure(wish, request.mutable_behaviour());
  v1::SayReply reply;
  grpc::Status status = stub->Say(&context, request, &reply);
  if (status.ok()) {
    std::printf("\"%s\", %zu bytes, served by %s, peer %s\n", reply.text().c_str(), reply.payload().size(),
                reply.served_by().c_str(), context.peer().c_str());
    for (const auto& [key, value] : reply.headers()) std::printf("  %s: %s\n", key.c_str(), value.c_str());
  }
  return report(status);
}

int run_collect(const Endpoint& endpoint, const Wish& wish) {
  auto stub = stub_for(endpoint);
  grpc::ClientContext context;
  set_deadline(&context, wish);
  v1::CollectReply reply;
  auto writer = stub->Collect(&context, &reply);
  for (uint32_t i = 1; i <= wish.count; i++) {
    v1::CollectRequest request;
    request.set_sequence(i);
    request.set_payload(std::string(wish.bytes, 'c'));
    if (i == wish.count) {
      fill(wish, request.mutable_behaviour());
      fill_failure(wish, request.mutable_behaviour());
    }
    if (!writer->Write(request)) break;
    std::printf("sent %u\n", i);
  }
  writer->WritesDone();
  grpc::Status status = writer->Finish();
  if (status.ok()) {
    std::printf("%llu messages, %llu bytes, %s, served by %s\n",
                static_cast<unsigned long long>(reply.messages()),
                static_cast<unsigned long long>(reply.bytes()), reply.in_order() ? "in order" : "OUT OF ORDER",
                reply.served_by().c_str());
  }
  return report(status);
}

int run_watch(const Endpoint& endpoint, const Wish& wish) {
  auto stub = stub_for(endpoint);
  grpc::ClientContext context;
  set_deadline(&context, wish);
  v1::WatchRequest request;
  request.set_topic(wish.text);
  fill(wish, request.mutable_behaviour());
  fill_failure(wish, request.mutable_behaviour());
  request.mutable_behaviour()->set_count(wish.count);
  auto reader = stub->Watch(&context, request);
  v1::WatchReply reply;
  while (reader->Read(&reply)) {
    std::printf("%llu \"%s\", %zu bytes, served by %s\n", static_cast<unsigned long long>(reply.sequence()),
                reply.topic().c_str(), reply.payload().size(), reply.served_by().c_str());
  }
  return report(reader->Finish());
}

int run_chat(const Endpoint& endpoint, const Wish& wish) {
  auto stub = stub_for(endpoint);
  grpc::ClientContext context;
  set_deadline(&context, wish);
  auto stream = stub->Chat(&context);
  v1::ChatReply reply;
  for (uint32_t i = 1; i <= wish.count; i++) {
    v1::ChatRequest request;
    request.set_sequence(i);
    request.set_text(wish.text + " " + std::to_string(i));
    request.set_payload(std::string(wish.bytes, 'c'));
    fill(wish, request.mutable_behaviour());
    if (i == wish.count) fill_failure(wish, request.mutable_behaviour());
    if (!stream->Write(request) || !stream->Read(&reply)) break;
    std::printf("%llu \"%s\", %zu bytes, served by %s\n", static_cast<unsigned long long>(reply.sequence()),
                reply.text().c_str(), reply.payload().size(), reply.served_by().c_str());
  }
  stream->WritesDone();
  while (stream->Read(&reply)) {
  }
  return report(stream->Finish());
}

}  // namespace weir::chat
