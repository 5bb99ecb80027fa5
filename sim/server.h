// Simulated gRPC servers behind the balancer: one host per target, with connections, calls by plan and moods.
#pragma once

#include <vector>

#include "sim/h2_endpoint.h"

namespace weir::sim {

class ServerHost;

class ServerConnection final : public H2Endpoint {
 public:
  ServerConnection(Stage& stage, ServerHost& host, int fd, int group, std::string name);
  bool tick();
  // Two-step or at once; streams at or below the last id go on.
  void goaway(bool at_once);
  void cut(bool with_reset);
  bool leaving() const { return leaving_; }
  int group() const { return group_; }
  bool watched() const;

 private:
  void on_header(StreamState& s, std::string_view name, std::string_view value) override;
  void on_head(int32_t id, StreamState& s) override;
  void on_message_bytes(int32_t id, StreamState& s) override;
  void on_remote_end(int32_t, StreamState&) override {}
  void on_stream_over(int32_t id, StreamState& s, uint32_t code) override;
  bool ends_with_trailers() const override { return true; }
  void submit_trailers(int32_t id, StreamState& s) override;
  void on_goaway(int32_t) override { leaving_ = true; }
  void on_closed(std::string_view error) override;
  void answer_health(int32_t id, StreamState& s);
  void tell_watch(int32_t id, StreamState& s);
  void note_failed(StreamState& s, int status);
  bool fail(int32_t id, StreamState& s);
  void trailers_only(int32_t id, int status, const std::string& message, const std::string& metadata = {});
  void step(int32_t id, StreamState& s);
  void let_go(int32_t id, StreamState& s);
  uint32_t messages_allowed(StreamState& s) const;

  ServerHost& host_;
  int group_;
  bool leaving_ = false;
  bool final_due_ = false;
};

class ServerHost {
 public:
  ServerHost(Stage& stage, uint16_t port, const Line& line);
  ~ServerHost();

  // Where it listens for this group's requests; `group` below kGroups.
  uint16_t port(int group = 0) const { return static_cast<uint16_t>(port_ + 1000 * group); }
  void set_healthy(bool healthy);
  bool healthy() const { return healthy_; }
  TimePoint healthy_since() const { return healthy_since_; }  // or unhealthy
  // Has the Watch call of the health service.
  bool has_watch() const { return port_ % 3 != 0; }
  // A Watch stream of this group has been told, and has heard of it by now.
  bool watched(int group) const;
  bool well() const { return !down_ && !silent_ && !no_tls_; }
  TimePoint well_since() const { return well_since_; }
  void crash();      // every connection is reset, new ones are refused
  void fall_silent();  // nothing is read or answered, connects get no answer
  void break_tls();    // handshakes get no sensible answer
  void recover();
  void goaway_all(bool at_once);
  void cut_one(bool with_reset);
  void retire();     // no new connections; the balancer has closed the others, or will
  bool silent() const { return silent_; }
  bool tls_broken() const { return no_tls_; }
  template <class F>
  void each_connection(F&& f) {
    for (auto& c : connections_) {
      if (c->open()) f(*c);
    }
  }
  size_t open_connections() const;

 private:
  void tick();
  void listen(Network::Listener::Answer answer);
  void accepted(int fd, int group);

  Stage& stage_;
  uint16_t port_;
  Line line_;
  bool down_ = false, silent_ = false, no_tls_ = false;
  bool healthy_ = true;
  TimePoint healthy_since_{}, well_since_{};
  std::vector<std::unique_ptr<ServerConnection>> connections_;
  int made_ = 0;
  net::Timer timer_;
};

}  // namespace weir::sim
