#include "sim/h2_endpoint.h"

#include <algorithm>
#include <array>

#include "base/assert.h"

namespace weir::sim {

namespace {
constexpr size_t kUnsentMax = 64u << 10;
constexpr int kSettingChangesMax = 60;  // far more is a flood, and is treated as one
}

struct Callbacks {
  static size_t take(std::string& from, char* out, size_t size) {
    size_t n = from.copy(out, size);
    from.erase(0, n);
    return n;
  }
  static H2Endpoint& self(void* user) { return *static_cast<H2Endpoint*>(user); }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                    const uint8_t* value, size_t value_size, uint8_t, void* user) {
    H2Endpoint& e = self(user);
    auto text = [](const uint8_t* p, size_t n) { return std::string_view(reinterpret_cast<const char*>(p), n); };
    e.on_header(e.streams_[frame->hd.stream_id], text(name, name_size), text(value, value_size));
    return 0;
  }
  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Endpoint& e = self(user);
    if (frame->hd.type == NGHTTP2_GOAWAY) {
      std::string_view why(reinterpret_cast<const char*>(frame->goaway.opaque_data), frame->goaway.opaque_data_len);
      if (why.find("not finished in time") != std::string_view::npos) {  // the slowest lines of all
        e.stage_.ledger.troubles.client = e.stage_.now();
      } else if (frame->goaway.error_code != NGHTTP2_NO_ERROR) {
        e.stage_.ledger.violation(e.name_ + ": GOAWAY with error " + std::to_string(frame->goaway.error_code) + " " +
                                  std::string(why));
      }
      e.on_goaway(frame->goaway.last_stream_id);
      return 0;
    }
    if (frame->hd.type == NGHTTP2_SETTINGS) e.settings_received_ = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    auto found = e.streams_.find(frame->hd.stream_id);
    if (found == e.streams_.end()) return 0;
    H2Endpoint::StreamState& s = found->second;
    if (frame->hd.type == NGHTTP2_HEADERS && !s.has_head) {
      s.has_head = true;
      e.on_head(frame->hd.stream_id, s);
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
      s.remote_end = true;
      e.on_remote_end(frame->hd.stream_id, s);
    }
    return 0;
  }
  static int data(nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* user) {
    H2Endpoint& e = self(user);
    H2Endpoint::StreamState& s = e.streams_[id];
    if (s.call == nullptr || s.in == nullptr) {  // health checks, streams that were given up, pages
      if (s.call != nullptr) s.page.append(reinterpret_cast<const char*>(bytes), size);
      nghttp2_session_consume(e.session_, id, size);
      return 0;
    }
    if (!s.in->accept({reinterpret_cast<const char*>(bytes), size})) {
      e.stage_.ledger.violation(e.name_ + ": call " + std::to_string(s.call->plan.id) +
                                " got bytes that are not the next ones of its messages");
      s.in.reset();
    }
    s.call->progress = e.stage_.now();
    nghttp2_session_consume_connection(e.session_, size);
    s.unconsumed += size;
    e.on_message_bytes(id, s);
    return 0;
  }
  static int closed(nghttp2_session*, int32_t id, uint32_t code, void* user) {
    H2Endpoint& e = self(user);
    auto found = e.streams_.find(id);
    if (found == e.streams_.end()) return 0;
    e.on_stream_over(id, found->second, code);
    e.streams_.erase(found);
    return 0;
  }
  static int invalid(nghttp2_session*, const nghttp2_frame* frame, int code, void* user) {
    H2Endpoint& e = self(user);
    if (code == NGHTTP2_ERR_REFUSED_STREAM && e.stage_.mix.few_streams) return 0;  // before our limit was known
    e.stage_.ledger.violation(e.name_ + ": invalid frame of type " + std::to_string(frame->hd.type) + ": " +
                              nghttp2_strerror(code));
    return 0;
  }
  static int sent(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Endpoint& e = self(user);
    if (frame->hd.type == NGHTTP2_HEADERS) {
      H2Endpoint::StreamState& s = e.streams_[frame->hd.stream_id];
      s.sent = true;
      s.local_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    }
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
      e.stage_.ledger.violation(e.name_ + ": libnghttp2 finds a connection error, code " +
                                std::to_string(frame->goaway.error_code) + " " +
                                std::string(reinterpret_cast<const char*>(frame->goaway.opaque_data),
                                            frame->goaway.opaque_data_len));
    }
    return 0;
  }
  // A request that waited for a free stream when GOAWAY came.
  static int not_sent(nghttp2_session*, const nghttp2_frame* frame, int, void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    return closed(nullptr, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM, user);
  }
  static ssize_t read(nghttp2_session*, int32_t id, uint8_t* out, size_t size, uint32_t* flags, nghttp2_data_source*,
                      void* user) {
    H2Endpoint& e = self(user);
    auto found = e.streams_.find(id);
    if (found == e.streams_.end()) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    H2Endpoint::StreamState& s = found->second;
    size_t n = s.out != nullptr ? s.out->read(reinterpret_cast<char*>(out), size, s.allowed)
                                : take(s.raw, reinterpret_cast<char*>(out), size);
    if (n > 0) return static_cast<ssize_t>(n);
    if (!s.may_end) {
      s.deferred = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (e.ends_with_trailers()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      e.submit_trailers(id, s);
    }
    return 0;
  }
};

H2Endpoint::H2Endpoint(Stage& stage, int fd, Role role, Channel::Security security)
    : stage_(stage), role_(role), channel_(stage.loop, stage.network, fd, security, *this) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* option = nullptr;
  WEIR_ASSERT(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_peer_max_concurrent_streams(option, 100);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::frame_received);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::closed);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, Callbacks::invalid);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Callbacks::sent);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, Callbacks::not_sent);
  auto make = role == Role::Client ? nghttp2_session_client_new2 : nghttp2_session_server_new2;
  WEIR_ASSERT(make(&session_, callbacks, this, option) == 0);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_option_del(option);
}

H2Endpoint::~H2Endpoint() { nghttp2_session_del(session_); }

// Small ones are small against the messages, but not so small that a run takes for ever.
uint32_t H2Endpoint::draw_window() const {
  if (!stage_.mix.small_peer_windows) return 65535;
  uint32_t least = stage_.mix.large || stage_.mix.latency > std::chrono::milliseconds(2) ? 10000 : 300;
  return least + static_cast<uint32_t>(stage_.random.below(3000));
}

void H2Endpoint::begin(uint32_t window) {
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1 + static_cast<uint32_t>(stage_.random.below(8))}};
  bool few = role_ == Role::Server && stage_.mix.few_streams;
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, few ? 2 : 1);
  auto size = static_cast<int32_t>(window);
  if (window > 65535) nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, size);
  pump();
}

nghttp2_nv H2Endpoint::field(std::string_view name, std::string_view value) {
  auto bytes = [](std::string_view s) { return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(s.data())); };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

nghttp2_data_provider H2Endpoint::provider() {
  nghttp2_data_provider p{};
  p.read_callback = Callbacks::read;
  return p;
}

void H2Endpoint::on_bytes(std::string_view bytes) {
  pumping_ = true;  // what callbacks submit goes out below
  ssize_t n = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  pumping_ = false;
  if (n < 0) {
    stage_.ledger.violation(name_ + ": libnghttp2 refuses what it reads: " + nghttp2_strerror(static_cast<int>(n)));
    return channel_.close();
  }
  pump();
}

void H2Endpoint::pump() {
  if (pumping_ || !channel_.open()) return;
  pumping_ = true;
  while (channel_.open() && channel_.unsent() < kUnsentMax) {
    const uint8_t* bytes = nullptr;
    ssize_t n = nghttp2_session_mem_send(session_, &bytes);
    if (n <= 0) break;
    channel_.send({reinterpret_cast<const char*>(bytes), static_cast<size_t>(n)});
  }
  pumping_ = false;
}

void H2Endpoint::resume(int32_t id, StreamState& s) {
  if (!s.deferred) return;
  s.deferred = false;
  nghttp2_session_resume_data(session_, id);
}

void H2Endpoint::consume(int32_t id, StreamState& s) {
  if (s.unconsumed == 0) return;
  nghttp2_session_consume_stream(session_, id, s.unconsumed);
  s.unconsumed = 0;
}

void H2Endpoint::fidget() {
  if (stage_.mix.pings && stage_.random.below(20) == 0) nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  if (!stage_.mix.setting_changes || setting_changes_ == kSettingChangesMax || stage_.random.below(20) != 0) return;
  ++setting_changes_;
  const std::array settings{
      nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
                             std::max(draw_window(), static_cast<uint32_t>(1 + stage_.random.below(100000)))},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, static_cast<uint32_t>(stage_.random.below(8192))}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
}

}  // namespace weir::sim
