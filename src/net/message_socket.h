// A unix stream socket that carries length-prefixed frames and descriptors (SCM_RIGHTS).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/loop.h"

namespace weir::net {

// Owns one connected socket on a loop. Frames: u32 little-endian length, then that many bytes. Descriptors
// sent with a frame (at most 253) arrive with it, in order, and belong to the receiver. Everything is
// on the loop's thread.
class MessageSocket final : FdHandler {
 public:
  struct Events {
    // One whole frame without its length, and the descriptors that came with it.
    std::function<void(std::span<const uint8_t> frame, std::vector<int> fds)> on_frame;
    // The peer is gone or broke the framing; called once, last. Destroying the socket inside is not allowed:
    // post it to the loop.
    std::function<void(const std::string& why)> on_close;
  };
  // Takes the descriptor over. frame_bytes_max bounds memory for one frame.
  MessageSocket(Loop& loop, int fd, size_t frame_bytes_max, Events events);
  ~MessageSocket();
  MessageSocket(const MessageSocket&) = delete;
  MessageSocket& operator=(const MessageSocket&) = delete;

  // `frame` starts with its length. `fds` are duplicated by the kernel; the caller keeps its own.
  void send(std::string frame, std::vector<int> fds = {});
  // Bytes accepted by send() and not yet by the kernel.
  size_t unsent_bytes() const { return unsent_bytes_; }
  bool closed() const { return fd_ < 0; }

 private:
  struct Out {
    std::string bytes;
    std::vector<int> fds;
    size_t sent = 0;
  };
  void on_ready(uint32_t events) override;
  void read_some();
  bool read_bytes(size_t most);
  void write_some();
  void close_with(const std::string& why);

  Loop& loop_;
  int fd_;
  size_t frame_bytes_max_;
  Events events_;
  std::vector<uint8_t> in_;
  std::vector<int> fds_in_;
  std::vector<Out> out_;
  size_t unsent_bytes_ = 0;
  bool want_write_ = false;
};

// Connects to the unix socket at `path`; the descriptor is non-blocking and close-on-exec.
Result<int> connect_unix(const std::string& path);
// Listens at `path` (mode 0600), replacing a stale socket file.
Result<int> listen_unix(const std::string& path);
// The uid of the process at the other end (SO_PEERCRED).
Result<uint32_t> peer_uid(int fd);
// A listening TCP socket, non-blocking, close-on-exec, SO_REUSEADDR. Error code is errno (EADDRINUSE, …).
Result<int> listen_tcp(const std::string& address, uint16_t port);

}  // namespace weir::net
