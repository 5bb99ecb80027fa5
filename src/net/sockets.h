// The system calls that connections make on stream sockets, so that a simulation can stand in for the kernel.
// A loop comes with the sockets of its world (Loop::sockets()): the descriptors of one mean nothing to another.
//
// Functions that can fail answer -errno. Everything is non-blocking. Thread: that of the loop.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>

namespace weir::net {

class Sockets {
 public:
  virtual ~Sockets() = default;
  // As recv(2): the number of bytes, 0 when the peer has ended its side.
  virtual ssize_t receive(int fd, void* out, size_t size) = 0;
  // As send(2), without SIGPIPE: the number of bytes taken.
  virtual ssize_t send(int fd, const void* bytes, size_t size) = 0;
  // A TCP socket that is connecting to `address` (no delay; a peer that vanished is noticed after 40 s, also while
  // nothing is sent; so is one that takes no byte for so long). The outcome shows when it becomes writable:
  // connect_error().
  virtual int connect(const sockaddr_storage& address, socklen_t size) = 0;
  // SO_ERROR: 0 when the socket is connected, else the positive errno.
  virtual int connect_error(int fd) = 0;
  virtual void shutdown_write(int fd) = 0;
  // SIOCOUTQ (tcp(7)): the bytes sent, and an end of them, that the peer's kernel has not acknowledged.
  virtual size_t unacknowledged(int fd) = 0;
  virtual void close(int fd) = 0;
};

// The kernel's. Shared by all threads.
Sockets& system_sockets();

}  // namespace weir::net
