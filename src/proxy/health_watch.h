// A Watch stream (grpc.health.v1.Health/Watch) to one target: what the target says of itself within milliseconds,
// beside its checks. Nothing is known while the stream is not there.
//
//   pause ──due──▶ connecting ──first message──▶ watching
//     ▲                │                            │
//     └── over: connection lost, no first message in 10 s, no answer to a PING in 30 s, malformed ──┘
//
// The pause grows from 1 s to 60 s (jittered) while no message comes; it is five minutes when the target does not
// implement Watch. A target that changes its mind more often than every 100 ms is heard that often.
//
// Health worker's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/random.h"
#include "net/loop.h"
#include "net/transport.h"
#include "proxy/health_call.h"

namespace weir::proxy {

// What probes and watches need to reach a target.
struct HealthContext {
  net::Loop& loop;
  http::h2::Shared shared;
  std::shared_ptr<const net::TlsClientContext> tls;
  net::ReadScratch scratch;
  Random random{0};
};

// A connection that has been begun; nullptr when there is no socket or the address is none.
std::unique_ptr<net::Transport> dial(HealthContext& context, const std::string& address, uint16_t port, bool tls);

class HealthWatch final : public net::FdHandler {
 public:
  using Changed = std::function<void(std::optional<grpc::ServingStatus>)>;
  // `changed` may not destroy this.
  HealthWatch(HealthContext& context, const model::HealthCheck& config, std::string address, uint16_t port,
              Changed changed);
  ~HealthWatch();

  const model::HealthCheck& config() const { return config_; }

 private:
  static constexpr Duration kPauseMin = std::chrono::seconds(1);
  static constexpr Duration kPauseMax = std::chrono::seconds(60);
  static constexpr Duration kUnimplementedPause = std::chrono::minutes(5);
  static constexpr Duration kFirstMessageMax = std::chrono::seconds(10);
  static constexpr Duration kPingInterval = std::chrono::seconds(30);
  static constexpr Duration kSettle = std::chrono::milliseconds(100);

  void connect();
  void on_ready(uint32_t events) override;
  void flush();
  void note(std::optional<grpc::ServingStatus> status);
  void tell();
  void on_time();
  void end(Duration pause);

  HealthContext& context_;
  model::HealthCheck config_;
  std::string address_;
  uint16_t port_;
  Changed changed_;
  std::unique_ptr<net::Transport> transport_;
  std::unique_ptr<HealthCall> call_;
  net::Timer timer_;   // pause over, no first message, PING
  net::Timer settle_;
  bool connected_ = false;
  bool heard_ = false;  // a message came on this connection
  uint64_t pings_ = 0;
  Duration pause_ = kPauseMin;
  std::optional<grpc::ServingStatus> status_;  // latest
  std::optional<grpc::ServingStatus> told_;
  TimePoint told_at_{};
};

}  // namespace weir::proxy
