// One client connection: turns its streams into exchanges.
#pragma once

#include <concepts>
#include <string>

#include "proxy/connection_facts.h"
#include "proxy/exchange.h"
#include "proxy/listener.h"
#include "proxy/peer.h"

namespace weir::proxy {

struct ClientAddress {
  template <class Text>
    requires std::convertible_to<Text, std::string>
  ClientAddress(Text&& text, uint16_t peer_port = 0) : address(std::forward<Text>(text)), port(peer_port) {}
  std::string address;  // IPv4 or IPv6, without brackets
  uint16_t port;
};

class Downstream final : public Peer {
 public:
  // Takes fd over. Limits of the connection are those of the snapshot in force; later ones leave it alone.
  Downstream(Worker& worker, int fd, ClientAddress client, std::shared_ptr<ListenerState> listener);

  // Housekeeping, about once a second: slow handshakes, slow header blocks, age, stalled writes.
  void tick(TimePoint now);
  // Graceful: no new streams after a round trip, running ones finish.
  void drain();

  const std::string& client_address() const { return client_.address; }
  uint16_t client_port() const { return client_.port; }
  const IpAddress& client_ip() const { return client_ip_; }
  ListenerState& listener() const { return *listener_; }
  const ConnectionFacts& facts() const { return facts_; }
  // Constant for the connection, as the listener's rules are (HeadRules::constant_fields).
  http::HeaderRun* forwarded(bool client_sent_for) {
    if (forwarded_version_ != listener_->head.version()) [[unlikely]] make_forwarded();
    return forwarded_[client_sent_for].get();
  }
  // The client's address as x-forwarded-for has it; after forwarded().
  const std::string& forwarded_address() {
    if (forwarded_version_ != listener_->head.version()) make_forwarded();
    return forwarded_address_;
  }
  // From the arrival of the connection to the end of the TLS handshake; zero before, and on cleartext listeners.
  Duration handshake_time() const { return handshake_time_; }

  // Decoded heads of its requests that are kept for a second try (kHeldHeadBytesMax).
  size_t held_head_bytes() const { return held_head_bytes_; }
  void hold_head(size_t bytes) { held_head_bytes_ += bytes; }
  void release_head(size_t bytes) { held_head_bytes_ -= bytes; }

  // Once, right after the record has its handle: starts the HTTP/2 connection.
  void begin(Handle<Downstream> self);

 private:
  friend class Worker;
  void on_headers(http::h2::StreamHandle handle, http::h2::Stream& s,
                  const http::h2::HeadersEvent& event) override;
  size_t on_data(http::h2::StreamHandle handle, http::h2::Stream& s, std::span<const uint8_t> bytes,
               bool end_stream) override;
  void on_reset(http::h2::StreamHandle handle, http::h2::Stream& s, http::h2::ErrorCode code,
                ResetBy by) override;
  void on_sent(http::h2::StreamHandle handle, http::h2::Stream& s, size_t bytes) override;
  void on_goaway(uint32_t, http::h2::ErrorCode) override {}
  void on_settings() override {}
  void on_over(std::string_view why) override;
  void on_handshake() override;
  void push_dirty() override;
  void push_retired() override;
  void end_all_exchanges();
  // None, or why this client has had time enough.
  http::h2::EndReason overdue(TimePoint now);
  void cut(http::h2::EndReason reason);
  void end_stalled_streams(TimePoint now);
  void make_forwarded();
  void gather_facts();
  void tick_life(TimePoint now);
  bool is_idle(TimePoint now);
  bool has_lingered(TimePoint now) const;
  void note_tls_failure(std::string_view why);

  Handle<Downstream> self_;
  ClientAddress client_;
  IpAddress client_ip_;
  std::shared_ptr<ListenerState> listener_;
  ConnectionFacts facts_;
  http::HeaderRunRef forwarded_[2];
  size_t held_head_bytes_ = 0;
  std::string forwarded_address_;
  uint32_t forwarded_version_ = 0;
  uint32_t requests_left_;         // until the connection drains
  uint32_t requests_left_before_;  // at the latest tick
  TimePoint keep_alive_until_;
  TimePoint idle_since_{};
  TimePoint opened_{};
  Duration handshake_time_{};
  TimePoint failed_since_{};
  TimePoint drain_started_{};
  TimePoint over_since_{};
};

}  // namespace weir::proxy
