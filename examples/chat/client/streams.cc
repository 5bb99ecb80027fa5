#include "client/streams.h"

#include <algorithm>
#include <utility>

#include "pause.h"

namespace weir::chat {
namespace {

using Clock = std::chrono::steady_clock;

std::string text_of(grpc::string_ref value) { return {value.data(), value.size()}; }

// What the three kinds of stream share: the context, the pace, and what is checked.
class Stream {
 public:
  Stream(std::string kind, const LoadOptions& options, std::chrono::milliseconds length,
         std::atomic<uint64_t>* messages, std::function<void(Outcome)> done)
      : interval_ms_(options.message_interval_ms),
        bytes_(options.bytes),
        until_(Clock::now() + length),
        messages_(messages),
        done_(std::move(done)) {
    outcome_.kind = std::move(kind);
    context_.set_wait_for_ready(options.wait_for_ready);
    context_.set_deadline(std::chrono::system_clock::now() + length +
                          std::chrono::milliseconds(options.deadline_ms));
  }

 protected:
  bool time_left() const { return Clock::now() < until_; }

  void fail(const char* failure, std::string detail) {
    if (!outcome_.failure.empty()) return;  // the first one counts
    outcome_.failure = failure;
    outcome_.detail = std::move(detail);
  }

  void check_task(const std::string& task) {
    if (outcome_.served_by.empty()) outcome_.served_by = task;
    if (outcome_.served_by != task) fail("MOVED", "from " + outcome_.served_by + " to " + task);
  }

  void check_sequence(uint64_t expected, uint64_t got) {
    if (got != expected) {
      fail("DISORDER", "message " + std::to_string(got) + " where " + std::to_string(expected) + " was due");
    }
  }

  void check_size(size_t got) {
    if (got != bytes_) fail("WRONG_REPLY", std::to_string(got) + " bytes instead of " + std::to_string(bytes_));
  }

  void check_complete(uint64_t expected, uint64_t got) {
    if (got != expected) {
      fail("INCOMPLETE", std::to_string(got) + " of " + std::to_string(expected) + " messages");
    }
  }

  // The last thing a stream does: the status outranks what was found wrong in the messages.
  void end(const grpc::Status& status) {
    if (!status.ok()) {
      outcome_.failure = code_name(status.error_code());
      outcome_.detail = status.error_message() + " after " + std::to_string(outcome_.sent) + " out, " +
                        std::to_string(outcome_.received) + " in";
    }
    if (outcome_.served_by.empty()) {
      auto named = context_.GetServerInitialMetadata().find("served-by");
      if (named != context_.GetServerInitialMetadata().end()) outcome_.served_by = text_of(named->second);
    }
    done_(std::move(outcome_));
  }

  grpc::ClientContext context_;
  const uint32_t interval_ms_;
  const uint32_t bytes_;
  const Clock::time_point until_;
  std::atomic<uint64_t>* const messages_;
  Outcome outcome_;
  Pause pause_;

 private:
  std::function<void(Outcome)> done_;
};

// Says something each interval and waits for the answer before the next.
class ChatStream final : Stream, grpc::ClientBidiReactor<v1::ChatRequest, v1::ChatReply> {
 public:
  ChatStream(v1::ChatService::Stub* stub, const LoadOptions& options, std::chrono::milliseconds length,
             std::atomic<uint64_t>* messages, std::function<void(Outcome)> done)
      : Stream("chat", options, length, messages, std::move(done)) {
    request_.set_payload(std::string(bytes_, 'c'));
    stub->async()->Chat(&context_, this);
    AddHold();  // operations start from the pause too, outside any reaction
    say();
    StartCall();
  }

  void OnWriteDone(bool ok) override {
    if (ok) return StartRead(&reply_);
    RemoveHold();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return RemoveHold();
    outcome_.received++;
    ++*messages_;
    check_sequence(outcome_.sent, reply_.in_reply_to());
    check_sequence(outcome_.sent, reply_.sequence());
    check_task(reply_.served_by());
    check_size(reply_.payload().size());
    pause_.start(interval_ms_, [this] {
      if (time_left()) return say();
      StartWritesDone();
      RemoveHold();
    });
  }
  void OnDone(const grpc::Status& status) override {
    if (status.ok()) {
      check_complete(outcome_.sent, outcome_.received);
      auto count = context_.GetServerTrailingMetadata().find("messages-received");
      bool stated = count != context_.GetServerTrailingMetadata().end();
      if (!stated || text_of(count->second) != std::to_string(outcome_.sent)) {
        fail("INCOMPLETE", "the server's trailer says " + (stated ? text_of(count->second) : "nothing"));
      }
    }
    end(status);
    delete this;
  }

 private:
  void say() {
    request_.set_sequence(++outcome_.sent);
    ++*messages_;
    StartWrite(&request_);
  }

  v1::ChatRequest request_;
  v1::ChatReply reply_;
};

// Listens to a server that ticks each interval.
class WatchStream final : Stream, grpc::ClientReadReactor<v1::WatchReply> {
 public:
  WatchStream(v1::ChatService::Stub* stub, const LoadOptions& options, std::chrono::milliseconds length,
              std::atomic<uint64_t>* messages, std::function<void(Outcome)> done)
      : Stream("watch", options, length, messages, std::move(done)),
        due_(static_cast<uint32_t>(std::max<int64_t>(1, length.count() / std::max(1u, interval_ms_)))) {
    request_.set_topic("load");
    request_.mutable_behaviour()->set_count(due_);
    request_.mutable_behaviour()->set_delay_ms(interval_ms_);
    request_.mutable_behaviour()->set_reply_bytes(bytes_);
    // The server's pauses add up to more than the length when it is busy.
    context_.set_deadline(std::chrono::system_clock::now() + 2 * length +
                          std::chrono::milliseconds(options.deadline_ms));
    outcome_.sent = 1;
    stub->async()->Watch(&context_, &request_, this);
    StartRead(&reply_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    outcome_.received++;
    ++*messages_;
    check_sequence(outcome_.received, reply_.sequence());
    check_task(reply_.served_by());
    check_size(reply_.payload().size());
    StartRead(&reply_);
  }
  void OnDone(const grpc::Status& status) override {
    if (status.ok()) check_complete(due_, outcome_.received);
    end(status);
    delete this;
  }

 private:
  const uint32_t due_;
  v1::WatchRequest request_;
  v1::WatchReply reply_;
};

// Sends something each interval; the server counts and answers at the end.
class CollectStream final : Stream, grpc::ClientWriteReactor<v1::CollectRequest> {
 public:
  CollectStream(v1::ChatService::Stub* stub, const LoadOptions& options, std::chrono::milliseconds length,
                std::atomic<uint64_t>* messages, std::function<void(Outcome)> done)
      : Stream("collect", options, length, messages, std::move(done)) {
    request_.set_payload(std::string(bytes_, 'c'));
    stub->async()->Collect(&context_, &reply_, this);
    AddHold();
    send();
    StartCall();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return RemoveHold();
    pause_.start(interval_ms_, [this] {
      if (time_left()) return send();
      StartWritesDone();
      RemoveHold();
    });
  }
  void OnDone(const grpc::Status& status) override {
    if (status.ok()) {
      outcome_.received = 1;
      outcome_.served_by = reply_.served_by();
      check_complete(outcome_.sent, reply_.messages());
      check_complete(outcome_.sent * bytes_, reply_.bytes());
      if (!reply_.in_order()) fail("DISORDER", "the server says so");
    }
    end(status);
    delete this;
  }

 private:
  void send() {
    request_.set_sequence(++outcome_.sent);
    ++*messages_;
    StartWrite(&request_);
  }

  v1::CollectRequest request_;
  v1::CollectReply reply_;
};

}  // namespace

void start_stream(v1::ChatService::Stub* stub, const std::string& kind, const LoadOptions& options,
                  std::chrono::milliseconds length, std::atomic<uint64_t>* messages,
                  std::function<void(Outcome)> done) {
  if (kind == "watch") {
    new WatchStream(stub, options, length, messages, std::move(done));
  } else if (kind == "collect") {
    new CollectStream(stub, options, length, messages, std::move(done));
  } else {
    new ChatStream(stub, options, length, messages, std::move(done));
  }
}

}  // namespace weir::chat
