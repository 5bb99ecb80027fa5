// The client and the target of the instruction count: raw HTTP/2 frames, as the load tools send them, in batches of a
// given size. Every response is checked.
#pragma once

#include <string>
#include <vector>

#include "h2_wire.h"
#include "loadgen/headers.h"
#include "sim/channel.h"

namespace weir::bench {

enum class Kind : uint8_t { Unary, PingPong };

struct Tally {
  uint64_t requests = 0;  // numbers them: no two have the same x-request-id
  uint64_t done = 0;   // RPCs or messages that came back whole
  uint64_t wrong = 0;
  std::string first_error;
  void error(std::string why) {
    if (++wrong == 1) first_error = std::move(why);
  }
};

// What both sides have in common: frames out of bytes, credit for the connection.
class Frames : public sim::ChannelUser {
 public:
  explicit Frames(Tally& tally) : tally_(tally) {}
  virtual ~Frames() = default;

 protected:
  void on_bytes(std::string_view bytes) override;
  void on_closed(std::string_view error) override { tally_.error("connection closed: " + std::string(error)); }
  virtual void on_frame(const FrameHeader& header, const char* payload) = 0;
  void greet();
  void credit(size_t bytes);

  Tally& tally_;
  std::string in_, out_;

 private:
  uint32_t consumed_ = 0;
};

class Client final : public Frames {
 public:
  Client(net::Loop& loop, sim::Network& network, int fd, Kind kind, Tally& tally);
  // In one write: `count` unary RPCs; or one message on each of the next `count` streams, opened as needed.
  void issue(uint32_t count);

 private:
  void on_frame(const FrameHeader& header, const char* payload) override;
  void open_stream(bool end);
  void add_message(uint32_t stream, bool end);

  Kind kind_;
  RequestHeaders headers_;
  ResponseHeaders responses_;
  uint32_t next_id_ = 1;
  std::vector<uint32_t> streams_;  // ping-pong
  size_t next_stream_ = 0;
  sim::Channel channel_;
};

class Target final : public Frames {
 public:
  Target(net::Loop& loop, sim::Network& network, int fd, Tally& tally);

 private:
  void on_bytes(std::string_view bytes) override;
  void on_frame(const FrameHeader& header, const char* payload) override;
  void answer_head(uint32_t stream);

  bool greeted_ = false;
  bool head_known_ = false, trailers_known_ = false;  // stand in the peer's table
  std::vector<bool> answered_;                        // by stream id / 2
  sim::Channel channel_;
};

}  // namespace weir::bench
