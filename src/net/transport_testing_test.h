// Both ends of a TLS connection for tests: certificates made on the spot, a Transport at one end, OpenSSL at the other.
#pragma once

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>

#include "net/transport.h"

namespace weir::net {

inline std::string pem_of(const std::function<int(BIO*)>& write) {
  BIO* bio = BIO_new(BIO_s_mem());
  write(bio);
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  BIO_free(bio);
  return out;
}

struct CertificateShape {
  std::string key = "P-256";  // a curve, or "2048": RSA
  const char* hash = "SHA256";
  long from_s = -3600;        // validity, from now
  long to_s = 3600;
};

// A self-signed certificate for `name`.
inline TlsCertificate certificate_for(const std::string& name, std::vector<std::string> sni,
                                      const CertificateShape& shape = {}) {
  bool rsa = shape.key.find_first_not_of("0123456789") == std::string::npos;
  static EVP_PKEY* const kRsa = EVP_RSA_gen(2048);  // slow to make
  EVP_PKEY* key = rsa ? kRsa : EVP_EC_gen(shape.key.c_str());
  if (rsa) EVP_PKEY_up_ref(key);
  X509* x = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), shape.from_s);
  X509_gmtime_adj(X509_getm_notAfter(x), shape.to_s);
  X509_set_pubkey(x, key);
  X509_NAME* subject = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(x, subject);
  X509_sign(x, key, EVP_get_digestbyname(shape.hash));
  TlsCertificate out;
  out.chain_pem = pem_of([&](BIO* bio) { return PEM_write_bio_X509(bio, x); });
  out.key_pem =
      pem_of([&](BIO* bio) { return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); });
  out.names = std::move(sni);
  X509_free(x);
  EVP_PKEY_free(key);
  return out;
}

// Both ends of a socket pair: a Transport as server, OpenSSL on the bare descriptor as client.
class Pair {
 public:
  explicit Pair(std::shared_ptr<const TlsServerContext> tls = nullptr) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    client_fd = fds[0];
    server = tls == nullptr ? std::make_unique<Transport>(buffers, fds[1])
                            : std::make_unique<Transport>(buffers, fds[1], std::move(tls));
  }
  ~Pair() {
    if (client != nullptr) SSL_free(client);
    if (context != nullptr) SSL_CTX_free(context);
    if (client_fd >= 0) close(client_fd);
  }
  void close_client() {
    close(client_fd);
    client_fd = -1;
  }
  // adjust: further settings of the client, before it has a session.
  void start_client(int version, const char* sni, const std::string& protocol = "h2",
                    const std::function<void(SSL_CTX*)>& adjust = {}) {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    if (adjust) adjust(context);
    client = SSL_new(context);
    if (sni != nullptr) SSL_set_tlsext_host_name(client, sni);
    std::string wire = std::string(1, static_cast<char>(protocol.size())) + protocol;
    auto* bytes = reinterpret_cast<const unsigned char*>(wire.data());
    if (!protocol.empty()) SSL_set_alpn_protos(client, bytes, static_cast<unsigned>(wire.size()));
    SSL_set_fd(client, client_fd);
    SSL_set_connect_state(client);
  }
  // The server reads once; what came is appended to `received`.
  Io server_read() {
    std::span<const uint8_t> bytes;
    Io io = server->read(scratch, bytes);
    received.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    Buffer nothing(buffers);
    if (io != Io::Failed && server->wants_write()) server->write(nothing);
    return io;
  }
  // Turns until both sides are through; the last outcome of the server.
  Io handshake() {
    Io io = Io::Again;
    for (int i = 0; i < 20; ++i) {
      int done = SSL_do_handshake(client);
      io = server_read();
      if (io == Io::Failed || io == Io::Closed) return io;
      if (done == 1 && server->handshake_done()) break;
    }
    return io;
  }
  std::string peer_name() {
    X509* x = SSL_get1_peer_certificate(client);
    char name[256] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name);
    X509_free(x);
    return name;
  }

  BufferPool buffers;
  ReadScratch scratch;
  int client_fd = -1;
  std::unique_ptr<Transport> server;
  SSL_CTX* context = nullptr;
  SSL* client = nullptr;
  std::string received;
};

inline TlsRules rules() {
  return {.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
          .suites = "TLS_AES_128_GCM_SHA256",
          .groups = {"X25519", "P-256"}};
}

inline const SystemClock kClock;

inline std::shared_ptr<const TlsServerContext> tls_of(std::vector<TlsCertificate> certificates,
                                                      const TlsRules& wanted = rules(),
                                                      std::shared_ptr<TlsTicketKeys> tickets = nullptr) {
  if (tickets == nullptr) tickets = std::make_shared<TlsTicketKeys>();
  auto made = TlsServerContext::make(certificates, wanted, kClock, std::move(tickets));
  EXPECT_TRUE(made) << made.error().message;
  return *made;
}

}  // namespace weir::net
