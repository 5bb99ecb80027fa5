// TLS for listeners: certificates by SNI, ALPN h2, OpenSSL 3 behind a BIO that never touches a socket.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

struct ssl_st;
struct ssl_ctx_st;

namespace weir::net {

// Feeds OpenSSL's allocations from per-thread free lists, so that steady state asks the heap for nothing.
// Call first in main(), before anything uses OpenSSL.
void use_pooled_openssl_memory();

struct TlsCertificate {
  std::string chain_pem;           // leaf first
  std::string key_pem;
  std::vector<std::string> names;  // "a.example", "*.b.example" (one label, RFC 6125 §6.4.3)
};

// Immutable once made; shared by workers and kept alive by the connections that came through it.
class TlsServerContext {
 public:
  // The first certificate is the default: for no SNI, and for SNI that matches nothing (ELB listeners).
  // policy: an ELB security policy name; decides versions and ciphers. TLS below 1.2 is never offered, since
  // HTTP/2 forbids it (RFC 9113 §9.2).
  static Result<std::shared_ptr<const TlsServerContext>> make(const std::vector<TlsCertificate>& certificates,
                                                              const std::string& policy);
  ~TlsServerContext();
  TlsServerContext(const TlsServerContext&) = delete;
  TlsServerContext& operator=(const TlsServerContext&) = delete;

  // A server-side session; the caller owns it.
  ssl_st* new_session() const;

 private:
  struct Impl;
  explicit TlsServerContext(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::net
