// Construction, submissions, and what waits for windows.
#include <algorithm>

#include "base/assert.h"
#include "http/h2/connection.h"
#include "http/packed_fields.h"

namespace weir::http::h2 {

namespace {
// RFC 9113 §6.5.2: no limit until the peer's SETTINGS name one. What exceeds it then is refused and sent again.
constexpr uint32_t kPeerStreamsAssumed = kStreamIdMax;

// Where the owner counts nothing.
Tally& unread_tally() {
  static thread_local Tally tally;
  return tally;
}

FrameTrace& no_trace() {
  static thread_local FrameTrace off;
  return off;
}

uint8_t* put_setting(uint8_t* p, SettingId id, uint32_t value) {
  p[0] = 0;
  p[1] = static_cast<uint8_t>(id);
  write_u32(p + 2, value);
  return p + 6;
}
}  // namespace

Connection::Connection(const ConnectionOptions& options, const Shared& shared, Sink& sink)
    : options_(options),
      shared_(shared),
      sink_(sink),
      trace_(shared.trace != nullptr ? *shared.trace : no_trace()),
      trace_place_(shared.trace != nullptr ? FrameTrace::place_of(shared.trace->new_connection()) : 0),
      decoder_(options.hpack),
      output_(shared.buffers),
      partial_(shared.buffers),
      header_block_(shared.buffers),
      tally_(shared.tally != nullptr ? *shared.tally : unread_tally()),
      adaptive_(options.stream_window_bytes, options.stream_window_bytes_max),
      granted_window_(std::max(options.stream_window_bytes, kDefaultWindow)),
      peer_max_streams_(kPeerStreamsAssumed),
      next_local_id_(options.first_stream_id) {}

Connection::~Connection() {
  table_.for_each([&](uint32_t, uint32_t index) { shared_.streams.release(shared_.streams.at(index)); });
}

void Connection::start() {
  note_output();
  if (options_.role == Role::Client) output_.append(kPreface.data(), kPreface.size());
  uint8_t settings[6 * 5];
  uint8_t* p = settings;
  if (options_.role == Role::Server) {
    p = put_setting(p, SettingId::MaxConcurrentStreams, options_.max_concurrent_streams);
  } else {
    p = put_setting(p, SettingId::EnablePush, 0);
  }
  p = put_setting(p, SettingId::InitialWindowSize, options_.stream_window_bytes);
  p = put_setting(p, SettingId::MaxHeaderListSize, options_.hpack.list_bytes_max);
  if (options_.hpack.table_bytes != 4096) p = put_setting(p, SettingId::HeaderTableSize, options_.hpack.table_bytes);
  auto size = static_cast<uint32_t>(p - settings);
  write_header(output_.reserve(kFrameHeaderBytes), {size, FrameType::Settings, 0, 0});
  output_.commit(kFrameHeaderBytes);
  output_.append(settings, size);
  if (options_.connection_window_bytes > kDefaultWindow) {
    write_u32_frame(FrameType::WindowUpdate, 0, options_.connection_window_bytes - kDefaultWindow);
    receive_window_ = options_.connection_window_bytes;
  }
}

int32_t Connection::new_receive_window() const { return static_cast<int32_t>(granted_window_); }

bool Connection::can_open_stream() const {
  return !failed_ && !goaway_received_ && next_local_id_ < kStreamIdMax && table_.size() < peer_max_streams_;
}

StreamHandle Connection::open_stream(uint64_t user) {
  WEIR_ASSERT(options_.role == Role::Client);
  if (!can_open_stream()) return {};
  auto [handle, s] = shared_.streams.make();
  s.id = next_local_id_;
  next_local_id_ += 2;
  s.user = user;
  s.send_window = static_cast<int32_t>(peer_initial_window_);
  s.receive_window = new_receive_window();
  table_.insert(s.id, handle.index);
  return handle;
}

[[gnu::always_inline]] inline void Connection::write_header_frames(uint32_t id, const OutgoingHeaders& fields,
                                                                   bool end_stream) {
  size_t start = output_.size();
  output_.reserve(kFrameHeaderBytes);
  output_.commit(kFrameHeaderBytes);
  encoder_.encode(fields.prefix, fields.fields, fields.suffix, output_);
  size_t length = output_.size() - start - kFrameHeaderBytes;
  uint8_t end_flag = end_stream ? kFlagEndStream : uint8_t{0};
  if (length > kFrameBytesMax) [[unlikely]] return cut_header_block(id, start, end_flag);
  FrameHeader h{static_cast<uint32_t>(length), FrameType::Headers, static_cast<uint8_t>(kFlagEndHeaders | end_flag),
                id};
  write_header(output_.data() + start, h);
}

// With the encoder inlined: all that most blocks need.
[[gnu::flatten]] void Connection::send_headers(StreamHandle handle, const OutgoingHeaders& fields, bool end_stream) {
  Stream* s = shared_.streams.resolve(handle);
  if (s == nullptr || failed_ || !takes_output(*s)) return;
  s->head_sent = true;
  if (s->pending != nullptr) [[unlikely]] return keep_trailers(*s, fields, end_stream);
  note_output();
  write_header_frames(s->id, fields, end_stream);
  if (end_stream) local_end(handle, *s);
}

// The body waits, so its trailers wait behind it.
void Connection::keep_trailers(Stream& s, const OutgoingHeaders& fields, bool end_stream) {
  Buffer& trailers = s.pending->trailers;
  if (fields.prefix != nullptr) pack_fields(fields.prefix->fields(), trailers);
  pack_fields(fields.fields, trailers);
  if (fields.suffix != nullptr) pack_fields(fields.suffix->fields(), trailers);
  s.pending->has_trailers = true;
  s.pending->end_stream = end_stream;
}

// The block that stands in the output behind room for a frame header becomes HEADERS and CONTINUATION frames.
void Connection::cut_header_block(uint32_t id, size_t start, uint8_t end_flag) {
  std::vector<uint8_t> block(output_.data() + start + kFrameHeaderBytes, output_.data() + output_.size());
  output_.truncate(start);
  for (size_t at = 0; at < block.size(); at += kFrameBytesMax) {
    size_t size = std::min<size_t>(kFrameBytesMax, block.size() - at);
    bool last = at + size == block.size();
    FrameHeader h{static_cast<uint32_t>(size), at == 0 ? FrameType::Headers : FrameType::Continuation,
                  static_cast<uint8_t>((last ? kFlagEndHeaders : 0) | (at == 0 ? end_flag : 0)), id};
    write_header(output_.reserve(kFrameHeaderBytes), h);
    output_.commit(kFrameHeaderBytes);
    output_.append(block.data() + at, size);
  }
}

size_t Connection::sendable(const Stream& s) const {
  if (output_.size() >= options_.output_high_bytes) return 0;
  int64_t window = std::min<int64_t>(s.send_window, send_window_);
  return window > 0 ? static_cast<size_t>(window) : 0;
}

// Nothing follows an END_STREAM, also while that one still waits.
bool Connection::takes_output(const Stream& s) const {
  return s.may_send() && (s.pending == nullptr || !(s.pending->end_stream || s.pending->has_trailers));
}

void Connection::write_any_data_frame(Stream& s, const uint8_t* bytes, size_t size, bool end_stream) {
  if (size <= kSmallDataBytes) return write_data_frame(s, bytes, size, end_stream);
  FrameHeader h{static_cast<uint32_t>(size), FrameType::Data, end_stream ? kFlagEndStream : uint8_t{0}, s.id};
  write_header(output_.reserve(kFrameHeaderBytes), h);
  output_.commit(kFrameHeaderBytes);
  size_t taken = sink_.write_through(output_, {bytes, size});
  output_.append(bytes + taken, size - taken);
  count_data(s, size);
}

// All other cases: several frames, windows that are too small, an empty frame.
size_t Connection::send_data_slowly(StreamHandle handle, std::span<const uint8_t> bytes, bool end_stream) {
  Stream* s = shared_.streams.resolve(handle);
  if (s == nullptr || failed_ || !takes_output(*s)) return bytes.size();  // nobody will take them: credit goes back
  size_t sent = 0;
  if (s->pending == nullptr) {
    size_t allowed = sendable(*s);
    while (sent < bytes.size() && allowed > 0) {
      size_t n = std::min({bytes.size() - sent, allowed, size_t{kFrameBytesMax}});
      bool last = sent + n == bytes.size();
      note_output();
      write_any_data_frame(*s, bytes.data() + sent, n, last && end_stream);
      sent += n;
      allowed -= n;
    }
    if (bytes.empty()) {
      if (!end_stream) return 0;  // nothing to say
      note_output();
      write_data_frame(*s, nullptr, 0, true);
    }
    if (sent == bytes.size()) {
      if (end_stream) local_end(handle, *s);
      return sent;
    }
    s->pending = std::make_unique<PendingOutput>(shared_.buffers);
    block(handle, *s);
  }
  s->pending->data.append(bytes.subspan(sent));
  s->pending->end_stream = end_stream;
  pending_bytes_ += bytes.size() - sent;
  return sent;
}

void Connection::block(StreamHandle handle, Stream& s) {
  if (s.queued) return;
  s.queued = true;
  if (blocked_.size() - blocked_head_ > 2 * table_.size() + 64) {  // streams that were reset while they waited
    blocked_.erase(blocked_.begin(), blocked_.begin() + static_cast<ptrdiff_t>(blocked_head_));
    blocked_head_ = 0;
    std::erase_if(blocked_, [this](StreamHandle h) { return shared_.streams.resolve(h) == nullptr; });
  }
  blocked_.push_back(handle);
}

// One frame per stream and turn. Who has no room keeps its place, so that streams share the connection's
// window and the output evenly, also over many calls.
void Connection::pump() {
  while (!failed_ && blocked_head_ < blocked_.size() && send_window_ > 0 &&
         output_.size() < options_.output_high_bytes) {
    StreamHandle handle = blocked_[blocked_head_++];
    Stream* s = shared_.streams.resolve(handle);
    if (s == nullptr || !s->queued) continue;
    s->queued = false;
    if (s->pending != nullptr) pump_stream(handle, *s);
  }
  if (blocked_head_ == blocked_.size()) {
    blocked_.clear();
    blocked_head_ = 0;
  } else if (blocked_head_ > blocked_.size() / 2) {
    blocked_.erase(blocked_.begin(), blocked_.begin() + static_cast<ptrdiff_t>(blocked_head_));
    blocked_head_ = 0;
  }
}

// Writes one frame of what waits, which is never empty; trailers follow the last.
void Connection::pump_stream(StreamHandle handle, Stream& s) {
  PendingOutput& pending = *s.pending;
  size_t n = std::min({sendable(s), pending.data.size(), size_t{kFrameBytesMax}});
  if (n == 0) return;  // its own WINDOW_UPDATE brings it back
  bool last = n == pending.data.size();
  bool end = last && pending.end_stream;
  if (n < kTinyFrameBytes && !last) {
    tally_.add(Event::TinyFrameForced);
    if (!glitch(1)) {
      return fail(ErrorCode::EnhanceYourCalm, EndReason::TinyWindowFlood, "windows of a few bytes, again and again");
    }
  } else {
    glitches_.earn();
  }
  note_output();
  write_any_data_frame(s, pending.data.data(), n, end && !pending.has_trailers);
  pending.data.consume(n);
  pending.drained += n;
  pending_bytes_ -= n;
  if (!last) {
    block(handle, s);
  } else {
    if (pending.has_trailers) {
      std::vector<Field> fields;
      unpack_fields(pending.trailers.bytes(), fields);
      write_header_frames(s.id, fields, end);
    }
    s.pending.reset();
  }
  if (end) s.state = next_state(s.state, StreamEvent::LocalEnd);
  sink_.on_sent(handle, s, n);
  if (!end) return;
  if (Stream* still = shared_.streams.resolve(handle)) after_local_end(handle, *still);
}

void Connection::local_end(StreamHandle handle, Stream& s) {
  s.state = next_state(s.state, StreamEvent::LocalEnd);
  after_local_end(handle, s);
}

void Connection::after_local_end(StreamHandle handle, Stream& s) {
  if (s.state == StreamState::Closed) {
    resets_.earn();
    drop(handle, s);
  } else if (s.reset_after_end) {
    send_rst(s.id, ErrorCode::NoError);
    s.state = StreamState::Closed;
    drop(handle, s);
  }
}

void Connection::reset_after_end(StreamHandle handle) {
  Stream* s = shared_.streams.resolve(handle);
  if (s == nullptr) return;
  if (s->state == StreamState::HalfClosedLocal) return reset(handle, ErrorCode::NoError);
  s->reset_after_end = true;
}

// The state moved before the sink was told; here the record goes when both sides are through.
void Connection::remote_end(StreamHandle handle, Stream& s) {
  if (s.state != StreamState::Closed || s.pending != nullptr) return;
  resets_.earn();
  drop(handle, s);
}

void Connection::drop(StreamHandle handle, Stream& s) {
  if (s.pending != nullptr) pending_bytes_ -= s.pending->data.size();
  table_.erase(s.id);
  shared_.streams.release(handle);
}

void Connection::send_rst(uint32_t id, ErrorCode code) {
  note_output();
  write_u32_frame(FrameType::RstStream, id, static_cast<uint32_t>(code));
  if (size_t kept = options_.role == Role::Server ? kResetIdsKept : kCancelledIdsKept; reset_ids_.size() < kept) {
    reset_ids_.push_back(id);
  } else {
    reset_ids_[reset_next_++ % kept] = id;
  }
}

bool Connection::recently_reset(uint32_t id) const {
  return std::find(reset_ids_.begin(), reset_ids_.end(), id) != reset_ids_.end();
}

bool Connection::is_idle(uint32_t id) const {
  bool ours = (id % 2 == 1) == (options_.role == Role::Client);
  return ours ? id >= next_local_id_ : id > last_peer_id_;
}

Connection::Status Connection::stream_error(StreamHandle handle, Stream& s, ErrorCode code) {
  tally_.add(Event::StreamError);
  send_rst(s.id, code);
  s.state = StreamState::Closed;
  bool told = options_.role == Role::Client || s.head_received;
  if (told) sink_.on_reset(handle, s, code, Sink::ResetBy::Local);
  if (Stream* still = shared_.streams.resolve(handle)) drop(handle, *still);
  if (resets_.spend(kStreamErrorCost, now_)) return {};
  return flood(EndReason::StreamErrorFlood, "too many stream errors");
}

// What was under way when we reset a stream is no sin of a target: its streams are cancelled by clients. A client
// that sends heads for streams it was told are gone has us decode for nothing.
Connection::Status Connection::closed_stream(uint32_t id) {
  tally_.add(Event::LateFrame);
  bool allowed = true;
  if (!recently_reset(id)) {
    send_rst(id, ErrorCode::StreamClosed);
    allowed = options_.role == Role::Server ? resets_.spend(1, now_) : glitch(1);
  } else if (options_.role == Role::Server) {
    allowed = glitch(kLateHeadersCost);
  }
  return allowed ? Status{} : flood(EndReason::ClosedStreamFlood, "too many frames on closed streams");
}

void Connection::reset(StreamHandle handle, ErrorCode code) {
  Stream* s = shared_.streams.resolve(handle);
  if (s == nullptr) return;
  // A stream whose HEADERS never went is idle for the peer: RST_STREAM would be an error.
  bool known = options_.role == Role::Server || s->head_sent;
  if (!failed_ && known && s->state != StreamState::Closed) send_rst(s->id, code);
  drop(handle, *s);
}

void Connection::return_connection_credit() {
  note_output();
  write_u32_frame(FrameType::WindowUpdate, 0, receive_unreturned_);
  receive_window_ += receive_unreturned_;
  receive_unreturned_ = 0;
}

void Connection::consume(StreamHandle handle, size_t bytes) {
  Stream* s = shared_.streams.resolve(handle);
  if (s != nullptr && !failed_ && s->may_receive()) credit_stream(*s, bytes);
}

void Connection::return_stream_credit(Stream& s) {
  note_output();
  write_u32_frame(FrameType::WindowUpdate, s.id, s.receive_unreturned);
  if (adaptive_.begin_sample(s.id, now_)) ping(AdaptiveWindow::kPing);
  s.receive_window += static_cast<int32_t>(s.receive_unreturned);
  s.receive_unreturned = 0;
}

}  // namespace weir::http::h2
