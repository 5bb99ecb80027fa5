// One socket, plain or TLS: whole reads in, one write out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/buffer.h"
#include "net/sockets.h"
#include "net/tls.h"
#include "net/tls_io.h"

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
  Transport(BufferPool& buffers, int fd, Sockets& sockets = system_sockets())
      : raw_out_(buffers), io_(raw_out_), fd_(fd), sockets_(sockets) {}
  // In the role of `tls`: server or client. A client's handshake begins with the first write(), also of nothing.
  // resume: a session from take_session() of an earlier connection to the same peer, or null.
  Transport(BufferPool& buffers, int fd, std::shared_ptr<const TlsContext> tls, Sockets& sockets = system_sockets(),
            ssl_session_st* resume = nullptr);
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // One read(2). The bytes stand in `scratch` until its next use; with Closed or Failed there may be some too. What TLS
  // answers may wait for the next write(): wants_write().
  Io read(ReadScratch& scratch, std::span<const uint8_t>& bytes);
  // The latest read() took all that had come; what comes later makes the socket readable anew.
  bool drained() const { return drained_; }
  // Takes from `out` what the socket takes, all in as few write(2) as records and size allow. Again: call
  // once more when the socket is writable (wants_write()).
  Io write(Buffer& out);
  // For many bytes: seals `out` and as much of `bytes` behind it as fills whole records, so that nobody copies them.
  // Returns how many of `bytes` were taken: 0 where there is nothing to seal, or enough waits for the socket already.
  size_t write_through(Buffer& out, std::span<const uint8_t> bytes);
  // There is something for the socket besides what is given to write().
  bool wants_write() const { return blocked_ || !raw_out_.empty(); }
  // Bytes the socket has taken so far.
  uint64_t bytes_written() const { return bytes_written_; }
  // TLS: close_notify; both: no more bytes from us.
  void shutdown_write();
  // Sent, but perhaps not with the peer's kernel yet: closing may lose it.
  bool in_flight() const { return sockets_.unacknowledged(fd_) > 0; }

  int fd() const { return fd_; }
  bool tls() const { return context_ != nullptr; }
  bool handshake_done() const { return context_ == nullptr || handshake_done_; }
  const std::string& error() const { return error_; }

  // Once the handshake is done; the texts live as long as the transport.
  TlsInfo tls_info() const;
  // Why the handshake failed; None before, after, and for plain connections and peers that never said a word.
  TlsFailure tls_failure() const { return failure_; }
  // KeyUpdates (RFC 8446 §4.6.3) and refused renegotiations that the latest read() met: OpenSSL answers the latter one
  // by one, whether the socket takes bytes or not. More than the limit: Failed, and the rest of what had come is lost.
  static constexpr uint32_t kLateMessagesMax = 32;
  uint32_t late_messages() const { return io_.late_messages; }
  // Client: the latest session the server gave, once.
  TlsSession take_session();

 private:
  Io read_tls(ReadScratch& scratch, std::span<const uint8_t>& bytes);
  Io read_records(ReadScratch& scratch, std::span<const uint8_t>& bytes);
  TlsRecords::Opened open_records(uint8_t* to, size_t& total);
  Io finish_read(Io result, ReadScratch& scratch, size_t total, std::span<const uint8_t>& bytes);
  Io outcome_of(int result);
  bool take_records();
  Io flush_raw() { return send_all(raw_out_); }
  Io send_all(Buffer& out);
  Io seal(Buffer& out);
  Io note_handshake();
  void note_failure();
  void note_lost();

  Buffer raw_out_;  // TLS records the socket has not taken
  size_t raw_out_hint_ = 0;  // the latest turn's
  TlsIo io_;
  int fd_;
  Sockets& sockets_;
  std::shared_ptr<const TlsContext> context_;  // null: no TLS
  ssl_st* ssl_ = nullptr;                      // null, too, when `own_` has taken over
  // A server's TLS 1.3 connection behind its handshake.
  struct Own {
    TlsRecords records;
    Buffer partial;  // a record that has not come whole
    TlsInfo info;
    std::string server_name;
  };
  std::unique_ptr<Own> own_;
  uint64_t bytes_written_ = 0;
  bool handshake_done_ = false;
  bool blocked_ = false;
  bool drained_ = true;
  TlsFailure failure_ = TlsFailure::None;
  std::string error_;
};

}  // namespace weir::net
