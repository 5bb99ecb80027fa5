// Bytes from the peer: framing, header blocks, DATA, RST_STREAM, WINDOW_UPDATE.
#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "http/h2/connection.h"

namespace weir::http::h2 {

bool Connection::receive(std::span<const uint8_t> bytes, TimePoint now) {
  if (failed_) return false;
  now_ = now;
  trace_.set_now(now);
  Status status;
  if (options_.role == Role::Server && preface_seen_ < kPreface.size()) {
    bytes = bytes.subspan(consume_preface(bytes, status));
  }
  // A frame that came in pieces is completed first; the bulk is parsed where it lies.
  while (status && !partial_.empty() && !bytes.empty()) {
    size_t have = partial_.size();
    size_t want = kFrameHeaderBytes;
    if (have >= kFrameHeaderBytes) want += read_frame_header(partial_.data()).length;
    size_t take = std::min(want - have, bytes.size());
    partial_.append(bytes.first(take));
    bytes = bytes.subspan(take);
    if (size_t used = parse_frames(partial_.bytes(), status); used > 0) partial_.release();
  }
  if (status && !bytes.empty()) {
    size_t used = parse_frames(bytes, status);
    if (status && used < bytes.size()) {
      if (!in_header_block()) partial_since_ = now;  // else it counts from the block's first frame
      keep_partial(bytes.subspan(used));
    }
  }
  if (!status) fail(status.code, status.reason, status.detail);
  return !failed_;
}

// Of a large frame that is on its way, all has room at once; of one that was only announced nothing has.
void Connection::keep_partial(std::span<const uint8_t> bytes) {
  if (bytes.size() >= kLargePartialBytes) partial_.reserve(kFrameHeaderBytes + read_frame_header(bytes.data()).length);
  partial_.append(bytes);
}

size_t Connection::consume_preface(std::span<const uint8_t> bytes, Status& status) {
  size_t n = std::min(bytes.size(), kPreface.size() - preface_seen_);
  if (std::memcmp(bytes.data(), kPreface.data() + preface_seen_, n) != 0) {
    status = {"not an HTTP/2 connection preface", ErrorCode::ProtocolError, EndReason::BadPreface};
  }
  preface_seen_ += n;
  return n;
}

[[gnu::always_inline]] inline Connection::Status Connection::on_data_frame(FrameHeader h, const uint8_t* payload) {
  if (h.stream_id == 0) [[unlikely]] return error_of(ErrorCode::ProtocolError, "DATA on stream 0");
  uint32_t pad = 0;
  uint32_t size = h.length;
  if (h.flags & kFlagPadded) {
    if (size < 1) return error_of(ErrorCode::FrameSizeError, "DATA too short for its flags");
    if (payload[0] >= size) return error_of(ErrorCode::ProtocolError, "padding longer than the frame");
    pad = 1u + payload[0];
    size -= pad;
    ++payload;
  }
  receive_window_ -= h.length;
  if (receive_window_ < 0) return error_of(ErrorCode::FlowControlError, "connection window exceeded");
  credit_connection(h.length);
  bool end = h.flags & kFlagEndStream;
  if (size == 0 && !end) {
    tally_.add(Event::EmptyData);
    if (!spend_empty_data()) return flood(EndReason::EmptyDataFlood, "too many empty DATA frames");
  }
  uint32_t index = table_.find(h.stream_id);
  if (index == UINT32_MAX) {
    if (is_idle(h.stream_id)) return error_of(ErrorCode::ProtocolError, "DATA on an idle stream");
    return recently_reset(h.stream_id) ? Status{} : closed_stream(h.stream_id);
  }
  auto [handle, stream] = shared_.streams.in_use(index);
  Stream& s = *stream;
  ErrorCode code = ErrorCode::NoError;
  if (!s.may_receive()) {
    code = ErrorCode::StreamClosed;
  } else if (static_cast<int64_t>(s.receive_window) < h.length) {
    code = ErrorCode::FlowControlError;
  } else if (!s.head_received) {
    code = ErrorCode::ProtocolError;
  } else if (s.content_left >= 0) {
    s.content_left -= size;
    if (s.content_left < 0 || (end && s.content_left != 0)) code = ErrorCode::ProtocolError;
  }
  if (code != ErrorCode::NoError) return stream_error(handle, s, code);
  s.receive_window -= static_cast<int32_t>(h.length);
  adaptive_.note_data(h.stream_id, h.length);
  data_received_ += size > 0 ? 1 : 0;
  if (end) s.state = next_state(s.state, StreamEvent::RemoteEnd);
  size_t left = sink_.on_data(handle, s, {payload, size}, end);
  if (!shared_.streams.holds(handle)) return {};
  if (end) {
    remote_end(handle, s);
  } else if (!failed_) {
    credit_stream(s, left + pad);
  }
  return {};
}

namespace {
// HEADERS with all its block in it and nothing else.
bool is_whole_block(const FrameHeader& h) {
  return h.type == FrameType::Headers && (h.flags & ~kFlagEndStream) == kFlagEndHeaders && h.stream_id != 0;
}
}  // namespace

// Returns the bytes of the whole frames it handled.
size_t Connection::parse_frames(std::span<const uint8_t> bytes, Status& status) {
  const uint8_t* at = bytes.data();
  const uint8_t* const end = at + bytes.size();
  while (static_cast<size_t>(end - at) >= kFrameHeaderBytes) {
    const FrameHeader h = read_frame_header(at);
    const uint8_t* const payload = at + kFrameHeaderBytes;
    if (h.length > kFrameBytesMax) [[unlikely]] {
      status = error_of(ErrorCode::FrameSizeError, "frame longer than SETTINGS_MAX_FRAME_SIZE");
      break;
    }
    if (static_cast<size_t>(end - payload) < h.length) break;
    trace_received(at);
    Status good;
    if (!may_carry_data()) [[unlikely]] {
      good = on_frame(h, payload);
    } else if (h.type == FrameType::Data) {
      good = on_data_frame(h, payload);
    } else if (is_whole_block(h)) {
      good = on_header_block(h, {payload, h.length});
    } else {
      good = on_frame(h, payload);
    }
    at = payload + h.length;
    if (!good || failed_) [[unlikely]] {
      status = good;
      break;
    }
  }
  return static_cast<size_t>(at - bytes.data());
}

Connection::Status Connection::on_frame(const FrameHeader& h, const uint8_t* payload) {
  if (!settings_received_ && (h.type != FrameType::Settings || (h.flags & kFlagAck))) {
    return error_of(ErrorCode::ProtocolError, "the first frame is not SETTINGS");
  }
  if (block_head_.stream_id != 0 && h.type != FrameType::Continuation) {
    return error_of(ErrorCode::ProtocolError, "a header block was interrupted by another frame");
  }
  switch (h.type) {
    case FrameType::Data: break;  // parse_frames() takes it where it may stand
    case FrameType::Headers: return on_headers_frame(h, payload);
    case FrameType::Priority: return on_priority_frame(h, payload);
    case FrameType::RstStream: return on_rst_frame(h, payload);
    case FrameType::Settings: return on_settings_frame(h, payload);
    case FrameType::PushPromise: return error_of(ErrorCode::ProtocolError, "PUSH_PROMISE although push is off");
    case FrameType::Ping: return on_ping_frame(h, payload);
    case FrameType::GoAway: return on_goaway_frame(h, payload);
    case FrameType::WindowUpdate: return on_window_update_frame(h, payload);
    case FrameType::Continuation: return on_continuation_frame(h, payload);
  }
  // RFC 9113 §5.5: unknown types are ignored.
  tally_.add(Event::UnknownFrame);
  if (!glitch(1)) return flood(EndReason::UnknownFrameFlood, "too many frames of unknown type");
  return {};
}

Connection::Status Connection::on_headers_frame(const FrameHeader& h, const uint8_t* payload) {
  if (h.stream_id == 0) return error_of(ErrorCode::ProtocolError, "HEADERS on stream 0");
  uint32_t size = h.length;
  uint32_t pad = 0;
  if (h.flags & kFlagPadded) {
    if (size < 1) return error_of(ErrorCode::FrameSizeError, "HEADERS too short for its flags");
    pad = *payload++;
    --size;
  }
  if (h.flags & kFlagPriority) {
    if (size < 5) return error_of(ErrorCode::FrameSizeError, "HEADERS too short for its flags");
    // RFC 9113 §5.3.2 deprecates priorities; the self-dependency of RFC 7540 §5.3.1 is still an error.
    if ((read_u32(payload) & kStreamIdMax) == h.stream_id) {
      return error_of(ErrorCode::ProtocolError, "stream depends on itself");
    }
    payload += 5;
    size -= 5;
  }
  if (pad > size) return error_of(ErrorCode::ProtocolError, "padding longer than the frame");
  size -= pad;
  if (h.flags & kFlagEndHeaders) return on_header_block(h, {payload, size});
  block_head_ = h;
  continuations_ = 0;
  partial_since_ = now_;
  header_block_.append(payload, size);
  return {};
}

Connection::Status Connection::on_continuation_frame(const FrameHeader& h, const uint8_t* payload) {
  if (block_head_.stream_id == 0 || h.stream_id != block_head_.stream_id) {
    return error_of(ErrorCode::ProtocolError, "CONTINUATION without a header block to continue");
  }
  tally_.add(Event::Continuation);
  if (++continuations_ > kContinuationsMax) {
    return flood(EndReason::ContinuationFlood, "header block too long");
  }
  if (h.length == 0 && !(h.flags & kFlagEndHeaders) && !glitch(kEmptyContinuationCost)) {
    return flood(EndReason::ContinuationFlood, "empty CONTINUATION frames");
  }
  header_block_.append(payload, h.length);
  if (!(h.flags & kFlagEndHeaders)) return {};
  Status status = on_header_block(std::exchange(block_head_, {}), header_block_.bytes());
  header_block_.release();
  return status;
}

// A list of some bytes may decode to the largest allowed, and a turn has room for thousands of them: none stays.
Connection::Status Connection::on_header_block(const FrameHeader& h, std::span<const uint8_t> block) {
  Arena::Mark mark = shared_.arena.mark();
  Status status = take_header_block(h, block);
  shared_.arena.rewind(mark);
  return status;
}

[[gnu::always_inline]] inline Connection::Status Connection::take_header_block(const FrameHeader& h,
                                                                               std::span<const uint8_t> block) {
  HeaderList& list = shared_.headers;
  // The block is decoded whatever becomes of the stream: the table is the connection's.
  if (!decoder_.decode(block, shared_.arena, list, shared_.runs)) {
    return error_of(ErrorCode::CompressionError, "header block does not decode");
  }
  bool end = h.flags & kFlagEndStream;
  std::pair<StreamHandle, Stream*> found;
  if (uint32_t index = table_.find(h.stream_id); index != UINT32_MAX) {
    found = shared_.streams.in_use(index);
    if (!found.second->may_receive()) return stream_error(found.first, *found.second, ErrorCode::StreamClosed);
  } else if (options_.role == Role::Client) {
    if (is_idle(h.stream_id)) return error_of(ErrorCode::ProtocolError, "HEADERS on an idle stream");
    return closed_stream(h.stream_id);
  } else if (may_open(h.stream_id)) [[likely]] {
    found = open_peer_stream(h.stream_id);
  } else {
    return refuse_peer_stream(h.stream_id);
  }
  return deliver_headers(*found.second, found.first, end);
}

// The client may open this stream now. After the final GOAWAY none: so that its client may safely send it elsewhere.
bool Connection::may_open(uint32_t id) const {
  return id % 2 == 1 && id > last_peer_id_ && !goaway_final_ && table_.size() < options_.max_concurrent_streams;
}

std::pair<StreamHandle, Stream*> Connection::open_peer_stream(uint32_t id) {
  last_peer_id_ = last_accepted_id_ = id;
  auto [handle, s] = shared_.streams.make();
  s.id = id;
  s.send_window = static_cast<int32_t>(peer_initial_window_);
  s.receive_window = new_receive_window();
  table_.insert(id, handle.index);
  return {handle, &s};
}

Connection::Status Connection::refuse_peer_stream(uint32_t id) {
  if (id % 2 == 0) return error_of(ErrorCode::ProtocolError, "stream id with the parity of a server");
  if (id <= last_peer_id_) {
    // Among the resets that we no longer remember this stream may be one: then its late trailers are no error.
    if (reset_next_ == 0 && !recently_reset(id)) {
      return error_of(ErrorCode::StreamClosed, "HEADERS on a closed stream");
    }
    return closed_stream(id);
  }
  last_peer_id_ = id;
  tally_.add(Event::StreamRefused);
  send_rst(id, ErrorCode::RefusedStream);
  if (resets_.spend(1, now_)) return {};
  return flood(EndReason::RefusedStreamFlood, "too many refused streams");
}

Connection::Status Connection::deliver_headers(Stream& s, StreamHandle handle, bool end_stream) {
  static const MessageHead kNoHead;
  HeaderList& list = shared_.headers;
  const MessageHead* head = &kNoHead;
  auto kind = s.head_received ? HeadersEvent::Kind::Trailers : HeadersEvent::Kind::Head;
  bool good = !list.malformed;
  if (kind == HeadersEvent::Kind::Trailers) {
    good = good && end_stream && !list.too_large && check_trailers(list);
    if (s.content_left > 0) good = false;
  } else if (!list.too_large) {
    if (good) {
      head = options_.role == Role::Server ? check_request(list) : check_response(list);
      good = head != nullptr;
    }
    if (good && options_.role == Role::Client && head->status < 200) {
      kind = HeadersEvent::Kind::Informational;
      good = !end_stream && head->status != 101;
    }
  }
  if (good && kind == HeadersEvent::Kind::Head) {
    bool bodiless = head->status == 204 || head->status == 304 || s.expects_no_body;
    s.content_left = bodiless ? -1 : head->content_length;
    good = !(end_stream && s.content_left > 0);
    s.head_received = good;
  }
  if (list.too_large) tally_.add(Event::HeaderListTooLarge);
  if (!good) {
    tally_.add(Event::MalformedHead);
    return stream_error(handle, s, ErrorCode::ProtocolError);
  }
  if (kind == HeadersEvent::Kind::Informational) {
    tally_.add(Event::InformationalReceived);
    if (!spend_control(1)) return flood(EndReason::InformationalFlood, "too many informational responses");
  }
  if (end_stream) s.state = next_state(s.state, StreamEvent::RemoteEnd);
  sink_.on_headers(handle, s, HeadersEvent{kind, list, *head, end_stream});
  if (!end_stream) return {};
  if (Stream* still = shared_.streams.resolve(handle)) remote_end(handle, *still);
  return {};
}

Connection::Status Connection::on_rst_frame(const FrameHeader& h, const uint8_t* payload) {
  if (h.length != 4) return error_of(ErrorCode::FrameSizeError, "RST_STREAM of wrong length");
  if (h.stream_id == 0) return error_of(ErrorCode::ProtocolError, "RST_STREAM on stream 0");
  uint32_t index = table_.find(h.stream_id);
  if (index == UINT32_MAX) {
    if (is_idle(h.stream_id)) return error_of(ErrorCode::ProtocolError, "RST_STREAM on an idle stream");
    return {};
  }
  auto [handle, stream] = shared_.streams.in_use(index);
  Stream& s = *stream;
  s.state = next_state(s.state, StreamEvent::Reset);
  sink_.on_reset(handle, s, static_cast<ErrorCode>(read_u32(payload)), Sink::ResetBy::Remote);
  if (Stream* still = shared_.streams.resolve(handle)) drop(handle, *still);
  tally_.add(Event::ResetReceived);
  // A target's resets harm only its own streams; a client's are budgeted (CVE-2023-44487).
  if (options_.role == Role::Server && !resets_.spend(1, now_)) {
    return flood(EndReason::ResetFlood, "too many RST_STREAM frames");
  }
  return {};
}

Connection::Status Connection::on_priority_frame(const FrameHeader& h, const uint8_t* payload) {
  if (h.stream_id == 0) return error_of(ErrorCode::ProtocolError, "PRIORITY on stream 0");
  tally_.add(Event::PriorityReceived);
  if (!spend_control(1)) return flood(EndReason::PriorityFlood, "too many PRIORITY frames");
  bool wrong_length = h.length != 5;
  if (!wrong_length && (read_u32(payload) & kStreamIdMax) != h.stream_id) return {};
  ErrorCode code = wrong_length ? ErrorCode::FrameSizeError : ErrorCode::ProtocolError;
  uint32_t index = table_.find(h.stream_id);
  if (index == UINT32_MAX) {
    if (is_idle(h.stream_id)) return error_of(code, "malformed PRIORITY on an idle stream");
    return {};
  }
  auto [handle, stream] = shared_.streams.in_use(index);
  return stream_error(handle, *stream, code);
}

Connection::Status Connection::on_window_update_frame(const FrameHeader& h, const uint8_t* payload) {
  if (h.length != 4) return error_of(ErrorCode::FrameSizeError, "WINDOW_UPDATE of wrong length");
  uint32_t increment = read_u32(payload) & kStreamIdMax;
  if (h.stream_id == 0) {
    if (increment == 0) return error_of(ErrorCode::ProtocolError, "WINDOW_UPDATE of 0");
    send_window_ += increment;
    if (send_window_ > kWindowMax) return error_of(ErrorCode::FlowControlError, "connection window over 2^31-1");
    return {};
  }
  uint32_t index = table_.find(h.stream_id);
  if (index == UINT32_MAX) {
    if (is_idle(h.stream_id)) return error_of(ErrorCode::ProtocolError, "WINDOW_UPDATE on an idle stream");
    return {};
  }
  auto [handle, stream] = shared_.streams.in_use(index);
  Stream& s = *stream;
  if (increment == 0 || s.send_window + static_cast<int64_t>(increment) > kWindowMax) {
    return stream_error(handle, s, increment == 0 ? ErrorCode::ProtocolError : ErrorCode::FlowControlError);
  }
  s.send_window += static_cast<int32_t>(increment);
  if (s.pending != nullptr) block(handle, s);
  return {};
}

}  // namespace weir::http::h2
