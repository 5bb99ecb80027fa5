// SETTINGS, PING, GOAWAY.
#include <cstring>
#include <utility>

#include "http/h2/connection.h"

namespace weir::http::h2 {

namespace {
constexpr size_t kSettingBytes = 6;  // RFC 9113 §6.5.1
}

Connection::Status Connection::on_settings_frame(const FrameHeader& h, const uint8_t* payload) {
  if (h.stream_id != 0) return error_of(ErrorCode::ProtocolError, "SETTINGS on a stream");
  if (h.flags & kFlagAck) {
    if (h.length != 0) return error_of(ErrorCode::FrameSizeError, "SETTINGS ACK with a payload");
    on_settings_acked();
    return {};
  }
  if (h.length % kSettingBytes != 0) return error_of(ErrorCode::FrameSizeError, "SETTINGS of wrong length");
  tally_.add(Event::SettingsReceived);
  if (h.length / kSettingBytes > kSettingsPerFrameMax || !spend_control(kSettingsCost)) {
    return flood(EndReason::SettingsFlood, "too many SETTINGS");
  }
  if (!settings_received_) peer_max_streams_ = UINT32_MAX;  // RFC 9113 §6.5.2: no limit unless announced
  for (size_t i = 0; i < h.length; i += kSettingBytes) {
    auto id = static_cast<uint16_t>(payload[i] << 8 | payload[i + 1]);
    if (Status status = apply_setting(id, read_u32(payload + i + 2)); !status) return status;
  }
  settings_received_ = true;
  note_output();
  uint8_t* p = output_.reserve(kFrameHeaderBytes);
  write_header(p, {0, FrameType::Settings, kFlagAck, 0});
  output_.commit(kFrameHeaderBytes);
  sink_.on_settings();
  return {};
}

// Until the peer has acknowledged a smaller stream window it may use the larger one it knew: at first the default
// (RFC 9113 §6.9.3), later what it was granted before.
void Connection::on_settings_acked() {
  if (settings_sent_at_ != TimePoint{} && settings_sent_at_ != TimePoint::max()) {
    adaptive_.note_round_trip(now_ - std::exchange(settings_sent_at_, TimePoint::max()));
  }
  if (settings_unacked_ == 0 || --settings_unacked_ > 0) return;
  int64_t difference = static_cast<int64_t>(adaptive_.window()) - granted_window_;
  granted_window_ = adaptive_.window();
  move_receive_windows(difference);
}

void Connection::move_receive_windows(int64_t difference) {
  if (difference == 0) return;
  for_each_stream([&](StreamHandle handle) {
    Stream& s = *shared_.streams.resolve(handle);
    s.receive_window = static_cast<int32_t>(s.receive_window + difference);
  });
}

// A larger window is granted at once: the peer uses it when it knows.
void Connection::announce_stream_window() {
  note_output();
  ++settings_unacked_;
  uint8_t* p = output_.reserve(kFrameHeaderBytes + kSettingBytes);
  write_header(p, {kSettingBytes, FrameType::Settings, 0, 0});
  p[kFrameHeaderBytes] = 0;
  p[kFrameHeaderBytes + 1] = static_cast<uint8_t>(SettingId::InitialWindowSize);
  write_u32(p + kFrameHeaderBytes + 2, adaptive_.window());
  output_.commit(kFrameHeaderBytes + kSettingBytes);
  if (adaptive_.window() <= granted_window_) return;
  int64_t difference = static_cast<int64_t>(adaptive_.window()) - granted_window_;
  granted_window_ = adaptive_.window();
  move_receive_windows(difference);
}

void Connection::shrink_windows() {
  if (!failed_ && adaptive_.shrink()) announce_stream_window();
}

Connection::Status Connection::apply_setting(uint16_t id, uint32_t value) {
  switch (static_cast<SettingId>(id)) {
    case SettingId::HeaderTableSize:
      encoder_.set_peer_table_bytes(value);
      return {};
    case SettingId::EnablePush:
      if (value > 1 || (value == 1 && options_.role == Role::Client)) {
        return error_of(ErrorCode::ProtocolError, "SETTINGS_ENABLE_PUSH is not 0 or 1");
      }
      return {};
    case SettingId::MaxConcurrentStreams:
      peer_max_streams_ = value;
      return {};
    case SettingId::InitialWindowSize:
      return apply_initial_window(value);
    case SettingId::MaxFrameSize:
      if (value < kFrameBytesMax || value > 0xffffff) {
        return error_of(ErrorCode::ProtocolError, "SETTINGS_MAX_FRAME_SIZE out of range");
      }
      peer_frame_bytes_max_ = value;
      return {};
    case SettingId::MaxHeaderListSize:
      return {};
  }
  return {};  // RFC 9113 §6.5.2: unknown settings are ignored
}

// RFC 9113 §6.9.2: the difference is added to every stream's window, which may become negative.
Connection::Status Connection::apply_initial_window(uint32_t value) {
  if (value > kWindowMax) return error_of(ErrorCode::FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE over 2^31-1");
  int64_t difference = static_cast<int64_t>(value) - peer_initial_window_;
  peer_initial_window_ = value;
  bool overflow = false;
  for_each_stream([&](StreamHandle handle) {
    Stream& s = *shared_.streams.resolve(handle);
    int64_t window = s.send_window + difference;
    if (window > kWindowMax || window < -kWindowMax) {
      overflow = true;
      return;
    }
    s.send_window = static_cast<int32_t>(window);
    if (s.pending != nullptr && window > 0) block(handle, s);
  });
  if (overflow) return error_of(ErrorCode::FlowControlError, "a stream window left its range");
  return {};
}

Connection::Status Connection::on_ping_frame(const FrameHeader& h, const uint8_t* payload) {
  if (h.stream_id != 0) return error_of(ErrorCode::ProtocolError, "PING on a stream");
  if (h.length != 8) return error_of(ErrorCode::FrameSizeError, "PING of wrong length");
  if (h.flags & kFlagAck) {
    uint64_t opaque;
    std::memcpy(&opaque, payload, sizeof opaque);
    if (opaque != AdaptiveWindow::kPing) {
      ++pings_acked_;
    } else if (adaptive_.end_sample(shared_.buffers.bytes_in_use() <= options_.growth_bytes_in_use_max, now_)) {
      announce_stream_window();
    }
    return {};
  }
  tally_.add(Event::PingReceived);
  if (!spend_control(1)) return flood(EndReason::PingFlood, "too many PING frames");
  last_ping_at_ = now_;
  note_output();
  uint8_t* p = output_.reserve(kFrameHeaderBytes + 8);
  write_header(p, {8, FrameType::Ping, kFlagAck, 0});
  std::memcpy(p + kFrameHeaderBytes, payload, 8);
  output_.commit(kFrameHeaderBytes + 8);
  return {};
}

Connection::Status Connection::on_goaway_frame(const FrameHeader& h, const uint8_t* payload) {
  if (h.stream_id != 0) return error_of(ErrorCode::ProtocolError, "GOAWAY on a stream");
  if (h.length < 8) return error_of(ErrorCode::FrameSizeError, "GOAWAY too short");
  tally_.add(Event::GoawayReceived);
  if (!spend_control(kSettingsCost)) return flood(EndReason::GoawayFlood, "too many GOAWAY frames");
  uint32_t last_id = read_u32(payload) & kStreamIdMax;
  auto code = static_cast<ErrorCode>(read_u32(payload + 4));
  if (goaway_received_ && last_id > goaway_last_id_) {
    return error_of(ErrorCode::ProtocolError, "GOAWAY raised its last stream id");  // RFC 9113 §6.8
  }
  goaway_received_ = true;
  goaway_last_id_ = last_id;
  if (options_.role == Role::Client) {
    std::vector<StreamHandle> refused;
    table_.for_each([&](uint32_t id, uint32_t index) {
      if (id > last_id) refused.push_back(shared_.streams.at(index));
    });
    for (StreamHandle handle : refused) {
      Stream* s = shared_.streams.resolve(handle);
      if (s == nullptr) continue;
      s->state = StreamState::Closed;
      sink_.on_reset(handle, *s, ErrorCode::RefusedStream, Sink::ResetBy::Remote);
      if (Stream* still = shared_.streams.resolve(handle)) drop(handle, *still);
    }
  }
  sink_.on_goaway(last_id, code);
  return {};
}

void Connection::announce_goaway() {
  if (goaway_sent_ || failed_) return;
  goaway_sent_ = true;
  note_output();
  uint8_t* p = output_.reserve(kFrameHeaderBytes + 8);
  write_header(p, {8, FrameType::GoAway, 0, 0});
  write_u32(p + kFrameHeaderBytes, kStreamIdMax);
  write_u32(p + kFrameHeaderBytes + 4, static_cast<uint32_t>(ErrorCode::NoError));
  output_.commit(kFrameHeaderBytes + 8);
}

void Connection::finish_goaway() {
  if (goaway_final_ || failed_) return;
  goaway_sent_ = goaway_final_ = true;
  note_output();
  uint8_t* p = output_.reserve(kFrameHeaderBytes + 8);
  write_header(p, {8, FrameType::GoAway, 0, 0});
  write_u32(p + kFrameHeaderBytes, last_accepted_id_);
  write_u32(p + kFrameHeaderBytes + 4, static_cast<uint32_t>(ErrorCode::NoError));
  output_.commit(kFrameHeaderBytes + 8);
}

void Connection::fail(ErrorCode code, EndReason reason, std::string_view debug) {
  if (failed_) return;
  failed_ = true;
  error_ = code;
  end_reason_ = reason;
  error_detail_ = debug;
  note_output();
  size_t length = 8 + debug.size();
  uint8_t* p = output_.reserve(kFrameHeaderBytes + length);
  write_header(p, {static_cast<uint32_t>(length), FrameType::GoAway, 0, 0});
  write_u32(p + kFrameHeaderBytes, last_accepted_id_);
  write_u32(p + kFrameHeaderBytes + 4, static_cast<uint32_t>(code));
  std::memcpy(p + kFrameHeaderBytes + 8, debug.data(), debug.size());
  output_.commit(kFrameHeaderBytes + length);
}

void Connection::ping(uint64_t opaque) {
  if (failed_) return;
  note_output();
  uint8_t* p = output_.reserve(kFrameHeaderBytes + 8);
  write_header(p, {8, FrameType::Ping, 0, 0});
  std::memcpy(p + kFrameHeaderBytes, &opaque, 8);
  output_.commit(kFrameHeaderBytes + 8);
}

}  // namespace weir::http::h2
