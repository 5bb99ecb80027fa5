#pragma once

#include <string>
#include <utility>

#include "chat.grpc.pb.h"

namespace weir::chat {

// The service of chat.proto. Thread-safe: it holds nothing that changes; each call lives in its reactor,
// which gRPC tells when it may go (OnDone).
class ChatService final : public v1::ChatService::CallbackService {
 public:
  explicit ChatService(std::string served_by) : served_by_(std::move(served_by)) {}

  grpc::ServerUnaryReactor* Say(grpc::CallbackServerContext* context, const v1::SayRequest* request,
                                v1::SayReply* reply) override;
  grpc::ServerReadReactor<v1::CollectRequest>* Collect(grpc::CallbackServerContext* context,
                                                       v1::CollectReply* reply) override;
  grpc::ServerWriteReactor<v1::WatchReply>* Watch(grpc::CallbackServerContext* context,
                                                  const v1::WatchRequest* request) override;
  grpc::ServerBidiReactor<v1::ChatRequest, v1::ChatReply>* Chat(
      grpc::CallbackServerContext* context) override;

 private:
  const std::string served_by_;
};

}  // namespace weir::chat
