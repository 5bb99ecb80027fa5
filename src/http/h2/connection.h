// One HTTP/2 connection, sans-IO: bytes in → events to a sink, submissions → bytes in output().
//
// Owner: the proxy's downstream or upstream record, on its worker's thread. The connection reads no clock
// and knows no socket. Contract with the sink: it is called only from inside receive() and pump(); it may
// call every submit function of this and of other connections, which never call a sink back (save
// on_output, which only takes note). A stream handle stays safe to resolve after the stream ended.
//
// Limits: see ConnectionOptions and Limits; reaching one ends the stream or the connection with the error
// that the RFC names, never the process.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "http/h2/budget.h"
#include "http/h2/frame.h"
#include "http/h2/hpack.h"
#include "http/h2/stream.h"
#include "http/header.h"
#include "http/message_rules.h"

namespace weir::http::h2 {

enum class Role : uint8_t { Server, Client };

struct ConnectionOptions {
  Role role = Role::Server;
  uint32_t max_concurrent_streams = 128;      // that the peer may have open towards us (server)
  uint32_t stream_window_bytes = 256u << 10;  // SETTINGS_INITIAL_WINDOW_SIZE: bounds what a stream buffers
  uint32_t connection_window_bytes = 16u << 20;
  size_t output_high_bytes = 256u << 10;      // above this, body bytes wait in their stream
  HpackLimits hpack;
};

// What is shared by all connections of a worker.
struct Shared {
  StreamPool& streams;
  BufferPool& buffers;
  Arena& arena;        // reset by the worker at the end of each turn
  HeaderList& headers; // scratch
};

struct HeadersEvent {
  enum class Kind : uint8_t { Head, Informational, Trailers } kind = Kind::Head;
  HeaderList& list;          // the sink may change it
  const MessageHead& head;   // of a Head or Informational
  bool end_stream = false;
};

class Sink {
 public:
  // Server: a Head opens the stream. `list` and what it points to live until the end of the turn.
  virtual void on_headers(StreamHandle stream, Stream& s, const HeadersEvent& event) = 0;
  // Payload of one DATA frame without padding. Credit: the sink calls consume() when the bytes have left.
  virtual void on_data(StreamHandle stream, Stream& s, std::span<const uint8_t> bytes, bool end_stream) = 0;
  // The stream is over: the peer reset it (remote), or broke a rule and we reset it (local). The record goes
  // when this returns. Not called for a request whose head was malformed: the sink never heard of it.
  enum class ResetBy : uint8_t { Remote, Local };
  virtual void on_reset(StreamHandle stream, Stream& s, ErrorCode code, ResetBy by) = 0;
  // Body bytes that had to wait were written to output().
  virtual void on_sent(StreamHandle stream, Stream& s, size_t bytes) = 0;
  // Client: the peer will not process streams above last_id; each gets on_reset(RefusedStream, Remote) first.
  virtual void on_goaway(uint32_t last_id, ErrorCode code) = 0;
  // The peer's SETTINGS changed; peer_max_concurrent_streams() may differ.
  virtual void on_settings() = 0;
  // output() went from clean to dirty: put this connection on the list of those to flush. Nothing else.
  virtual void on_output() = 0;

 protected:
  ~Sink() = default;
};

class Connection {
 public:
  Connection(const ConnectionOptions& options, const Shared& shared, Sink& sink);
  ~Connection();  // releases all streams without telling the sink
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Writes preface (client) and SETTINGS. Call once, first.
  void start();

  // Parses what came. Returns false when the connection is over (GOAWAY stands in output(); see error()).
  bool receive(std::span<const uint8_t> bytes, TimePoint now);
  // Moves waiting body bytes into output() as windows and output_high_bytes allow. Call after output() was
  // flushed and when receive() is through.
  void pump();

  // --- submissions; each does nothing on a stream that cannot take it any more --------------------------
  // Client: opens a stream. Invalid handle when can_open_stream() is false. Its head must be sent before the
  // next stream is opened (ids may only grow on the wire).
  StreamHandle open_stream(uint64_t user);
  bool can_open_stream() const;
  // Head or trailers. Order is kept behind waiting body bytes.
  void send_headers(StreamHandle stream, std::span<const Field> fields, bool end_stream);
  // Returns how many bytes went to output() at once; on_sent() tells of the others.
  size_t send_data(StreamHandle stream, std::span<const uint8_t> bytes, bool end_stream);
  // RST_STREAM; the record goes at once, the sink is not told.
  void reset(StreamHandle stream, ErrorCode code);
  // The response is complete although the request goes on: RST_STREAM(NO_ERROR) right after our END_STREAM has
  // been written (RFC 9113 §8.1).
  void reset_after_end(StreamHandle stream);
  // Gives stream credit back to the peer.
  void consume(StreamHandle stream, size_t bytes);
  // A final GOAWAY with this error; receive() will answer false from now on.
  void fail(ErrorCode code, std::string_view debug);
  // Graceful shutdown, server: first GOAWAY(2^31-1), later finish_goaway() with the true last id.
  void announce_goaway();
  void finish_goaway();
  void ping(uint64_t opaque);

  // --- state ---------------------------------------------------------------------------------------------
  Buffer& output() { return output_; }
  // After a flush: the next byte written will call on_output() again.
  void output_flushed() { output_noted_ = false; }
  // About to flush: remembers how much a turn writes.
  void note_output_size() {
    if (!output_.empty()) output_hint_ = output_.size() < kOutputHintMax ? output_.size() : kOutputHintMax;
  }
  size_t stream_count() const { return table_.size(); }
  template <class F>
  void for_each_stream(F&& f) {
    table_.for_each([&](uint32_t, uint32_t index) { f(shared_.streams.at(index)); });
  }
  bool failed() const { return failed_; }
  ErrorCode error() const { return error_; }
  const std::string& error_detail() const { return error_detail_; }
  bool goaway_received() const { return goaway_received_; }
  bool goaway_sent() const { return goaway_sent_; }
  bool preface_done() const { return settings_received_; }
  uint32_t peer_max_concurrent_streams() const { return peer_max_streams_; }
  uint32_t last_accepted_stream_id() const { return last_accepted_id_; }
  uint64_t pings_acked() const { return pings_acked_; }
  bool has_partial_input() const { return !partial_.empty() || block_head_.stream_id != 0; }
  // Bytes that wait in streams for windows.
  size_t pending_bytes() const { return pending_bytes_; }

 private:
  struct ConnectionError {
    ErrorCode code;
    const char* detail;
  };
  using Status = std::expected<void, ConnectionError>;
  static std::unexpected<ConnectionError> error_of(ErrorCode code, const char* detail) {
    return std::unexpected(ConnectionError{code, detail});
  }

  // connection_receive.cc
  size_t consume_preface(std::span<const uint8_t> bytes, Status& status);
  size_t parse_frames(std::span<const uint8_t> bytes, Status& status);
  Status on_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_data_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_headers_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_continuation_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_header_block(std::span<const uint8_t> block);
  Status deliver_headers(Stream* s, StreamHandle handle, bool end_stream);
  Status new_peer_stream(uint32_t id, StreamHandle& out);
  Status on_rst_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_priority_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_window_update_frame(const FrameHeader& h, const uint8_t* payload);
  // connection_control.cc
  Status on_settings_frame(const FrameHeader& h, const uint8_t* payload);
  void on_settings_acked();
  Status apply_setting(uint16_t id, uint32_t value);
  Status apply_initial_window(uint32_t value);
  Status on_ping_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_goaway_frame(const FrameHeader& h, const uint8_t* payload);
  // connection_send.cc
  void note_output() {
    if (!output_noted_) {
      output_noted_ = true;
      output_.reserve(output_hint_);  // as much as the last turn needed: no growing by doubling
      sink_.on_output();
    }
  }
  void write_header_frames(uint32_t id, std::span<const Field> fields, bool end_stream);
  void write_data_frame(uint32_t id, const uint8_t* bytes, size_t size, bool end_stream);
  size_t sendable(const Stream& s) const;
  void block(StreamHandle handle, Stream& s);
  void pump_stream(StreamHandle handle, Stream& s);
  bool takes_output(const Stream& s) const;
  void local_end(StreamHandle handle, Stream& s);
  void after_local_end(StreamHandle handle, Stream& s);
  int32_t new_receive_window() const;
  void remote_end(StreamHandle handle, Stream& s);
  void drop(StreamHandle handle, Stream& s);
  void stream_error(StreamHandle handle, Stream& s, ErrorCode code);
  void send_rst(uint32_t id, ErrorCode code);
  void credit_connection(size_t bytes);
  bool glitch(uint32_t cost) { return glitches_.spend(cost, now_); }
  bool recently_reset(uint32_t id) const;
  bool is_idle(uint32_t id) const;

  ConnectionOptions options_;
  Shared shared_;
  Sink& sink_;
  StreamTable table_;
  HpackDecoder decoder_;
  HpackEncoder encoder_;
  Buffer output_;
  Buffer partial_;                  // a frame that has not come whole yet
  Buffer header_block_;             // fragments of an unfinished header block
  FrameHeader block_head_{};        // of the HEADERS that began it
  uint32_t continuations_ = 0;
  size_t preface_seen_ = 0;
  TimePoint now_{};

  int64_t send_window_ = kDefaultWindow;
  int64_t receive_window_ = kDefaultWindow;
  uint32_t receive_unreturned_ = 0;
  uint32_t peer_initial_window_ = kDefaultWindow;
  uint32_t peer_frame_bytes_max_ = kFrameBytesMax;
  uint32_t peer_max_streams_;
  uint32_t last_peer_id_ = 0;       // highest stream id the peer used
  uint32_t last_accepted_id_ = 0;   // highest one that reached the sink: what GOAWAY says
  uint32_t next_local_id_ = 1;
  uint32_t goaway_last_id_ = kStreamIdMax;  // that the peer will process
  size_t pending_bytes_ = 0;
  static constexpr size_t kOutputHintMax = 64u << 10;
  size_t output_hint_ = 0;
  // A queue of the streams behind the connection's window or output_high_bytes; stale ones are skipped.
  std::vector<StreamHandle> blocked_;
  size_t blocked_head_ = 0;
  uint64_t pings_acked_ = 0;

  bool settings_received_ = false;
  bool settings_acked_ = false;
  bool goaway_received_ = false;
  bool goaway_sent_ = false;
  bool goaway_final_ = false;
  bool failed_ = false;
  bool output_noted_ = false;
  ErrorCode error_ = ErrorCode::NoError;
  std::string error_detail_;

  // Frames of streams that we reset lately are normal: the peer had sent them before it knew.
  static constexpr size_t kResetIdsKept = 128;
  std::vector<uint32_t> reset_ids_;
  size_t reset_next_ = 0;

  Budget resets_{1000, 100};        // RST_STREAM from the peer, and errors of the peer that make us reset
  Budget control_{2000, 500};       // PING, SETTINGS, PRIORITY, window games
  Budget empties_{1000, 200};       // empty DATA without END_STREAM
  Budget glitches_{10000, 330};     // everything odd but allowed
};

}  // namespace weir::http::h2
