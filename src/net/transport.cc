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
constexpr size_t kRecord = TlsRecords::kContentBytesMax;
// What may stand in raw_out_, and one record more, so that a rest of some bytes needs no write of its own.
constexpr size_t kSealAheadBytes = 128u << 10;
}  // namespace

Transport::Transport(BufferPool& buffers, int fd, std::shared_ptr<const TlsContext> tls, Sockets& sockets,
                     ssl_session_st* resume)
    : raw_out_(buffers),
      io_(raw_out_),
      fd_(fd),
      sockets_(sockets),
      context_(std::move(tls)),
      ssl_(context_->new_session(io_, resume)) {
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
  drained_ = n < static_cast<ssize_t>(ReadScratch::kRawBytes) && n != -EINTR;
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
  if (context_ == nullptr) {
    bytes = {scratch.raw.get(), static_cast<size_t>(n)};
    return Io::Ok;
  }
  io_.in = scratch.raw.get();
  io_.in_left = static_cast<size_t>(n);
  Io io = own_ != nullptr ? read_records(scratch, bytes) : read_tls(scratch, bytes);
  io_.in_left = 0;
  return io;
}

// The records behind the handshake. What one read brings fits the scratch: it is longer than its content.
Io Transport::read_records(ReadScratch& scratch, std::span<const uint8_t>& bytes) {
  size_t total = 0;
  TlsRecords::Opened opened = open_records(scratch.plain.get(), total);
  Io result = Io::Ok;
  if (opened == TlsRecords::Opened::Closed) result = Io::Closed;
  if (opened == TlsRecords::Opened::Failed) {
    error_ = "TLS: " + std::string(own_->records.error());
    result = Io::Failed;
  }
  return finish_read(result, scratch, total, bytes);
}

// Opens what stands in io_.in; the begin of a record that has not come whole is kept.
TlsRecords::Opened Transport::open_records(uint8_t* to, size_t& total) {
  using Opened = TlsRecords::Opened;
  Buffer& partial = own_->partial;
  auto take = [&](Buffer& keep, size_t size) {
    keep.append(io_.in, size);
    io_.in += size;
    io_.in_left -= size;
  };
  while (io_.in_left > 0) {
    if (!partial.empty() && partial.size() < TlsRecords::kHeaderBytes) {
      take(partial, std::min(TlsRecords::kHeaderBytes - partial.size(), io_.in_left));
      if (partial.size() < TlsRecords::kHeaderBytes) return Opened::Ok;
      continue;  // which may have been all
    }
    if (partial.empty() && io_.in_left < TlsRecords::kHeaderBytes) {
      take(partial, io_.in_left);
      return Opened::Ok;
    }
    size_t size = TlsRecords::record_size(partial.empty() ? io_.in : partial.data());
    if (size == 0) return own_->records.refuse_too_long(raw_out_);
    const uint8_t* record = io_.in;
    if (!partial.empty() || io_.in_left < size) {
      take(partial, std::min(size - partial.size(), io_.in_left));
      if (partial.size() < size) return Opened::Ok;
      record = partial.data();
    } else {
      io_.in += size;
      io_.in_left -= size;
    }
    size_t content = 0;
    Opened opened = own_->records.open({record, size}, to + total, content, raw_out_, io_.late_messages);
    partial.release();
    total += content;
    if (opened != Opened::Ok) return opened;
    if (io_.late_messages > kLateMessagesMax) return Opened::Ok;  // the rest is lost, see finish_read()
  }
  return Opened::Ok;
}

// What OpenSSL's failure to read or to shake hands means: Ok where it waits for more.
Io Transport::outcome_of(int result) {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return Io::Ok;
    case SSL_ERROR_ZERO_RETURN: return Io::Closed;
    default: note_failure(); return Io::Failed;
  }
}

// Goes on without OpenSSL's session, if it has left the records to us.
bool Transport::take_records() {
  if (io_.sealing == nullptr || SSL_has_pending(ssl_) != 0) return false;
  auto suite = static_cast<uint16_t>(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl_)));
  auto opening = TrafficKey::make(suite, TrafficKey::Use::Open, io_.secrets->client());
  if (opening == nullptr) return false;
  TlsInfo info = tls_info();
  own_.reset(new Own{{std::move(io_.sealing), std::move(opening)}, Buffer(raw_out_.pool()), info,
                     std::string(info.server_name)});
  own_->info.server_name = own_->server_name;
  SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(std::exchange(ssl_, nullptr));
  return true;
}

Io Transport::read_tls(ReadScratch& scratch, std::span<const uint8_t>& bytes) {
  if (!handshake_done_ && SSL_is_server(ssl_) == 1) {
    if (int done = SSL_do_handshake(ssl_); done != 1) return finish_read(outcome_of(done), scratch, 0, bytes);
    note_handshake();
    bool taken = take_records();
    io_.secrets.reset();
    if (taken) return read_records(scratch, bytes);
  }
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
    result = outcome_of(ok);
    break;
  }
  if (!handshake_done_ && (total > 0 || SSL_is_init_finished(ssl_))) {
    failure_ = TlsFailure::None;  // what failed came after the handshake
    if (note_handshake() == Io::Failed) result = Io::Failed;
  }
  return finish_read(result, scratch, total, bytes);
}

Io Transport::finish_read(Io result, ReadScratch& scratch, size_t total, std::span<const uint8_t>& bytes) {
  // Handshake flights and alerts leave at once; tickets and answers to KeyUpdate go with what the turn writes.
  if (!raw_out_.empty() && (!handshake_done_ || result != Io::Ok)) flush_raw();
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
  WEIR_ASSERT(context_ != nullptr && handshake_done_);
  if (own_ != nullptr) return own_->info;
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
  if (own_ != nullptr) {
    size_t room = kSealAheadBytes + kRecord - std::min(raw_out_.size(), kSealAheadBytes + kRecord);
    size_t size = out.size() <= room ? out.size() : room / kRecord * kRecord;
    if (!own_->records.seal(raw_out_, out.bytes().first(size))) {
      error_ = "TLS write failed";
      ERR_clear_error();
      return Io::Failed;
    }
    out.consume(size);
    return Io::Ok;
  }
  size_t sealed = 0;
  while (!out.empty() && sealed < kSealAheadBytes) {
    size_t n = 0;
    int ok = SSL_write_ex(ssl_, out.data(), std::min(out.size(), kRecord), &n);
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

size_t Transport::write_through(Buffer& out, std::span<const uint8_t> bytes) {
  if (own_ == nullptr || blocked_ || raw_out_.size() >= kSealAheadBytes) return 0;
  if (raw_out_.empty()) raw_out_.reserve(raw_out_hint_);
  std::span<const uint8_t> left = bytes;
  while (out.size() + left.size() >= kRecord && raw_out_.size() < kSealAheadBytes) {
    size_t of_out = std::min(out.size(), kRecord);
    size_t of_left = kRecord - of_out;
    if (!own_->records.seal_one(raw_out_, out.bytes().first(of_out), left.first(of_left))) break;  // write() says so
    out.consume(of_out);
    left = left.subspan(of_left);
  }
  return bytes.size() - left.size();
}

Io Transport::write(Buffer& out) {
  if (context_ == nullptr) return send_all(out);
  if (!handshake_done_ && SSL_in_before(ssl_) != 0 && SSL_is_server(ssl_) == 0) {
    SSL_do_handshake(ssl_);  // ClientHello
    ERR_clear_error();
  }
  if (blocked_) {
    if (Io io = flush_raw(); io != Io::Ok) return io;
  }
  do {
    if (handshake_done_) {
      if (Io io = seal(out); io != Io::Ok) return io;
    }
    raw_out_hint_ = std::min(raw_out_.size(), kSealAheadBytes + 2 * kRecord);
    if (Io io = flush_raw(); io != Io::Ok) return io;
  } while (!out.empty() && handshake_done_);
  return Io::Ok;
}

void Transport::shutdown_write() {
  if (context_ != nullptr && handshake_done_) {
    if (own_ != nullptr) {
      own_->records.close_notify(raw_out_);
    } else {
      SSL_shutdown(ssl_);
    }
    flush_raw();
  }
  sockets_.shutdown_write(fd_);
}

}  // namespace weir::net
