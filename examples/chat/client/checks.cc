#include "client/checks.h"

#include <grpcpp/generic/generic_stub.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "chat.grpc.pb.h"

namespace weir::chat {
namespace {

using Stub = v1::ChatService::Stub;
using Clock = std::chrono::steady_clock;

constexpr uint32_t kLarge = 1 << 20;

// A check returns "" or what was wrong.
struct Check {
  const char* name;
  std::function<std::string(Stub*)> run;
};

void set_deadline(grpc::ClientContext* context, int ms) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(ms));
}

std::string wrong(const grpc::Status& status, grpc::StatusCode expected = grpc::StatusCode::OK) {
  if (status.error_code() == expected) return "";
  return std::string("status ") + code_name(status.error_code()) + " (" + status.error_message() +
         ") instead of " + code_name(expected);
}

std::string must_be(const char* what, uint64_t got, uint64_t expected) {
  if (got == expected) return "";
  return std::string(what) + " is " + std::to_string(got) + " instead of " + std::to_string(expected);
}

std::string say(Stub* stub, uint32_t bytes) {
  grpc::ClientContext context;
  set_deadline(&context, 20'000);
  v1::SayRequest request;
  request.set_sequence(7);
  request.set_text("caffè ☕");
  request.set_payload(std::string(bytes, '\xfe'));
  v1::SayReply reply;
  if (std::string bad = wrong(stub->Say(&context, request, &reply)); !bad.empty()) return bad;
  if (reply.sequence() != 7 || reply.text() != request.text()) return "the reply is not to this request";
  if (reply.payload() != request.payload()) return "the payload came back changed";
  return reply.served_by().empty() ? "no served_by" : "";
}

std::string empty_message(Stub* stub) {
  grpc::ClientContext context;
  set_deadline(&context, 20'000);
  v1::SayReply reply;
  return wrong(stub->Say(&context, v1::SayRequest(), &reply));
}

// The one value of the key, or "<none>" / "<several>".
std::string value_of(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata, const char* key) {
  auto [first, last] = metadata.equal_range(key);
  if (first == last) return "<none>";
  if (std::next(first) != last) return "<several>";
  return {first->second.data(), first->second.size()};
}

std::string metadata(Stub* stub) {
  const std::string binary("\0\x01\xff\r\n,=\x80", 8);
  grpc::ClientContext context;
  set_deadline(&context, 20'000);
  context.AddMetadata("x-initial-text", "a, b; c=\"d\"");
  context.AddMetadata("x-initial-bytes-bin", binary);
  context.AddMetadata("x-trailing-text", "~tail~");
  context.AddMetadata("x-trailing-bytes-bin", binary);
  v1::SayReply reply;
  if (std::string bad = wrong(stub->Say(&context, v1::SayRequest(), &reply)); !bad.empty()) return bad;
  const auto& initial = context.GetServerInitialMetadata();
  const auto& trailing = context.GetServerTrailingMetadata();
  if (value_of(initial, "x-initial-text") != "a, b; c=\"d\"") return "initial metadata: text";
  if (value_of(initial, "x-initial-bytes-bin") != binary) return "initial metadata: binary";
  if (value_of(trailing, "x-trailing-text") != "~tail~") return "trailers: text";
  if (value_of(trailing, "x-trailing-bytes-bin") != binary) return "trailers: binary";
  if (value_of(trailing, "messages-received") != "1") return "trailers: messages-received";
  return value_of(initial, "served-by") == reply.served_by() ? "" : "served-by differs from the reply's";
}

std::string error_status(Stub* stub) {
  const std::string message = "100 % wrong:\nnaïve \"quotes\", ünïcödé ☂, tab\tand more";
  for (int code = 1; code <= 16; code++) {
    grpc::ClientContext context;
    set_deadline(&context, 20'000);
    v1::SayRequest request;
    request.mutable_behaviour()->set_fail_code(static_cast<uint32_t>(code));
    request.mutable_behaviour()->set_fail_message(message);
    v1::SayReply reply;
    grpc::Status status = stub->Say(&context, request, &reply);
    if (std::string bad = wrong(status, static_cast<grpc::StatusCode>(code)); !bad.empty()) return bad;
    if (status.error_message() != message) return "the message came as: " + status.error_message();
  }
  return "";
}

std::string unknown_method(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  set_deadline(&context, 20'000);
  grpc::TemplatedGenericStub<v1::SayRequest, v1::SayReply> stub(channel);
  grpc::CompletionQueue queue;
  auto call = stub.PrepareUnaryCall(&context, "/weir.chat.v1.ChatService/Nothing", v1::SayRequest(), &queue);
  call->StartCall();
  v1::SayReply reply;
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  if (!queue.Next(&tag, &ok)) return "no answer";
  return wrong(status, grpc::StatusCode::UNIMPLEMENTED);
}

std::string deadline(Stub* stub) {
  grpc::ClientContext context;
  set_deadline(&context, 300);
  v1::SayRequest request;
  request.mutable_behaviour()->set_delay_ms(10'000);
  v1::SayReply reply;
  auto began = Clock::now();
  std::string bad = wrong(stub->Say(&context, request, &reply), grpc::StatusCode::DEADLINE_EXCEEDED);
  auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began).count();
  if (!bad.empty()) return bad;
  return took >= 250 && took < 3'000 ? "" : "ended after " + std::to_string(took) + " ms instead of 300";
}

std::string collect(Stub* stub, uint32_t messages, uint32_t bytes) {
  grpc::ClientContext context;
  set_deadline(&context, 30'000);
  v1::CollectReply reply;
  auto writer = stub->Collect(&context, &reply);
  v1::CollectRequest request;
  request.set_payload(std::string(bytes, 'c'));
  for (uint32_t i = 1; i <= messages; i++) {
    request.set_sequence(i);
    if (!writer->Write(request)) break;
  }
  writer->WritesDone();
  if (std::string bad = wrong(writer->Finish()); !bad.empty()) return bad;
  if (std::string bad = must_be("messages", reply.messages(), messages); !bad.empty()) return bad;
  if (!reply.in_order()) return "out of order";
  return must_be("bytes", reply.bytes(), static_cast<uint64_t>(messages) * bytes);
}

std::string collect_refused(Stub* stub) {
  grpc::ClientContext context;
  set_deadline(&context, 20'000);
  v1::CollectReply reply;
  auto writer = stub->Collect(&context, &reply);
  v1::CollectRequest request;
  request.set_sequence(1);
  request.mutable_behaviour()->set_fail_code(9);
  request.mutable_behaviour()->set_fail_message("enough");
  writer->Write(request);
  // No WritesDone: the status must come while the client's side is still open.
  grpc::Status status = writer->Finish();
  if (std::string bad = wrong(status, grpc::StatusCode::FAILED_PRECONDITION); !bad.empty()) return bad;
  return status.error_message() == "enough" ? "" : "message " + status.error_message();
}

std::string watch(Stub* stub, uint32_t count, uint32_t bytes, uint32_t fail_code) {
  grpc::ClientContext context;
  set_deadline(&context, 30'000);
  v1::WatchRequest request;
  request.set_topic("t");
  request.mutable_behaviour()->set_count(count);
  request.mutable_behaviour()->set_reply_bytes(bytes);
  request.mutable_behaviour()->set_fail_code(fail_code);
  auto reader = stub->Watch(&context, request);
  v1::WatchReply reply;
  uint64_t received = 0;
  std::string bad;
  while (reader->Read(&reply)) {
    if (bad.empty()) bad = must_be("sequence", reply.sequence(), ++received);
    if (bad.empty()) bad = must_be("size", reply.payload().size(), bytes);
  }
  std::string status = wrong(reader->Finish(), static_cast<grpc::StatusCode>(fail_code));
  if (!status.empty()) return status;
  return bad.empty() ? must_be("messages", received, count) : bad;
}

std::string watch_cancelled(Stub* stub) {
  grpc::ClientContext context;
  set_deadline(&context, 20'000);
  v1::WatchRequest request;
  request.mutable_behaviour()->set_count(1000);
  request.mutable_behaviour()->set_delay_ms(20);
  auto reader = stub->Watch(&context, request);
  v1::WatchReply reply;
  for (int i = 0; i < 3; i++) {
    if (!reader->Read(&reply)) return "ended before the cancel: " + wrong(reader->Finish());
  }
  auto began = Clock::now();
  context.TryCancel();
  while (reader->Read(&reply)) {
  }
  std::string bad = wrong(reader->Finish(), grpc::StatusCode::CANCELLED);
  if (!bad.empty()) return bad;
  return Clock::now() - began < std::chrono::seconds(2) ? "" : "the cancel took over 2 s";
}

std::string watch_deadline(Stub* stub) {
  grpc::ClientContext context;
  set_deadline(&context, 400);
  v1::WatchRequest request;
  request.mutable_behaviour()->set_count(1000);
  request.mutable_behaviour()->set_delay_ms(20);
  auto reader = stub->Watch(&context, request);
  v1::WatchReply reply;
  int received = 0;
  while (reader->Read(&reply)) received++;
  std::string bad = wrong(reader->Finish(), grpc::StatusCode::DEADLINE_EXCEEDED);
  return bad.empty() && received == 0 ? "no message arrived before the deadline" : bad;
}

// Ping-pong: each answer is awaited before the next question, then the client half-closes.
std::string chat(Stub* stub, uint32_t messages, uint32_t bytes) {
  grpc::ClientContext context;
  set_deadline(&context, 30'000);
  auto stream = stub->Chat(&context);
  v1::ChatRequest request;
  v1::ChatReply reply;
  std::string task;
  for (uint32_t i = 1; i <= messages; i++) {
    request.set_sequence(i);
    request.set_payload(std::string(bytes, static_cast<char>('a' + i % 26)));
    if (!stream->Write(request) || !stream->Read(&reply)) return "broken: " + wrong(stream->Finish());
    if (reply.sequence() != i || reply.in_reply_to() != i) return "out of order at " + std::to_string(i);
    if (reply.payload() != request.payload()) return "the payload came back changed";
    if (i > 1 && reply.served_by() != task) return "moved from " + task + " to " + reply.served_by();
    task = reply.served_by();
  }
  stream->WritesDone();
  if (stream->Read(&reply)) return "a message too many";
  if (std::string bad = wrong(stream->Finish()); !bad.empty()) return bad;
  bool counted = value_of(context.GetServerTrailingMetadata(), "messages-received") == std::to_string(messages);
  return counted ? "" : "the trailer messages-received is wrong";
}

std::string chat_burst(Stub* stub) {
  constexpr uint64_t kAsked = 50, kEach = 4;
  grpc::ClientContext context;
  set_deadline(&context, 30'000);
  auto stream = stub->Chat(&context);
  v1::ChatRequest request;
  request.mutable_behaviour()->set_count(kEach);
  for (uint64_t i = 1; i <= kAsked; i++) {
    request.set_sequence(i);
    if (!stream->Write(request)) break;
  }
  stream->WritesDone();
  v1::ChatReply reply;
  uint64_t received = 0;
  while (stream->Read(&reply)) {
    received++;
    if (reply.sequence() != received) return "out of order";
    if (reply.in_reply_to() != (received - 1) / kEach + 1) return "in_reply_to is wrong";
  }
  if (std::string bad = wrong(stream->Finish()); !bad.empty()) return bad;
  return must_be("replies", received, kAsked * kEach);
}

std::string chat_cancelled(Stub* stub) {
  grpc::ClientContext context;
  set_deadline(&context, 20'000);
  auto stream = stub->Chat(&context);
  v1::ChatRequest request;
  request.set_sequence(1);
  v1::ChatReply reply;
  if (!stream->Write(request) || !stream->Read(&reply)) return "broken: " + wrong(stream->Finish());
  context.TryCancel();
  while (stream->Read(&reply)) {
  }
  return wrong(stream->Finish(), grpc::StatusCode::CANCELLED);
}

std::string chat_fails(Stub* stub) {
  grpc::ClientContext context;
  set_deadline(&context, 20'000);
  auto stream = stub->Chat(&context);
  v1::ChatRequest request;
  request.set_sequence(1);
  request.mutable_behaviour()->set_fail_code(8);
  v1::ChatReply reply;
  if (!stream->Write(request) || !stream->Read(&reply)) return "the reply before the status is missing";
  if (stream->Read(&reply)) return "a message too many";
  return wrong(stream->Finish(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

std::vector<Check> checks(const std::shared_ptr<grpc::Channel>& channel) {
  return {
      {"say", [](Stub* s) { return say(s, 100); }},
      {"say, empty message", empty_message},
      {"say, 1 MiB each way", [](Stub* s) { return say(s, kLarge); }},
      {"metadata and trailers, text and binary", metadata},
      {"all 16 error codes with a difficult message", error_status},
      {"unknown method", [channel](Stub*) { return unknown_method(channel); }},
      {"deadline", deadline},
      {"collect 100", [](Stub* s) { return collect(s, 100, 1000); }},
      {"collect nothing", [](Stub* s) { return collect(s, 0, 0); }},
      {"collect 4 x 1 MiB", [](Stub* s) { return collect(s, 4, kLarge); }},
      {"collect refused in the middle", collect_refused},
      {"watch 100", [](Stub* s) { return watch(s, 100, 1000, 0); }},
      {"watch 4 x 1 MiB", [](Stub* s) { return watch(s, 4, kLarge, 0); }},
      {"watch that ends with an error", [](Stub* s) { return watch(s, 5, 10, 10); }},
      {"watch, cancelled", watch_cancelled},
      {"watch, deadline", watch_deadline},
      {"chat, 200 in turn", [](Stub* s) { return chat(s, 200, 100); }},
      {"chat, empty messages", [](Stub* s) { return chat(s, 3, 0); }},
      {"chat, 4 x 1 MiB", [](Stub* s) { return chat(s, 4, kLarge); }},
      {"chat, several answers to each of a burst", chat_burst},
      {"chat, cancelled", chat_cancelled},
      {"chat that ends with an error", chat_fails},
  };
}

}  // namespace

int run_all(const Endpoint& endpoint) {
  auto channel = make_channel(endpoint, credentials(endpoint));
  auto stub = v1::ChatService::NewStub(channel);
  int passed = 0, failed = 0;
  for (const Check& check : checks(channel)) {
    std::string bad = check.run(stub.get());
    std::printf("%s %s%s%s\n", bad.empty() ? "ok    " : "FAILED", check.name, bad.empty() ? "" : ": ",
                bad.c_str());
    (bad.empty() ? passed : failed)++;
  }
  std::printf("{\"client\":\"grpc++ %s\",\"ok\":%s,\"passed\":%d,\"failed\":%d}\n", grpc::Version().c_str(),
              failed == 0 ? "true" : "false", passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace weir::chat
