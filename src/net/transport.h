// One socket, plain or TLS: whole reads in, one write out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/buffer.h"
#include "net/tls.h"

struct bio_st;

namespace weir::net {

// Scratch memory of a worker, shared by all its transports: an idle connection owns no read buffer.
struct ReadScratch {
  static constexpr size_t kRawBytes = 64u << 10;
  static constexpr size_t kPlainBytes = kRawBytes + (32u << 10);
  std::unique_ptr<uint8_t[]> raw = std::make_unique<uint8_t[]>(kRawBytes);
  std::unique_ptr<uint8_t[]> plain = std::make_unique<uint8_t[]>(kPlainBytes);
};

enum class Io : uint8_t {
  Ok,
  Again,   // would block
  Closed,  // the peer closed in order
  Failed,  // reset, or a TLS error; error() says which
};

// Owns the descriptor and the TLS session. One thread. Neither call blocks or calls back.
class Transport {
 public:
  Transport(BufferPool& buffers, int fd) : raw_out_(buffers), fd_(fd) {}
  Transport(BufferPool& buffers, int fd, std::shared_ptr<const TlsServerContext> tls);
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // One read(2). The bytes stand in `scratch` until its next use; with Closed or Failed there may be some too.
  Io read(ReadScratch& scratch, std::span<const uint8_t>& bytes);
  // Takes from `out` what the socket takes, all in as few write(2) as records and size allow. Again: call
  // once more when the socket is writable (wants_write()).
  Io write(Buffer& out);
  bool wants_write() const { return blocked_; }
  // Bytes the socket has taken so far.
  uint64_t bytes_written() const { return bytes_written_; }
  // TLS: close_notify; both: no more bytes from us.
  void shutdown_write();

  int fd() const { return fd_; }
  bool tls() const { return ssl_ != nullptr; }
  bool handshake_done() const { return ssl_ == nullptr || handshake_done_; }
  const std::string& error() const { return error_; }

 private:
  friend struct TransportBio;
  Io read_tls(ReadScratch& scratch, std::span<const uint8_t>& bytes);
  Io flush_raw() { return send_all(raw_out_); }
  Io send_all(Buffer& out);
  Io seal(Buffer& out);

  Buffer raw_out_;                     // TLS records the socket has not taken
  const uint8_t* raw_in_ = nullptr;    // what the BIO hands to OpenSSL, during read() only
  size_t raw_in_left_ = 0;
  int fd_;
  ssl_st* ssl_ = nullptr;
  std::shared_ptr<const TlsServerContext> context_;
  uint64_t bytes_written_ = 0;
  bool handshake_done_ = false;
  bool blocked_ = false;
  std::string error_;
};

}  // namespace weir::net
