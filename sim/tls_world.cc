#define OPENSSL_SUPPRESS_DEPRECATED  // RAND_set_rand_method has no successor that is this small
#include "sim/tls_world.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include <array>
#include <utility>

#include "base/assert.h"
#include "base/random.h"

namespace weir::sim {

namespace {

Random& tls_random() {
  static Random random(1);
  return random;
}

int random_bytes(unsigned char* out, int size) {
  for (int i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(tls_random().next());
  return 1;
}

const RAND_METHOD kSeeded = {nullptr, random_bytes, nullptr, nullptr, random_bytes, [] { return 1; }};

SSL_CTX* client_context() {
  static SSL_CTX* context = [] {
    SSL_CTX* made = SSL_CTX_new(TLS_client_method());
    WEIR_ASSERT(made != nullptr);
    SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(made, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set1_groups_list(made, "X25519");
    SSL_CTX_set_verify(made, SSL_VERIFY_NONE, nullptr);
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    return made;
  }();
  return context;
}

std::string pem_of(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

}  // namespace

namespace {
net::TlsCertificate make_certificate(int serial) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x509 = X509_new();
  WEIR_ASSERT(key != nullptr && x509 != nullptr);
  X509_set_version(x509, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x509), serial);
  ASN1_TIME_set_string(X509_getm_notBefore(x509), "20200101000000Z");
  ASN1_TIME_set_string(X509_getm_notAfter(x509), "20991231235959Z");
  X509_NAME* name = X509_get_subject_name(x509);
  auto* common_name = reinterpret_cast<const unsigned char*>("sim.example");
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, common_name, -1, -1, 0);
  X509_set_issuer_name(x509, name);
  X509_set_pubkey(x509, key);
  WEIR_ASSERT(X509_sign(x509, key, EVP_sha256()) > 0);
  BIO* chain = BIO_new(BIO_s_mem());
  BIO* secret = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(chain, x509);
  PEM_write_bio_PrivateKey(secret, key, nullptr, nullptr, 0, nullptr, nullptr);
  X509_free(x509);
  EVP_PKEY_free(key);
  return {pem_of(chain), pem_of(secret), {"sim.example"}};
}

X509* parse_certificate(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* x509 = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return x509;
}

EVP_PKEY* parse_key(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return key;
}

int choose_h2(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned in_size, void*) {
  static constexpr unsigned char kH2[] = {2, 'h', '2'};
  auto* place = const_cast<unsigned char**>(out);
  int found = SSL_select_next_proto(place, size, kH2, sizeof kH2, in, in_size);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

SSL_CTX* server_context() {
  static SSL_CTX* context = [] {
    SSL_CTX* made = SSL_CTX_new(TLS_server_method());
    WEIR_ASSERT(made != nullptr);
    SSL_CTX_set_min_proto_version(made, TLS1_2_VERSION);
    SSL_CTX_set_ciphersuites(made, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_cipher_list(made, "ECDHE-ECDSA-AES128-GCM-SHA256");
    SSL_CTX_set1_groups_list(made, "X25519:P-256");
    X509* x509 = parse_certificate(certificate().chain_pem);
    EVP_PKEY* key = parse_key(certificate().key_pem);
    WEIR_ASSERT(SSL_CTX_use_certificate(made, x509) == 1 && SSL_CTX_use_PrivateKey(made, key) == 1);
    X509_free(x509);
    EVP_PKEY_free(key);
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);  // tickets alone
    SSL_CTX_set_session_id_context(made, reinterpret_cast<const unsigned char*>("sim"), 3);
    SSL_CTX_set_num_tickets(made, 1);
    SSL_CTX_set_alpn_select_cb(made, choose_h2, nullptr);
    return made;
  }();
  return context;
}
}  // namespace

const net::TlsCertificate& certificate(int which) {
  static const std::array<net::TlsCertificate, kCertificates> made{make_certificate(1), make_certificate(2),
                                                                   make_certificate(3)};
  return made[static_cast<size_t>(which)];
}

void seed_openssl(uint64_t seed) {
  RAND_set_rand_method(&kSeeded);
  certificate();
  client_context();
  server_context();
  tls_random() = Random(seed);
}

TlsEnd::TlsEnd(Role role) : ssl_(SSL_new(role == Role::Client ? client_context() : server_context())) {
  WEIR_ASSERT(ssl_ != nullptr);
  SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  if (role == Role::Server) {
    SSL_set_accept_state(ssl_);
    return;
  }
  SSL_set_connect_state(ssl_);
  SSL_set_tlsext_host_name(ssl_, "sim.example");
  static constexpr unsigned char kH2[] = {2, 'h', '2'};
  SSL_set_alpn_protos(ssl_, kH2, sizeof kH2);
  SSL_do_handshake(ssl_);
}

TlsEnd::~TlsEnd() { SSL_free(ssl_); }

void TlsEnd::write(std::string_view plain) {
  if (!ready_) {
    waiting_ += plain;
    return;
  }
  while (!plain.empty()) {
    size_t n = 0;
    if (SSL_write_ex(ssl_, plain.data(), plain.size(), &n) != 1) return;
    plain.remove_prefix(n);
  }
}

bool TlsEnd::read(std::string_view cipher, std::string& plain) {
  BIO_write(SSL_get_rbio(ssl_), cipher.data(), static_cast<int>(cipher.size()));
  if (!ready_ && SSL_do_handshake(ssl_) == 1) {
    ready_ = true;
    write(std::exchange(waiting_, {}));
  }
  return advance(plain);
}

bool TlsEnd::advance(std::string& plain) {
  char piece[16384];
  while (true) {
    size_t n = 0;
    int ok = SSL_read_ex(ssl_, piece, sizeof piece, &n);
    if (ok == 1) {
      plain.append(piece, n);
      continue;
    }
    int why = SSL_get_error(ssl_, ok);
    if (why == SSL_ERROR_ZERO_RETURN) closed_ = true;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_ZERO_RETURN;
  }
}

std::string TlsEnd::take_output() {
  char* data = nullptr;
  BIO* bio = SSL_get_wbio(ssl_);
  long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  (void)BIO_reset(bio);
  return out;
}

void TlsEnd::close_notify() { SSL_shutdown(ssl_); }

}  // namespace weir::sim
