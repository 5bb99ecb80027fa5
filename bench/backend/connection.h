#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "h2_wire.h"
#include "stream_table.h"

namespace weir::bench {

struct Counters {
  uint64_t rpcs = 0;  // ended with trailers
  uint64_t connections = 0;
};

// One cleartext HTTP/2 connection of the bench backend. It never looks into request headers: what it
// answers follows from the first message alone.
//   empty message           -> the message 08 01 (HealthCheckResponse SERVING), so health checks pass
//   "\x7fSTR" count size    -> count messages of size bytes (both 32 bits, big endian)
//   anything else           -> the bytes back as they come
// Trailers follow when the client's side has ended (or after the last message of a count).
class Connection {
 public:
  Connection(int fd, Counters* counters) : fd_(fd), counters_(counters) {}
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // One read into `buffer` (shared by all connections), and all that follows from it. False: it is over.
  bool on_readable(std::string& buffer);
  // Sends what there is. False: it is over.
  bool flush();
  bool wants_write() const { return sent_ < out_.size(); }
  // Backpressure: a client that does not read its answers is not read from either.
  bool wants_read() const { return out_.size() - sent_ < kOutputMax; }
  int fd() const { return fd_; }

 private:
  static constexpr size_t kOutputMax = 8u << 20;
  static constexpr size_t kPumpAhead = 256u << 10;  // of counted messages, per connection
  static constexpr size_t kPendingMax = 64u << 20;  // per stream, waiting for window
  static constexpr size_t kHeadMax = kMessagePrefix + 12;

  struct Stream {
    int64_t window = 0;
    uint32_t consumed = 0;  // received, credit not yet returned
    bool answered = false;  // response headers are out
    bool decided = false;   // head is complete
    bool counted = false;   // counted messages under way
    bool ended = false;     // the client's side
    uint8_t head_size = 0;
    char head[kHeadMax];
    uint32_t message_size = 0;
    uint64_t left = 0;  // bytes of counted messages still to send
    std::string pending;  // waits for window
  };

  // How many bytes of `input` were used; < 0: protocol error.
  long parse(std::string_view input);
  bool on_frame(const FrameHeader& header, const char* payload);
  bool on_data(const FrameHeader& header, const char* payload);
  bool on_settings(const FrameHeader& header, const char* payload);
  void on_window_update(uint32_t stream, uint32_t credit);
  void feed(uint32_t id, Stream& stream, std::string_view bytes);
  void decide(uint32_t id, Stream& stream);
  void answer_headers(uint32_t id, Stream& stream);
  bool send(uint32_t id, Stream& stream, std::string_view bytes);
  void pump(uint32_t id, Stream& stream);
  void pump_all();
  void finish_if_done(uint32_t id, Stream& stream);
  void add_size_update(std::string& block);

  const int fd_;
  Counters* const counters_;
  std::string rest_;  // the beginning of a frame
  std::string out_;
  size_t sent_ = 0;
  bool greeted_ = false;
  int64_t window_ = 65535;
  uint32_t initial_window_ = 65535;
  uint32_t consumed_ = 0;
  uint32_t header_table_ = 4096;
  bool size_update_due_ = false;
  bool header_entry_ = false, trailer_entry_ = false;  // content-type / grpc-status are in the table
  uint32_t content_type_index_ = 0;
  StreamTable<Stream> streams_;
  std::vector<uint32_t> waiting_;  // streams with pending bytes or counted messages; may hold ended ones
};

}  // namespace weir::bench
