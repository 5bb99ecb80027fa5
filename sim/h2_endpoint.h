// One side of an HTTP/2 connection made of libnghttp2: a second opinion on every frame the balancer sends.
#pragma once

#include <nghttp2/nghttp2.h>

#include <map>
#include <memory>
#include <string>

#include "sim/channel.h"
#include "sim/ledger.h"

namespace weir::sim {

// What all actors of a run share.
struct Stage {
  const Mix& mix;
  Clock& clock;
  Network& network;
  Loop& loop;  // the actors'
  Ledger& ledger;
  Random& random;
  TimePoint now() const { return clock.now(); }
};

class H2Endpoint : public ChannelUser {
 public:
  enum class Role : uint8_t { Client, Server };
  H2Endpoint(Stage& stage, int fd, Role role, Channel::Security security);
  virtual ~H2Endpoint();
  H2Endpoint(const H2Endpoint&) = delete;
  H2Endpoint& operator=(const H2Endpoint&) = delete;

  const std::string& name() const { return name_; }
  bool open() const { return channel_.open(); }
  Channel& channel() { return channel_; }
  // Puts what libnghttp2 wants to say on the wire.
  void pump();
  // Bytes that the balancer lets this side send on the connection.
  int32_t credit() const { return nghttp2_session_get_remote_window_size(session_); }
  size_t streams() const { return streams_.size(); }
  bool carried_calls() const { return carried_calls_; }  // else it may be a health check's
  // Odd but allowed things that peers do: PING, SETTINGS in the middle.
  void fidget();
  // The stream window that the balancer announces.
  uint32_t stream_window() const {
    return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
  }

 protected:
  // A stream of a call as both sides keep it.
  struct StreamState {
    Call* call = nullptr;
    Execution* execution = nullptr;  // server
    std::unique_ptr<MessageStream> out, in;
    uint32_t allowed = 0;            // messages that may be sent so far
    bool may_end = false;            // all is said after those
    bool deferred = false;
    size_t unconsumed = 0;           // bytes whose credit is not returned yet
    bool remote_end = false, has_head = false, sent = false;
    bool local_end = false;          // END_STREAM is out
    int http_status = 200;
    int grpc_status = -1;
    std::string grpc_message;
    uint64_t call_id = 0;
    uint32_t previous_attempts = 0;  // grpc-previous-rpc-attempts
    std::string pushback;            // grpc-retry-pushback-ms
    std::string path, metadata;
    std::string page;                // the body of a response that is no gRPC
    TimePoint next_message_at{};     // of a call with a pace
    std::string raw;                 // bytes to send where there is no call: health messages
    int watch_told = -1;             // a Watch stream: the serving status that was sent last
    TimePoint told_at{};             // then
  };
  using Streams = std::map<int32_t, StreamState>;

  // Body bytes wait for `allowed`; then they go.
  void resume(int32_t id, StreamState& s);
  void consume(int32_t id, StreamState& s);
  nghttp2_data_provider provider();
  void begin(uint32_t window);
  static nghttp2_nv field(std::string_view name, std::string_view value);
  uint32_t draw_window() const;
  std::string name_;
  Stage& stage_;
  nghttp2_session* session_ = nullptr;
  Streams streams_;
  bool settings_received_ = false;
  bool carried_calls_ = false;

 private:
  friend struct Callbacks;
  void on_bytes(std::string_view bytes) override;
  virtual void on_header(StreamState& s, std::string_view name, std::string_view value) = 0;
  virtual void on_head(int32_t id, StreamState& s) = 0;
  virtual void on_message_bytes(int32_t id, StreamState& s) = 0;
  virtual void on_remote_end(int32_t id, StreamState& s) = 0;
  // The stream's record goes after this.
  virtual void on_stream_over(int32_t id, StreamState& s, uint32_t code) = 0;
  // All allowed messages are out and may_end; the frame that ends the stream is due.
  virtual bool ends_with_trailers() const = 0;
  virtual void submit_trailers(int32_t id, StreamState& s) = 0;
  virtual void on_goaway(int32_t last_id) = 0;

  Role role_;
  bool pumping_ = false;
  int setting_changes_ = 0;
  Channel channel_;
};

}  // namespace weir::sim
