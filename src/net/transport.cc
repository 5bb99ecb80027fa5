#include "net/transport.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/assert.h"

namespace weir::net {

namespace {
constexpr size_t kRecordBytesMax = 16384;
constexpr size_t kSealAheadBytes = 128u << 10;  // sealed at a time: what may stand in raw_out_ beyond the socket
}  // namespace

Transport::Transport(BufferPool& buffers, int fd, std::shared_ptr<const TlsContext> tls, Sockets& sockets,
                     ssl_session_st* resume)
    : raw_out_(buffers),
      io_(raw_out_),
      fd_(fd),
      sockets_(sockets),
      ssl_(tls->new_session(io_, resume)),
      context_(std::move(tls)) {
  WEIR_ASSERT(ssl_ != nullptr);
}

Transport::~Transport() {
  if (ssl_ != nullptr) {
    // Else OpenSSL takes the session for broken and does not resume it; how a stream ends is HTTP/2's matter.
    if (handshake_done_) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl_);
  }
  TlsSessionEnd()(io_.fresh_session);
  sockets_.close(fd_);
}

Io Transport::read(ReadScratch& scratch, std::span<const uint8_t>& bytes) {
  bytes = {};
  io_.late_messages = 0;
  ssize_t n = sockets_.receive(fd_, scratch.raw.get(), ReadScratch::kRawBytes);
  if (n < 0) {
    if (n == -EAGAIN || n == -EINTR) return Io::Again;
    error_ = std::strerror(static_cast<int>(-n));
    note_lost();
    return Io::Failed;
  }
  if (n == 0) {
    note_lost();
    return Io::Closed;
  }
  if (ssl_ == nullptr) {
    bytes = {scratch.raw.get(), static_cast<size_t>(n)};
    return Io::Ok;
  }
  io_.in = scratch.raw.get();
  io_.in_left = static_cast<size_t>(n);
  Io io = read_tls(scratch, bytes);
  io_.in_left = 0;
  return io;
}

Io Transport::read_tls(ReadScratch& scratch, std::span<const uint8_t>& bytes) {
  size_t total = 0;
  Io result = Io::Ok;
  while (total < ReadScratch::kPlainBytes) {
    size_t n = 0;
    int ok = SSL_read_ex(ssl_, scratch.plain.get() + total, ReadScratch::kPlainBytes - total, &n);
    if (ok == 1) {
      total += n;
      if (io_.in_left == 0 && SSL_pending(ssl_) == 0) break;
      continue;
    }
    int why = SSL_get_error(ssl_, ok);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) break;
    if (why == SSL_ERROR_ZERO_RETURN) {
      result = Io::Closed;
      break;
    }
    note_failure();
    result = Io::Failed;
    break;
  }
  if (!handshake_done_ && (total > 0 || SSL_is_init_finished(ssl_))) {
    failure_ = TlsFailure::None;  // what failed came after the handshake
    if (note_handshake() == Io::Failed) result = Io::Failed;
  }
  if (!raw_out_.empty()) flush_raw();  // handshake flights, alerts, KeyUpdate answers
  if (io_.late_messages > kLateMessagesMax) {
    error_ = "TLS: too many KeyUpdate messages or renegotiations";
    result = Io::Failed;
  }
  bytes = {scratch.plain.get(), total};
  return result;
}

// The peer is gone. One that never began a handshake has not failed it.
void Transport::note_lost() {
  if (ssl_ == nullptr || handshake_done_ || failure_ != TlsFailure::None || SSL_in_before(ssl_) != 0) return;
  failure_ = TlsFailure::PeerClosed;
}

void Transport::note_failure() {
  unsigned long code = ERR_get_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  error_ = std::string("TLS: ") + (reason == nullptr ? "protocol error" : reason);
  if (!handshake_done_) failure_ = tls_failure_of(code);
  ERR_clear_error();
}

// A server's ALPN has been decided by its callback; a client sees here what the server chose.
Io Transport::note_handshake() {
  const unsigned char* protocol = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &protocol, &size);
  bool h2 = size == 2 && std::memcmp(protocol, "h2", 2) == 0;
  if (!h2 && SSL_is_server(ssl_) == 0) {
    error_ = "TLS: the server did not choose h2 by ALPN";
    failure_ = TlsFailure::NoSharedProtocol;
    return Io::Failed;
  }
  handshake_done_ = true;
  return Io::Ok;
}

TlsInfo Transport::tls_info() const {
  WEIR_ASSERT(ssl_ != nullptr && handshake_done_);
  TlsInfo info;
  info.protocol = SSL_get_version(ssl_);
  info.cipher = SSL_get_cipher_name(ssl_);
  if (int group = static_cast<int>(SSL_get_negotiated_group(ssl_)); group != 0) {
    if (const char* name = SSL_group_to_name(ssl_, group)) info.key_exchange = name;
  }
  if (const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name)) info.server_name = name;
  info.resumed = SSL_session_reused(ssl_) == 1;
  info.certificate = info.resumed ? -1 : io_.certificate;
  if (info.certificate >= 0) info.certificate_id = io_.server->certificate_id(info.certificate);
  return info;
}

TlsSession Transport::take_session() { return TlsSession(std::exchange(io_.fresh_session, nullptr)); }

Io Transport::send_all(Buffer& out) {
  while (!out.empty()) {
    ssize_t n = sockets_.send(fd_, out.data(), out.size());
    if (n < 0) {
      if (n == -EINTR) continue;
      blocked_ = n == -EAGAIN;
      if (blocked_) return Io::Again;
      error_ = std::strerror(static_cast<int>(-n));
      return Io::Failed;
    }
    out.consume(static_cast<size_t>(n));
    bytes_written_ += static_cast<uint64_t>(n);
  }
  blocked_ = false;
  return Io::Ok;
}

Io Transport::seal(Buffer& out) {
  size_t sealed = 0;
  while (!out.empty() && sealed < kSealAheadBytes) {
    size_t n = 0;
    int ok = SSL_write_ex(ssl_, out.data(), std::min(out.size(), kRecordBytesMax), &n);
    if (ok != 1) {
      int why = SSL_get_error(ssl_, ok);
      if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return Io::Again;
      error_ = "TLS write failed";
      ERR_clear_error();
      return Io::Failed;
    }
    out.consume(n);
    sealed += n;
  }
  return Io::Ok;
}

Io Transport::write(Buffer& out) {
  if (ssl_ == nullptr) return send_all(out);
  if (!handshake_done_ && SSL_in_before(ssl_) != 0 && SSL_is_server(ssl_) == 0) {
    SSL_do_handshake(ssl_);  // ClientHello
    ERR_clear_error();
  }
  if (Io io = flush_raw(); io != Io::Ok) return io;
  while (!out.empty() && handshake_done_) {
    if (Io io = seal(out); io != Io::Ok) return io;
    if (Io io = flush_raw(); io != Io::Ok) return io;
  }
  return Io::Ok;
}

void Transport::shutdown_write() {
  if (ssl_ != nullptr && handshake_done_) {
    SSL_shutdown(ssl_);
    flush_raw();
  }
  sockets_.shutdown_write(fd_);
}

}  // namespace weir::net
