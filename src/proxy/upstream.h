// One connection to a target: many exchanges share it.
#pragma once

#include "proxy/limits.h"
#include "proxy/peer.h"
#include "proxy/target.h"

namespace weir::proxy {

class Upstream final : public Peer {
 public:
  // A socket that is connecting to the target; -1 when it cannot (no descriptors, no route).
  static int open_socket(net::Sockets& sockets, const Target& target);
  // Takes over what open_socket() gave. Streams may be opened at once, they leave together with the preface.
  Upstream(Worker& worker, int fd, TargetHandle target_handle);

  // streams_known: what this target's earlier connections allowed, until this one's SETTINGS come.
  bool usable(uint32_t streams_known) {
    return !dead() && !over_ && connection_.can_open_stream() && has_room() &&
           (connection_.preface_done() || connection_.stream_count() < streams_known);
  }
  // It takes no stream any more, also none when others have ended. (While a GOAWAY refuses streams, their retries ask.)
  bool leaves() { return dead() || over_ || connection_.goaway_received() || connection_.ids_exhausted(); }
  // Heads are written whatever waits. Who does not take them gets no more; who may take them in this turn some.
  bool has_room() {
    size_t waits = connection_.output().size();
    return waits < kOutputPauseBytes || (waits < kTurnOutputBytesMax && !transport_->wants_write());
  }
  // A stream was opened and its HEADERS stand in the output.
  void note_opened(uint32_t stream_id) { opened_through_ = stream_id; }
  TargetHandle target() const { return target_; }
  void tick(TimePoint now);
  // Closes when idle (the target left).
  void close_when_idle();

  // Once, right after the record has its handle: starts the HTTP/2 connection.
  void begin(Handle<Upstream> self);

 private:
  friend class Worker;
  void on_headers(http::h2::StreamHandle handle, http::h2::Stream& s,
                  const http::h2::HeadersEvent& event) override;
  size_t on_data(http::h2::StreamHandle handle, http::h2::Stream& s, std::span<const uint8_t> bytes,
               bool end_stream) override;
  void on_reset(http::h2::StreamHandle handle, http::h2::Stream& s, http::h2::ErrorCode code,
                ResetBy by) override;
  void on_sent(http::h2::StreamHandle handle, http::h2::Stream& s, size_t bytes) override;
  void on_goaway(uint32_t last_id, http::h2::ErrorCode code) override;
  void on_settings() override;
  void on_handshake() override;
  void on_written() override { written_through_ = opened_through_; }
  void on_over(std::string_view why) override;
  bool before_read() override;
  void push_dirty() override;
  void push_retired() override;
  void lose_all_exchanges(std::string_view why);
  void note_tls_failure(std::string& why);
  bool is_idle(TimePoint now);

  Handle<Upstream> self_;
  TargetHandle target_;
  TimePoint opened_{};            // when the present step began: connecting, TLS, HTTP/2
  uint32_t opened_through_ = 0;   // highest stream id used
  uint32_t written_through_ = 0;  // no byte of streams above it has left
  uint32_t idle_through_ = 0;     // opened_through_ at the latest tick
  TimePoint idle_since_{};
  bool over_ = false;
};

}  // namespace weir::proxy
