// TLS that repeats bit for bit: OpenSSL's randomness from a seed, a certificate made on the spot, client sessions.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <string>

#include "net/tls.h"

namespace weir::sim {

// From now on every random byte that OpenSSL asks for comes from this seed. For this process only; never for keys
// that protect anything.
void seed_openssl(uint64_t seed);

// Self-signed P-256 certificates for "sim.example", the same for the whole process; `which` is below kCertificates.
// Made, as the contexts of TlsEnd are, at the first call of seed_openssl() at the latest, so that later seeds find the
// same state whatever ran before.
inline constexpr int kCertificates = 3;
const net::TlsCertificate& certificate(int which = 0);

// One TLS session over memory, of a client (1.3) or of a server (1.2 too): ciphertext in, plain bytes out, and back. A
// client does not verify its server; a server gives tickets and takes h2 alone.
class TlsEnd {
 public:
  enum class Role : uint8_t { Client, Server };
  explicit TlsEnd(Role role);
  ~TlsEnd();
  TlsEnd(const TlsEnd&) = delete;
  TlsEnd& operator=(const TlsEnd&) = delete;

  // Appends what `plain` becomes to the ciphertext of take_output(). Keeps it until the handshake is over.
  void write(std::string_view plain);
  // Appends the plain bytes to `plain`. False: the session failed; closed() tells an orderly end.
  bool read(std::string_view cipher, std::string& plain);
  std::string take_output();
  bool ready() const { return ready_; }
  bool closed() const { return closed_; }
  bool resumed() const { return SSL_session_reused(ssl_) == 1; }
  void close_notify();

 private:
  bool advance(std::string& plain);
  SSL* ssl_;
  std::string waiting_;
  bool ready_ = false;
  bool closed_ = false;
};

}  // namespace weir::sim
