#include "net/tls_certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <strings.h>

#include <algorithm>

namespace weir::net {

namespace {

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, BioFree>;

BioPtr memory_bio(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<void> load_chain(SSL_CTX* ctx, const std::string& pem) {
  BioPtr chain = memory_bio(pem);
  X509* leaf = PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr);
  if (leaf == nullptr) return openssl_failure("certificate does not parse");
  int used = SSL_CTX_use_certificate(ctx, leaf);
  X509_free(leaf);
  if (used != 1) return openssl_failure("certificate is refused");
  while (X509* next = PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr)) {
    if (SSL_CTX_add0_chain_cert(ctx, next) == 1) continue;
    X509_free(next);
    return openssl_failure("chain certificate is refused");
  }
  ERR_clear_error();
  return {};
}

Result<void> load_key(SSL_CTX* ctx, const std::string& pem) {
  BioPtr bio = memory_bio(pem);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr);
  if (key == nullptr) return openssl_failure("private key does not parse");
  int used = SSL_CTX_use_PrivateKey(ctx, key);
  EVP_PKEY_free(key);
  if (used == 1 && SSL_CTX_check_private_key(ctx) == 1) return {};
  return openssl_failure("private key does not belong to the certificate");
}

int64_t unix_seconds(const ASN1_TIME* time) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return timegm(&parts);
}

bool same_text(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// Raw signature schemes (RFC 8446 §4.2.3) with which a key can sign in TLS 1.3.
bool signs_in_tls13(bool ecdsa, int curve, int scheme) {
  switch (scheme) {
    case 0x0403: return ecdsa && curve == NID_X9_62_prime256v1;
    case 0x0503: return ecdsa && curve == NID_secp384r1;
    case 0x0603: return ecdsa && curve == NID_secp521r1;
    case 0x0804:
    case 0x0805:
    case 0x0806: return !ecdsa;
    default: return false;
  }
}

// The client names a signature scheme for the key, or none at all (before TLS 1.2).
bool has_signature_scheme(SSL* ssl, bool ecdsa, int curve) {
  bool tls13 = SSL_version(ssl) == TLS1_3_VERSION;
  int count = SSL_get_sigalgs(ssl, -1, nullptr, nullptr, nullptr, nullptr, nullptr);
  for (int i = 0; i < count; ++i) {
    unsigned char signature = 0;
    unsigned char hash = 0;
    SSL_get_sigalgs(ssl, i, nullptr, nullptr, nullptr, &signature, &hash);
    int scheme = hash << 8 | signature;
    if (signs_in_tls13(ecdsa, curve, scheme)) return true;
    // RSA of RFC 5246; for ECDSA before TLS 1.3 the curve does not belong to the scheme.
    if (!tls13 && hash <= 6 && signature == (ecdsa ? 3 : 1)) return true;
  }
  return count == 0;
}

bool has_cipher(SSL* ssl, bool ecdsa) {
  STACK_OF(SSL_CIPHER)* theirs = SSL_get_client_ciphers(ssl);
  STACK_OF(SSL_CIPHER)* ours = SSL_get_ciphers(ssl);
  int wanted = ecdsa ? NID_auth_ecdsa : NID_auth_rsa;
  for (int i = 0; i < sk_SSL_CIPHER_num(theirs); ++i) {
    const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(theirs, i);
    if (SSL_CIPHER_get_auth_nid(cipher) != wanted) continue;
    for (int j = 0; j < sk_SSL_CIPHER_num(ours); ++j) {
      if (sk_SSL_CIPHER_value(ours, j) == cipher) return true;
    }
  }
  return false;
}

bool has_group(SSL* ssl, int curve) {
  constexpr int kGroupsMax = 64;
  int groups[kGroupsMax];
  int count = static_cast<int>(SSL_get1_groups(ssl, nullptr));
  if (count <= 0 || count > kGroupsMax) return true;  // none named: any (RFC 4492 §4)
  SSL_get1_groups(ssl, groups);
  return std::find(groups, groups + count, curve) != groups + count;
}

}  // namespace

std::unexpected<Error> openssl_failure(const std::string& what) {
  char text[256] = "unknown error";
  if (unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return fail(what + ": " + text);
}

Result<void> CertificateChoice::add(SslContextPtr context, const TlsCertificate& certificate) {
  WEIR_TRY(load_chain(context.get(), certificate.chain_pem));
  WEIR_TRY(load_key(context.get(), certificate.key_pem));
  X509* leaf = SSL_CTX_get0_certificate(context.get());
  EVP_PKEY* key = X509_get0_pubkey(leaf);
  Entry entry;
  entry.names = certificate.names;
  entry.ecdsa = EVP_PKEY_get_base_id(key) == EVP_PKEY_EC;
  if (entry.ecdsa) {
    char group[64] = "";
    EVP_PKEY_get_group_name(key, group, sizeof group, nullptr);
    entry.curve = OBJ_txt2nid(group);
  }
  int hash = NID_undef;
  X509_get_signature_info(leaf, &hash, nullptr, nullptr, nullptr);
  if (const EVP_MD* digest = EVP_get_digestbynid(hash)) entry.hash_bytes = EVP_MD_get_size(digest);
  entry.key_bits = EVP_PKEY_get_bits(key);
  entry.not_before = unix_seconds(X509_get0_notBefore(leaf));
  entry.not_after = unix_seconds(X509_get0_notAfter(leaf));
  entry.context = std::move(context);
  entries_.push_back(std::move(entry));
  return {};
}

CertificateChoice::Match CertificateChoice::match(const Entry& entry, std::string_view host) {
  Match found = Match::None;
  size_t dot = host.find('.');
  std::string_view rest = dot == std::string_view::npos || dot == 0 ? std::string_view() : host.substr(dot);
  for (const std::string& name : entry.names) {
    if (!name.starts_with("*.")) {
      if (same_text(name, host)) return Match::Exact;
    } else if (!rest.empty() && same_text(std::string_view(name).substr(1), rest)) {
      found = Match::Wildcard;
    }
  }
  return found;
}

bool CertificateChoice::usable(const Entry& entry, SSL* ssl) {
  if (!has_signature_scheme(ssl, entry.ecdsa, entry.curve)) return false;
  if (SSL_version(ssl) == TLS1_3_VERSION) return true;
  return has_cipher(ssl, entry.ecdsa) && (!entry.ecdsa || has_group(ssl, entry.curve));
}

bool CertificateChoice::better(const Entry& a, Match match_a, const Entry& b, Match match_b, int64_t unix_s) {
  if (a.ecdsa != b.ecdsa) return a.ecdsa;
  bool valid_a = unix_s <= a.not_after;
  bool valid_b = unix_s <= b.not_after;
  if (valid_a != valid_b) return valid_a;
  if (a.hash_bytes != b.hash_bytes) return a.hash_bytes > b.hash_bytes;
  if (a.key_bits != b.key_bits) return a.key_bits > b.key_bits;
  int64_t period_a = a.not_after - a.not_before;
  int64_t period_b = b.not_after - b.not_before;
  if (period_a != period_b) return period_a > period_b;
  return match_a > match_b;
}

int CertificateChoice::choose(SSL* ssl, int64_t unix_s) const {
  const char* name = entries_.size() > 1 ? SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) : nullptr;
  if (name == nullptr) return 0;
  std::string_view host = name;
  int best = -1;
  int first = -1;  // the client can use none of them: it hears so from the handshake
  Match best_match = Match::None;
  for (size_t i = 0; i < entries_.size(); ++i) {
    Match matched = match(entries_[i], host);
    if (matched == Match::None) continue;
    if (first < 0) first = static_cast<int>(i);
    if (!usable(entries_[i], ssl)) continue;
    if (best >= 0 && !better(entries_[i], matched, entries_[static_cast<size_t>(best)], best_match, unix_s)) continue;
    best = static_cast<int>(i);
    best_match = matched;
  }
  return best >= 0 ? best : std::max(first, 0);
}

}  // namespace weir::net
