#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "h2_wire.h"
#include "loadgen/headers.h"
#include "loadgen/histogram.h"
#include "stream_table.h"

namespace weir::bench {

enum class Mode {
  kUnary,      // a request with one message, one reply; the next when it has ended
  kPingPong,   // one stream: message, reply, message ...
  kBulk,       // one stream: a request, then messages of the server without end
  kIdle,       // one ping-pong per stream, then silence until told to use it again
  kHandshake,  // a connection for one unary RPC
};

// What all connections of a run share. One thread.
struct Run {
  Mode mode = Mode::kUnary;
  uint32_t streams = 1;
  uint32_t bytes = 100;           // payload of a message, of each message of the server in kBulk
  std::string path, authority, scheme;
  bool starting = true;           // new RPCs and messages may start
  bool measuring = false;
  uint64_t now_us = 0;            // of this turn
  uint64_t next_request = 1;
  // Counted while measuring: RPCs, messages (kPingPong, kIdle), or bytes of messages (kBulk).
  uint64_t operations = 0;
  uint64_t started = 0;           // streams, and further messages on long ones, ever
  uint64_t echoed = 0;            // streams that have had their first reply, ever
  uint64_t replies = 0;           // messages that came back on long streams, ever
  Histogram latency;
  std::map<std::string, uint64_t> errors;

  void error(const std::string& what) { errors[what]++; }
};

// One client connection: TLS (or cleartext) and HTTP/2 with `streams` slots that keep themselves busy.
class Connection {
 public:
  // Starts to connect. `context` null: cleartext with prior knowledge. `source`: local address, host order;
  // 0: the kernel's choice.
  Connection(Run* run, SSL_CTX* context, const std::string& address, uint32_t source = 0);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // One read into the shared buffer and what follows from it. False: it is over.
  bool on_ready(std::string& buffer, bool readable);
  // One write of all that the turn made. False: it is over.
  bool flush();
  bool wants_write() const { return connecting_ || sent_ < out_.size(); }
  bool ready() const { return ready_; }
  // Only in kHandshake: its RPC has ended well.
  bool finished() const { return finished_; }
  int fd() const { return fd_; }

  // In kIdle, once ready; flush() follows. Opens one more stream, which sends its first message.
  void open_stream() { start(); }
  // One more message on each stream.
  void use_streams();
  uint32_t open_streams() const { return static_cast<uint32_t>(streams_.size()); }

 private:
  static constexpr uint32_t kStreamWindow = 1u << 20;
  static constexpr uint32_t kConnectionWindow = 16u << 20;

  struct Stream {
    int64_t window = 0;
    uint32_t consumed = 0;
    uint64_t received = 0;  // bytes of DATA
    uint64_t expected = 0;  // bytes that the answers to what was sent make
    uint64_t began_us = 0;
    bool answered = false;
    bool waiting = false;  // a message waits for window
  };

  bool handshake();
  void greet();
  ssize_t read_some(char* to, size_t size);
  bool parse(std::string_view input, size_t* used);
  bool on_frame(const FrameHeader& header, const char* payload);
  bool on_headers(const FrameHeader& header, const char* payload);
  void on_data(const FrameHeader& header, const char* payload);
  void on_settings(const FrameHeader& header, const char* payload);
  void on_window_update(uint32_t id, uint32_t credit);
  void on_reply(uint32_t id, Stream& stream);
  void on_end(uint32_t id, Stream& stream, const ResponseBlock& block);
  void start();
  void send_message(uint32_t id, Stream& stream);
  bool give_up(const std::string& why);

  Run* const run_;
  int fd_ = -1;
  SSL* ssl_ = nullptr;
  bool connecting_ = true, ready_ = false, finished_ = false;
  bool rejected_ = false;  // no new RPC here
  std::string rest_, out_, block_;
  uint32_t block_stream_ = 0;
  bool block_ends_ = false;
  size_t sent_ = 0;
  RequestHeaders requests_;
  ResponseHeaders responses_;
  StreamTable<Stream> streams_;
  uint32_t next_id_ = 1;
  int64_t window_ = 65535;
  uint32_t initial_window_ = 65535;
  uint32_t consumed_ = 0;
  std::vector<uint32_t> waiting_;
};

}  // namespace weir::bench
