// One client connection: turns its streams into exchanges.
#pragma once

#include <string>

#include "proxy/exchange.h"
#include "proxy/listener.h"
#include "proxy/peer.h"

namespace weir::proxy {

class Downstream final : public Peer {
 public:
  // Takes fd over.
  Downstream(Worker& worker, int fd, std::string client_address, std::shared_ptr<ListenerState> listener);

  // Housekeeping, about once a second: slow handshakes, slow header blocks, age, stalled writes.
  void tick(TimePoint now);
  // Graceful: no new streams after a round trip, running ones finish.
  void drain();

  // An answer of our own, as the client's protocol wants it: Trailers-Only with grpc-status for gRPC, else
  // HTTP status and a line of text. After a response head it ends the stream with trailers or a reset.
  struct Reply {
    int http_status = 503;
    int grpc_code = 14;
    std::string_view message;
    bool is_grpc = true;
    bool responded = false;
  };
  void reply(http::h2::StreamHandle stream, const Reply& reply);

  const std::string& client_address() const { return client_address_; }
  const ListenerState& listener() const { return *listener_; }
  // Constant for the connection, hashes included: x-forwarded-proto, -port, and -for without a prior value.
  const http::Field* forwarded_fields() const { return forwarded_; }

  // Once, right after the record has its handle: starts the HTTP/2 connection.
  void begin(Handle<Downstream> self);

 private:
  friend class Worker;
  void on_headers(http::h2::StreamHandle handle, http::h2::Stream& s,
                  const http::h2::HeadersEvent& event) override;
  void on_data(http::h2::StreamHandle handle, http::h2::Stream& s, std::span<const uint8_t> bytes,
               bool end_stream) override;
  void on_reset(http::h2::StreamHandle handle, http::h2::Stream& s, http::h2::ErrorCode code,
                ResetBy by) override;
  void on_sent(http::h2::StreamHandle handle, http::h2::Stream& s, size_t bytes) override;
  void on_goaway(uint32_t, http::h2::ErrorCode) override {}
  void on_settings() override {}
  void on_over(std::string_view why) override;
  void push_dirty() override;
  void push_retired() override;
  void end_all_exchanges();

  Handle<Downstream> self_;
  std::string client_address_;
  std::shared_ptr<ListenerState> listener_;
  std::string port_text_;
  http::Field forwarded_[3];
  TimePoint opened_{};
  TimePoint partial_since_{};
  TimePoint drain_started_{};
  TimePoint over_since_{};
};

}  // namespace weir::proxy
