#include "client/load.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>

#include "chat.grpc.pb.h"
#include "client/report.h"
#include "client/streams.h"
#include "pause.h"

namespace weir::chat {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kPauseAfterFailureMs = 100;  // so that a dead endpoint is not hammered

std::chrono::milliseconds in_ms(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

// Counts the slots that still work.
class Crew {
 public:
  void join() {
    std::lock_guard lock(mutex_);
    size_++;
  }
  void leave() {
    std::lock_guard lock(mutex_);
    if (--size_ == 0) empty_.notify_all();
  }
  // True: none works any more; false: a second has passed.
  bool wait_a_second() {
    std::unique_lock lock(mutex_);
    return empty_.wait_for(lock, std::chrono::seconds(1), [this] { return size_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  size_t size_ = 0;
};

// What all slots share. It outlives them: run_load waits until the crew is gone.
struct Load {
  explicit Load(const LoadOptions& given) : options(given) {}

  const LoadOptions& options;
  Clock::time_point start = Clock::now();
  std::vector<std::unique_ptr<v1::ChatService::Stub>> stubs;
  Report report;
  Crew crew;
  std::atomic<uint64_t> started{0};   // unary RPCs
  std::atomic<uint64_t> messages{0};  // of streams
};

// One of the `concurrency` places: a unary RPC, then the next.
class UnarySlot {
 public:
  UnarySlot(Load* load, v1::ChatService::Stub* stub) : load_(load), stub_(stub) {
    request_.set_payload(std::string(load->options.bytes, 'c'));
    load_->crew.join();
  }

  void next() {
    const LoadOptions& options = load_->options;
    uint64_t number = ++load_->started;
    bool more = options.rpcs > 0 ? number <= options.rpcs
                                 : Clock::now() - load_->start < in_ms(options.unary_seconds);
    if (!more) return load_->crew.leave();
    request_.set_sequence(number);
    reply_.Clear();
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_wait_for_ready(options.wait_for_ready);
    context_->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(options.deadline_ms));
    began_ = Clock::now();
    stub_->async()->Say(context_.get(), &request_, &reply_, [this](grpc::Status status) { ended(status); });
  }

 private:
  void ended(const grpc::Status& status) {
    Outcome outcome;
    outcome.kind = "say";
    outcome.served_by = reply_.served_by();
    outcome.sent = 1;
    outcome.micros = static_cast<uint32_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began_).count());
    if (!status.ok()) {
      outcome.failure = code_name(status.error_code());
      outcome.detail = status.error_message();
    } else {
      outcome.received = 1;
      if (reply_.sequence() != request_.sequence() || reply_.payload() != request_.payload()) {
        outcome.failure = "WRONG_REPLY";
        outcome.detail = "to RPC " + std::to_string(request_.sequence());
      }
    }
    load_->report.add(outcome);
    pause_.start(status.ok() ? load_->options.rpc_interval_ms : kPauseAfterFailureMs, [this] { next(); });
  }

  Load* load_;
  v1::ChatService::Stub* stub_;
  v1::SayRequest request_;
  v1::SayReply reply_;
  std::unique_ptr<grpc::ClientContext> context_;
  Clock::time_point began_;
  Pause pause_;
};

// One of the `streams` places: a stream, then the next one.
class StreamSlot {
 public:
  StreamSlot(Load* load, v1::ChatService::Stub* stub, std::string kind)
      : load_(load), stub_(stub), kind_(std::move(kind)) {
    load_->crew.join();
  }

  void next() {
    const LoadOptions& options = load_->options;
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(load_->start + in_ms(options.seconds) -
                                                                      Clock::now());
    if (left.count() <= 0) return load_->crew.leave();
    auto length = options.stream_seconds > 0 ? std::min(left, in_ms(options.stream_seconds)) : left;
    start_stream(stub_, kind_, options, length, &load_->messages, [this](Outcome outcome) {
      bool ok = outcome.failure.empty();
      load_->report.add(outcome);
      pause_.start(ok ? 1 : kPauseAfterFailureMs, [this] { next(); });
    });
  }

 private:
  Load* load_;
  v1::ChatService::Stub* stub_;
  const std::string kind_;
  Pause pause_;
};

}  // namespace

int run_load(const Endpoint& endpoint, const LoadOptions& options) {
  Load load(options);
  auto secret = credentials(endpoint);
  for (uint32_t i = 0; i < std::max(1u, options.connections); i++) {
    load.stubs.push_back(v1::ChatService::NewStub(make_channel(endpoint, secret)));
  }
  std::vector<std::unique_ptr<UnarySlot>> unary;
  std::vector<std::unique_ptr<StreamSlot>> streams;
  bool any_unary = options.rpcs > 0 || options.unary_seconds > 0;
  for (uint32_t i = 0; any_unary && i < options.concurrency; i++) {
    unary.push_back(std::make_unique<UnarySlot>(&load, load.stubs[i % load.stubs.size()].get()));
  }
  for (uint32_t i = 0; i < options.streams; i++) {
    streams.push_back(std::make_unique<StreamSlot>(&load, load.stubs[i % load.stubs.size()].get(),
                                                   options.kinds[i % options.kinds.size()]));
  }
  for (auto& slot : streams) slot->next();
  for (auto& slot : unary) slot->next();
  bool watched = isatty(STDERR_FILENO);
  for (int second = 1; !load.crew.wait_a_second(); second++) {
    if (!watched) continue;
    std::fprintf(stderr, "\r%d s: %llu stream messages, %llu RPCs and streams ended, %llu failed ",
                 second, static_cast<unsigned long long>(load.messages.load()),
                 static_cast<unsigned long long>(load.report.total()),
                 static_cast<unsigned long long>(load.report.failures()));
  }
  if (watched) std::fprintf(stderr, "\r\x1b[K");
  load.report.print(std::chrono::duration<double>(Clock::now() - load.start).count());
  return load.report.failures() == 0 ? 0 : 1;
}

}  // namespace weir::chat
