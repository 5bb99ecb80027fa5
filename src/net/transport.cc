#include "net/transport.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"

namespace weir::net {

namespace {
constexpr size_t kRecordBytesMax = 16384;
constexpr size_t kSealAheadBytes = 128u
                                   << 10;  // sealed at a time: what may stand in raw_out_ beyond the socket
}  // namespace

// The BIO between OpenSSL and a Transport: reads what read() received, writes into raw_out_.
struct TransportBio {
  static int read(BIO* bio, char* out, int size) {
    auto* t = static_cast<Transport*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (t->raw_in_left_ == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    size_t n = std::min(static_cast<size_t>(size), t->raw_in_left_);
    std::memcpy(out, t->raw_in_, n);
    t->raw_in_ += n;
    t->raw_in_left_ -= n;
    return static_cast<int>(n);
  }
  static int write(BIO* bio, const char* bytes, int size) {
    auto* t = static_cast<Transport*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    t->raw_out_.append(bytes, static_cast<size_t>(size));
    return size;
  }
  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }
  static BIO_METHOD* method() {
    static BIO_METHOD* m = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir transport");
      WEIR_ASSERT(made != nullptr);
      BIO_meth_set_read(made, read);
      BIO_meth_set_write(made, write);
      BIO_meth_set_ctrl(made, control);
      return made;
    }();
    return m;
  }
};

Transport::Transport(BufferPool& buffers, int fd, std::shared_ptr<const TlsServerContext> tls)
    : raw_out_(buffers), fd_(fd), ssl_(tls->new_session()), context_(std::move(tls)) {
  WEIR_ASSERT(ssl_ != nullptr);
  BIO* bio = BIO_new(TransportBio::method());
  WEIR_ASSERT(bio != nullptr);
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
}

Transport::~Transport() {
  if (ssl_ != nullptr) SSL_free(ssl_);
  ::close(fd_);
}

Io Transport::read(ReadScratch& scratch, std::span<const uint8_t>& bytes) {
  bytes = {};
  ssize_t n = ::recv(fd_, scratch.raw.get(), ReadScratch::kRawBytes, 0);
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return Io::Again;
    error_ = std::strerror(errno);
    return Io::Failed;
  }
  if (n == 0) return Io::Closed;
  if (ssl_ == nullptr) {
    bytes = {scratch.raw.get(), static_cast<size_t>(n)};
    return Io::Ok;
  }
  raw_in_ = scratch.raw.get();
  raw_in_left_ = static_cast<size_t>(n);
  Io io = read_tls(scratch, bytes);
  raw_in_left_ = 0;
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
      if (raw_in_left_ == 0 && SSL_pending(ssl_) == 0) break;
      continue;
    }
    int why = SSL_get_error(ssl_, ok);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) break;
    if (why == SSL_ERROR_ZERO_RETURN) {
      result = Io::Closed;
      break;
    }
    char text[256] = "TLS error";
    if (unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof text);
    error_ = text;
    ERR_clear_error();
    result = Io::Failed;
    break;
  }
  if (!handshake_done_ && SSL_is_init_finished(ssl_)) handshake_done_ = true;
  if (!raw_out_.empty()) flush_raw();  // handshake flights, alerts, KeyUpdate answers
  bytes = {scratch.plain.get(), total};
  return result;
}

Io Transport::send_all(Buffer& out) {
  while (!out.empty()) {
    ssize_t n = ::send(fd_, out.data(), out.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      blocked_ = errno == EAGAIN;
      if (blocked_) return Io::Again;
      error_ = std::strerror(errno);
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
  ::shutdown(fd_, SHUT_WR);
}

}  // namespace weir::net
