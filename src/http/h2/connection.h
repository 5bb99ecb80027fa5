// One HTTP/2 connection, sans-IO: bytes in → events to a sink, submissions → bytes in output().
//
// Owner: the proxy's downstream or upstream record, on its worker's thread. The connection reads no clock
// and knows no socket. Contract with the sink: it is called only from inside receive() and pump(); it may
// call every submit function of this and of other connections, which never call a sink back (save
// on_output, which only takes note). A stream handle stays safe to resolve after the stream ended.
//
// Limits: see ConnectionOptions and limits.h; reaching one ends the stream or the connection with the error
// that the RFC names, never the process.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <expected>
#include <span>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "http/h2/adaptive_window.h"
#include "http/h2/budget.h"
#include "http/h2/end_reason.h"
#include "http/h2/frame.h"
#include "http/h2/frame_trace.h"
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
  uint32_t stream_window_bytes_max = 0;       // grows up to this with the path (adaptive_window.h); 0: stays
  size_t growth_bytes_in_use_max = SIZE_MAX;  // of the buffer pool: above it no window grows
  uint32_t connection_window_bytes = 16u << 20;
  size_t output_high_bytes = 256u << 10;      // above this, body bytes wait in their stream
  uint32_t first_stream_id = 1;               // client: odd; later than 1 where ids are to run out soon
  HpackLimits hpack;
};

// What is shared by all connections of a worker.
struct Shared {
  StreamPool& streams;
  BufferPool& buffers;
  Arena& arena;        // reset by the worker at the end of each turn
  HeaderList& headers; // scratch
  HeaderRuns* runs = nullptr;  // none: nothing is remembered from block to block
  Tally* tally = nullptr;      // none: nothing is counted
  FrameTrace* trace = nullptr; // the flight recorder; none: nothing is noted
};

// Fields to send, in this order; the runs are optional.
struct OutgoingHeaders {
  template <class Fields>
    requires std::convertible_to<const Fields&, std::span<const Field>>
  OutgoingHeaders(const Fields& all) : fields(all) {}  // implicit: a plain list of fields
  OutgoingHeaders(HeaderRun* first, std::span<const Field> middle, HeaderRun* last)
      : prefix(first), fields(middle), suffix(last) {}
  // A block as it was received, and what may have been added to it.
  explicit OutgoingHeaders(const HeaderList& list) : prefix(list.run), fields(list.fields) {}
  HeaderRun* prefix = nullptr;
  std::span<const Field> fields;
  HeaderRun* suffix = nullptr;
};

struct HeadersEvent {
  enum class Kind : uint8_t { Head, Informational, Trailers } kind = Kind::Head;
  HeaderList& list;          // the sink may change it
  const MessageHead& head;   // of a Head or Informational
  bool end_stream = false;
};

class Sink {
 public:
  // Server: a Head opens the stream. `list` and what it points to live until this returns.
  virtual void on_headers(StreamHandle stream, Stream& s, const HeadersEvent& event) = 0;
  // Payload of one DATA frame without padding. Returns how many bytes (of this frame and of earlier ones) have left,
  // so that the peer gets credit for them; for others the sink calls consume() when they have.
  virtual size_t on_data(StreamHandle stream, Stream& s, std::span<const uint8_t> bytes, bool end_stream) = 0;
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
  // Many bytes are about to be copied to the end of `output`. The sink may take what stands there, and then of `bytes`
  // what it likes; returns how much of these it took.
  virtual size_t write_through(Buffer& output, std::span<const uint8_t> bytes) {
    static_cast<void>(output), static_cast<void>(bytes);
    return 0;
  }
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
  void send_headers(StreamHandle stream, const OutgoingHeaders& fields, bool end_stream);
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
  void fail(ErrorCode code, EndReason reason, std::string_view debug);
  // Graceful shutdown, server: first GOAWAY(2^31-1), later finish_goaway() with the true last id.
  void announce_goaway();
  void finish_goaway();
  void ping(uint64_t opaque);
  // Takes grown stream windows back; what the peer was allowed to send until it knows is still taken.
  void shrink_windows();

  // --- state ---------------------------------------------------------------------------------------------
  Buffer& output() { return output_; }
  // Our SETTINGS have left: how long the path is shows when they are acknowledged. The first call counts.
  void note_settings_sent(TimePoint now) {
    if (settings_sent_at_ == TimePoint{}) settings_sent_at_ = now;
  }
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
  EndReason end_reason() const { return end_reason_; }  // None while not failed
  bool goaway_received() const { return goaway_received_; }
  bool goaway_sent() const { return goaway_sent_; }
  bool preface_done() const { return settings_received_; }
  uint32_t peer_max_concurrent_streams() const { return peer_max_streams_; }
  uint32_t last_accepted_stream_id() const { return last_accepted_id_; }
  uint32_t latest_local_id() const { return next_local_id_ - 2; }  // client: of the stream that was opened last
  uint64_t pings_acked() const { return pings_acked_; }
  // Its number in the flight recorder; 0 without one.
  uint32_t trace_id() const { return trace_place_ >> 8; }
  // What the peer lets us send on the whole connection; the output may hold it back, too.
  int64_t send_window() const { return send_window_; }
  bool output_full() const { return output_.size() >= options_.output_high_bytes; }
  TimePoint last_ping_at() const { return last_ping_at_; }  // the peer's latest PING; TimePoint{}: none came
  bool has_partial_input() const { return !partial_.empty() || in_header_block(); }
  bool may_carry_data() const { return settings_received_ && !in_header_block(); }
  bool in_header_block() const { return block_head_.stream_id != 0; }
  // Since when the peer owes the rest of a header block or else of a frame; zero: it owes nothing.
  TimePoint partial_since() const { return has_partial_input() ? partial_since_ : TimePoint{}; }
  // Client: every stream id was used; another connection must take over.
  bool ids_exhausted() const { return next_local_id_ >= kStreamIdMax; }
  // Calls f(handle, stream) for each stream whose peer kept it behind a closed window for `period` and took less
  // than bytes_min meanwhile. f must not end streams.
  template <class F>
  void for_each_stalled(TimePoint now, Duration period, size_t bytes_min, F&& f);
  // Bytes that wait in streams for windows.
  size_t pending_bytes() const { return pending_bytes_; }

 private:
  // What became of a frame: nothing, or why the connection is over. Two words: it travels in registers.
  struct Status {
    const char* detail = nullptr;  // null: the connection goes on
    ErrorCode code = ErrorCode::NoError;
    EndReason reason = EndReason::None;
    explicit operator bool() const { return detail == nullptr; }
  };
  static Status error_of(ErrorCode code, const char* detail) { return {detail, code, reason_of(code)}; }
  static Status flood(EndReason reason, const char* detail) { return {detail, ErrorCode::EnhanceYourCalm, reason}; }

  // connection_receive.cc
  void keep_partial(std::span<const uint8_t> bytes);
  size_t consume_preface(std::span<const uint8_t> bytes, Status& status);
  size_t parse_frames(std::span<const uint8_t> bytes, Status& status);
  Status on_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_data_frame(FrameHeader h, const uint8_t* payload);
  Status on_headers_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_continuation_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_header_block(const FrameHeader& h, std::span<const uint8_t> block);
  Status take_header_block(const FrameHeader& h, std::span<const uint8_t> block);
  Status deliver_headers(Stream& s, StreamHandle handle, bool end_stream);
  bool may_open(uint32_t id) const;
  std::pair<StreamHandle, Stream*> open_peer_stream(uint32_t id);
  Status refuse_peer_stream(uint32_t id);
  Status on_rst_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_priority_frame(const FrameHeader& h, const uint8_t* payload);
  Status on_window_update_frame(const FrameHeader& h, const uint8_t* payload);
  // connection_control.cc
  Status on_settings_frame(const FrameHeader& h, const uint8_t* payload);
  void on_settings_acked();
  void announce_stream_window();
  void move_receive_windows(int64_t difference);
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
  [[gnu::always_inline]] void trace_written(const uint8_t* header) {
    trace_.wrote(trace_place_, header);
  }
  void trace_received(const uint8_t* header) {
    trace_.received(trace_place_, header);
  }
  // At `to`, in output().
  void write_header(uint8_t* to, const FrameHeader& h) {
    write_frame_header(to, h);
    trace_written(to);
  }
  void write_u32_frame(FrameType type, uint32_t stream_id, uint32_t value) {
    uint8_t* p = output_.reserve(kFrameHeaderBytes + 4);
    write_header(p, {4, type, 0, stream_id});
    write_u32(p + kFrameHeaderBytes, value);
    output_.commit(kFrameHeaderBytes + 4);
  }
  [[gnu::noinline]] void keep_trailers(Stream& s, const OutgoingHeaders& fields, bool end_stream);
  [[gnu::noinline]] void cut_header_block(uint32_t id, size_t start, uint8_t end_flag);
  void write_header_frames(uint32_t id, const OutgoingHeaders& fields, bool end_stream);
  size_t send_data_slowly(StreamHandle stream, std::span<const uint8_t> bytes, bool end_stream);
  void count_data(Stream& s, size_t size);
  void write_any_data_frame(Stream& s, const uint8_t* bytes, size_t size, bool end_stream);
  void write_data_frame(Stream& s, const uint8_t* bytes, size_t size, bool end_stream);
  size_t sendable(const Stream& s) const;
  void block(StreamHandle handle, Stream& s);
  void pump_stream(StreamHandle handle, Stream& s);
  bool takes_output(const Stream& s) const;
  void local_end(StreamHandle handle, Stream& s);
  void after_local_end(StreamHandle handle, Stream& s);
  int32_t new_receive_window() const;
  void remote_end(StreamHandle handle, Stream& s);
  void drop(StreamHandle handle, Stream& s);
  // The peer broke a rule of the stream: resets it, and charges the peer (CVE-2025-8671).
  Status stream_error(StreamHandle handle, Stream& s, ErrorCode code);
  // A frame of the peer on a stream that is gone.
  Status closed_stream(uint32_t id);
  void send_rst(uint32_t id, ErrorCode code);
  void credit_connection(size_t bytes) {
    receive_unreturned_ += static_cast<uint32_t>(bytes);
    if (receive_unreturned_ >= options_.connection_window_bytes / 2) [[unlikely]] return_connection_credit();
  }
  void return_connection_credit();
  void credit_stream(Stream& s, size_t bytes) {
    s.receive_unreturned += static_cast<uint32_t>(bytes);
    if (s.receive_unreturned >= adaptive_.window() / 2) [[unlikely]] return_stream_credit(s);
  }
  void return_stream_credit(Stream& s);
  bool glitch(uint32_t cost) { return glitches_.spend(cost, now_); }
  // What DATA has earned since is counted first: peers may answer it with PING, to measure the path.
  bool spend_control(uint32_t cost) {
    settle_data();
    return control_.spend(cost, now_);
  }
  bool spend_empty_data() {
    settle_data();
    return empties_.spend(1, now_);
  }
  void settle_data() {
    control_.earn(data_received_);
    control_.earn(data_written_);
    empties_.earn(data_received_);
    data_received_ = data_written_ = 0;
  }
  bool recently_reset(uint32_t id) const;
  bool is_idle(uint32_t id) const;

  ConnectionOptions options_;
  Shared shared_;
  Sink& sink_;
  FrameTrace& trace_;
  uint32_t trace_place_;
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
  TimePoint partial_since_{};
  Tally& tally_;

  int64_t send_window_ = kDefaultWindow;
  int64_t receive_window_ = kDefaultWindow;
  uint32_t receive_unreturned_ = 0;
  AdaptiveWindow adaptive_;
  uint32_t granted_window_;         // that the peer may assume for its streams, until it acknowledges less
  uint32_t settings_unacked_ = 1;   // SETTINGS frames of ours
  TimePoint settings_sent_at_{};    // the first ones; zero: nobody said; max(): they were acknowledged
  uint32_t peer_initial_window_ = kDefaultWindow;
  uint32_t peer_frame_bytes_max_ = kFrameBytesMax;
  uint32_t peer_max_streams_;
  uint32_t last_peer_id_ = 0;       // highest stream id the peer used
  uint32_t last_accepted_id_ = 0;   // highest one that reached the sink: what GOAWAY says
  uint32_t next_local_id_;
  uint32_t goaway_last_id_ = kStreamIdMax;  // that the peer will process
  size_t pending_bytes_ = 0;
  static constexpr size_t kOutputHintMax = 256u << 10;
  static constexpr size_t kLargePartialBytes = 4096;
  static constexpr size_t kSmallDataBytes = 4096;  // larger ones may be written through
  size_t output_hint_ = 0;
  // A queue of the streams behind the connection's window or output_high_bytes; stale ones are skipped.
  std::vector<StreamHandle> blocked_;
  size_t blocked_head_ = 0;
  uint64_t pings_acked_ = 0;
  TimePoint last_ping_at_{};

  bool settings_received_ = false;
  bool goaway_received_ = false;
  bool goaway_sent_ = false;
  bool goaway_final_ = false;
  bool failed_ = false;
  bool output_noted_ = false;
  ErrorCode error_ = ErrorCode::NoError;
  std::string error_detail_;
  EndReason end_reason_ = EndReason::None;

  // Frames of streams that we reset lately are normal: the peer had sent them before it knew.
  static constexpr size_t kResetIdsKept = 128;
  static constexpr size_t kCancelledIdsKept = 1024;  // client: many clients cancel on one connection
  std::vector<uint32_t> reset_ids_;
  size_t reset_next_ = 0;

  // DATA frames with content that the budgets have not earned for yet.
  uint32_t data_received_ = 0;
  uint32_t data_written_ = 0;
  Budget resets_{kResetRate};
  Budget control_{kControlRate};
  Budget empties_{kEmptyDataRate};
  Budget glitches_{kGlitchRate};
};

inline void Connection::count_data(Stream& s, size_t size) {
  data_written_ += size > 0 ? 1 : 0;
  s.send_window -= static_cast<int32_t>(size);
  send_window_ -= static_cast<int64_t>(size);
}

// Takes the bytes from the windows, too.
[[gnu::always_inline]] inline void Connection::write_data_frame(Stream& s, const uint8_t* bytes, size_t size,
                                                                bool end_stream) {
  uint8_t* p = output_.reserve(kFrameHeaderBytes + size);
  write_frame_header(p, {static_cast<uint32_t>(size), FrameType::Data, end_stream ? kFlagEndStream : uint8_t{0}, s.id});
  trace_written(p);
  if (size > 0) std::memcpy(p + kFrameHeaderBytes, bytes, size);
  output_.commit(kFrameHeaderBytes + size);
  count_data(s, size);
}

// Here because it is what is done most: one small frame that nothing holds back.
[[gnu::always_inline]] inline size_t Connection::send_data(StreamHandle handle, std::span<const uint8_t> bytes,
                                                           bool end_stream) {
  Stream* s = shared_.streams.resolve(handle);
  size_t const size = bytes.size();
  auto const wanted = static_cast<int64_t>(size);
  if (s == nullptr || failed_ || s->pending != nullptr || !s->may_send() || size - 1 >= kSmallDataBytes ||
      wanted > s->send_window || wanted > send_window_ || output_.size() >= options_.output_high_bytes) [[unlikely]] {
    return send_data_slowly(handle, bytes, end_stream);
  }
  note_output();
  write_data_frame(*s, bytes.data(), size, end_stream);
  if (end_stream) local_end(handle, *s);
  return size;
}

template <class F>
void Connection::for_each_stalled(TimePoint now, Duration period, size_t bytes_min, F&& f) {
  for_each_stream([&](StreamHandle handle) {
    Stream& s = *shared_.streams.resolve(handle);
    if (s.pending == nullptr) return;
    PendingOutput& p = *s.pending;
    bool behind_window = std::min<int64_t>(s.send_window, send_window_) < static_cast<int64_t>(kTinyFrameBytes);
    if (p.watched_since == TimePoint{} || !behind_window || p.drained >= bytes_min) {
      p.watched_since = now;
      p.drained = 0;
    } else if (now - p.watched_since >= period) {
      f(handle, s);
    }
  });
}

}  // namespace weir::http::h2
