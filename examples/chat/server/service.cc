#include "server/service.h"

#include <algorithm>
#include <string_view>

#include "pause.h"

namespace weir::chat {
namespace {

constexpr uint32_t kReplyBytesMax = 4u << 20;
constexpr uint32_t kCountMax = 1'000'000;
constexpr uint32_t kDelayMsMax = 3'600'000;

// OK, or why the wish cannot be granted.
grpc::Status check(const v1::Behaviour& wish) {
  if (wish.reply_bytes() > kReplyBytesMax) return {grpc::StatusCode::INVALID_ARGUMENT, "reply_bytes over 4 MiB"};
  if (wish.count() > kCountMax) return {grpc::StatusCode::INVALID_ARGUMENT, "count over 1000000"};
  if (wish.delay_ms() > kDelayMsMax) return {grpc::StatusCode::INVALID_ARGUMENT, "delay_ms over 3600000"};
  if (wish.fail_code() > 16) return {grpc::StatusCode::INVALID_ARGUMENT, "fail_code over 16"};
  return grpc::Status::OK;
}

grpc::Status ending(const v1::Behaviour& wish) {
  if (wish.fail_code() == 0) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(wish.fail_code()), wish.fail_message()};
}

// The payload of a reply: as many bytes as asked for, else what came.
void fill(const v1::Behaviour& wish, const std::string& received, std::string* payload) {
  if (wish.reply_bytes() > 0) {
    payload->assign(wish.reply_bytes(), 'w');
  } else {
    *payload = received;
  }
}

void echo_metadata(grpc::CallbackServerContext* context, const std::string& served_by) {
  for (const auto& [key, value] : context->client_metadata()) {
    std::string_view name(key.data(), key.size());
    std::string text(value.data(), value.size());
    if (name.starts_with("x-initial-")) context->AddInitialMetadata(std::string(name), text);
    if (name.starts_with("x-trailing-")) context->AddTrailingMetadata(std::string(name), text);
  }
  context->AddInitialMetadata("served-by", served_by);
  context->AddTrailingMetadata("served-by", served_by);
}

void add_count(grpc::CallbackServerContext* context, uint64_t messages) {
  context->AddTrailingMetadata("messages-received", std::to_string(messages));
}

grpc::Status cancelled() { return {grpc::StatusCode::CANCELLED, "cancelled by the client or by the server's stop"}; }

// In every reactor below only the step that is under way may call Finish: OnCancel merely hurries it.

class SayReactor final : public grpc::ServerUnaryReactor {
 public:
  SayReactor(grpc::CallbackServerContext* context, const v1::SayRequest* request, v1::SayReply* reply,
             const std::string& served_by) {
    echo_metadata(context, served_by);
    add_count(context, 1);
    if (grpc::Status bad = check(request->behaviour()); !bad.ok()) {
      Finish(bad);
      return;
    }
    reply->set_sequence(request->sequence());
    reply->set_text(request->text());
    reply->set_served_by(served_by);
    fill(request->behaviour(), request->payload(), reply->mutable_payload());
    for (const auto& [key, value] : context->client_metadata()) {
      std::string_view name(key.data(), key.size());
      if (name.starts_with("x-forwarded-") || name == "x-amzn-trace-id") {
        (*reply->mutable_headers())[std::string(name)] = std::string(value.data(), value.size());
      }
    }
    pause_.start(request->behaviour().delay_ms(), [this, context, request] {
      Finish(context->IsCancelled() ? cancelled() : ending(request->behaviour()));
    });
  }
  void OnCancel() override { pause_.cancel(); }
  void OnDone() override { delete this; }

 private:
  Pause pause_;
};

class CollectReactor final : public grpc::ServerReadReactor<v1::CollectRequest> {
 public:
  CollectReactor(grpc::CallbackServerContext* context, v1::CollectReply* reply, const std::string& served_by)
      : context_(context), reply_(reply) {
    echo_metadata(context, served_by);
    reply_->set_served_by(served_by);
    reply_->set_in_order(true);
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) return end();
    reply_->set_messages(reply_->messages() + 1);
    reply_->set_bytes(reply_->bytes() + request_.payload().size());
    if (request_.sequence() != reply_->messages()) reply_->set_in_order(false);
    if (request_.has_behaviour()) {
      wish_ = request_.behaviour();
      grpc::Status bad = check(wish_);
      if (!bad.ok() || wish_.fail_code() != 0) {
        add_count(context_, reply_->messages());
        return Finish(bad.ok() ? ending(wish_) : bad);
      }
    }
    StartRead(&request_);
  }
  void OnCancel() override { pause_.cancel(); }
  void OnDone() override { delete this; }

 private:
  void end() {
    fill(wish_, "", reply_->mutable_payload());
    add_count(context_, reply_->messages());
    pause_.start(wish_.delay_ms(),
                 [this] { Finish(context_->IsCancelled() ? cancelled() : grpc::Status::OK); });
  }

  grpc::CallbackServerContext* context_;
  v1::CollectReply* reply_;
  v1::CollectRequest request_;
  v1::Behaviour wish_;
  Pause pause_;
};

class WatchReactor final : public grpc::ServerWriteReactor<v1::WatchReply> {
 public:
  WatchReactor(grpc::CallbackServerContext* context, const v1::WatchRequest* request,
               const std::string& served_by)
      : context_(context), wish_(request->behaviour()), count_(std::max(1u, wish_.count())) {
    echo_metadata(context, served_by);
    add_count(context, 1);
    if (grpc::Status bad = check(wish_); !bad.ok()) {
      Finish(bad);
      return;
    }
    reply_.set_topic(request->topic());
    reply_.set_served_by(served_by);
    fill(wish_, "", reply_.mutable_payload());
    StartSendInitialMetadata();  // so that the caller knows at once which task serves it
    next();
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(cancelled());
    if (reply_.sequence() == count_) return Finish(ending(wish_));
    next();
  }
  void OnCancel() override { pause_.cancel(); }
  void OnDone() override { delete this; }

 private:
  void next() {
    pause_.start(wish_.delay_ms(), [this] {
      if (context_->IsCancelled()) return Finish(cancelled());
      reply_.set_sequence(reply_.sequence() + 1);
      StartWrite(&reply_);
    });
  }

  grpc::CallbackServerContext* context_;
  const v1::Behaviour wish_;
  const uint32_t count_;
  v1::WatchReply reply_;
  Pause pause_;
};

class ChatReactor final : public grpc::ServerBidiReactor<v1::ChatRequest, v1::ChatReply> {
 public:
  ChatReactor(grpc::CallbackServerContext* context, const std::string& served_by) : context_(context) {
    echo_metadata(context, served_by);
    reply_.set_served_by(served_by);
    StartSendInitialMetadata();
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) return end(context_->IsCancelled() ? cancelled() : grpc::Status::OK);
    received_++;
    const v1::Behaviour& wish = request_.behaviour();
    if (grpc::Status bad = check(wish); !bad.ok()) return end(bad);
    left_ = std::max(1u, wish.count());
    reply_.set_in_reply_to(request_.sequence());
    reply_.set_text(request_.text());
    fill(wish, request_.payload(), reply_.mutable_payload());
    next();
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return end(cancelled());
    if (--left_ > 0) return next();
    if (request_.behaviour().fail_code() != 0) return end(ending(request_.behaviour()));
    StartRead(&request_);
  }
  void OnCancel() override { pause_.cancel(); }
  void OnDone() override { delete this; }

 private:
  void next() {
    pause_.start(request_.behaviour().delay_ms(), [this] {
      if (context_->IsCancelled()) return end(cancelled());
      reply_.set_sequence(reply_.sequence() + 1);
      StartWrite(&reply_);
    });
  }
  void end(const grpc::Status& status) {
    add_count(context_, received_);
    Finish(status);
  }

  grpc::CallbackServerContext* context_;
  v1::ChatRequest request_;
  v1::ChatReply reply_;
  uint64_t received_ = 0;
  uint32_t left_ = 0;  // replies still to send for request_
  Pause pause_;
};

}  // namespace

grpc::ServerUnaryReactor* ChatService::Say(grpc::CallbackServerContext* context, const v1::SayRequest* request,
                                           v1::SayReply* reply) {
  return new SayReactor(context, request, reply, served_by_);
}

grpc::ServerReadReactor<v1::CollectRequest>* ChatService::Collect(grpc::CallbackServerContext* context,
                                                                  v1::CollectReply* reply) {
  return new CollectReactor(context, reply, served_by_);
}

grpc::ServerWriteReactor<v1::WatchReply>* ChatService::Watch(grpc::CallbackServerContext* context,
                                                             const v1::WatchRequest* request) {
  return new WatchReactor(context, request, served_by_);
}

grpc::ServerBidiReactor<v1::ChatRequest, v1::ChatReply>* ChatService::Chat(
    grpc::CallbackServerContext* context) {
  return new ChatReactor(context, served_by_);
}

}  // namespace weir::chat
