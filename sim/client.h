// Simulated gRPC clients: connections that come and go, calls with a plan.
#pragma once

#include <functional>
#include <vector>

#include "sim/h2_endpoint.h"

namespace weir::sim {

class ClientConnection final : public H2Endpoint {
 public:
  ClientConnection(Stage& stage, int fd, Channel::Security security, std::string name);

  // False: not now (SETTINGS have not come, GOAWAY has, the balancer's limit of streams).
  bool start_call(uint64_t id);
  bool usable() const { return open() && !goaway_; }
  // One step of every call. Returns true when there is anything left to do soon.
  bool tick();
  void cut(bool with_reset);

 private:
  void on_header(StreamState& s, std::string_view name, std::string_view value) override;
  void on_head(int32_t, StreamState& s) override {
    if (s.http_status != 200) s.in.reset();  // a page follows, not messages
  }
  void on_message_bytes(int32_t id, StreamState& s) override;
  void on_remote_end(int32_t, StreamState&) override {}
  void on_stream_over(int32_t id, StreamState& s, uint32_t code) override;
  bool ends_with_trailers() const override { return false; }
  void submit_trailers(int32_t, StreamState&) override {}
  void on_goaway(int32_t) override { goaway_ = true; }
  void on_closed(std::string_view error) override;
  void step(int32_t id, StreamState& s);
  static Lane lane_of(uint64_t id, const Mix& mix);

  bool goaway_ = false;
};

// One client: keeps a connection and starts calls on it until all calls of the run have been started.
class ClientDriver {
 public:
  using Dial = std::function<int()>;
  ClientDriver(Stage& stage, int index, Dial dial, uint64_t& calls_started);

  bool idle() const;
  // No faults any more.
  void calm() { calm_ = true; }
  void close_all();
  template <class F>
  void each_connection(F&& f) {
    for (auto& c : connections_) f(*c);
  }

 private:
  void tick();
  void start_calls();

  Stage& stage_;
  int index_;
  Dial dial_;
  uint64_t& calls_started_;
  std::vector<std::unique_ptr<ClientConnection>> connections_;  // the last one is used for new calls
  net::Timer timer_;
  int made_ = 0;
  bool calm_ = false;
  bool closed_ = false;
};

}  // namespace weir::sim
