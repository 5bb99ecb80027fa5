// The certificates of a listener and the choice among them. For net/ only.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "net/tls.h"

namespace weir::net {

struct SslContextFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using SslContextPtr = std::unique_ptr<SSL_CTX, SslContextFree>;

// "what: what OpenSSL says"; clears OpenSSL's errors.
std::unexpected<Error> openssl_failure(const std::string& what);

class CertificateChoice {
 public:
  // Loads the certificate into its context, which it takes over. The first one is the default.
  Result<void> add(SslContextPtr context, const TlsCertificate& certificate);
  SSL_CTX* default_context() const { return entries_[0].context.get(); }
  SSL_CTX* context(int index) const { return entries_[static_cast<size_t>(index)].context.get(); }
  // For a session that has read its ClientHello: the place of the certificate to use. unix_s: what is expired.
  int choose(SSL* ssl, int64_t unix_s) const;

 private:
  enum class Match : uint8_t { None, Wildcard, Exact };
  struct Entry {
    SslContextPtr context;
    std::vector<std::string> names;
    bool ecdsa = false;
    int curve = 0;         // NID, of ECDSA keys
    int hash_bytes = 0;    // of its signature
    int key_bits = 0;
    int64_t not_before = 0;
    int64_t not_after = 0;
  };
  static Match match(const Entry& entry, std::string_view host);
  static bool usable(const Entry& entry, SSL* ssl);
  static bool better(const Entry& a, Match match_a, const Entry& b, Match match_b, int64_t unix_s);
  std::vector<Entry> entries_;
};

}  // namespace weir::net
