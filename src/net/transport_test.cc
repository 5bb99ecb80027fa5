#include "net/transport.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>

namespace weir::net {
namespace {

std::string pem_of(const std::function<int(BIO*)>& write) {
  BIO* bio = BIO_new(BIO_s_mem());
  write(bio);
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  BIO_free(bio);
  return out;
}

// A self-signed certificate for `name`.
TlsCertificate certificate_for(const std::string& name, std::vector<std::string> sni) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, key);
  X509_NAME* subject = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(x, subject);
  X509_sign(x, key, EVP_sha256());
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
  void start_client(int version, const char* sni, const std::string& protocol = "h2") {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
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

std::shared_ptr<const TlsServerContext> tls_of(std::vector<TlsCertificate> certificates,
                                               const std::string& policy = "ELBSecurityPolicy-TLS13-1-2-2021-06") {
  auto made = TlsServerContext::make(certificates, policy);
  EXPECT_TRUE(made) << made.error().message;
  return *made;
}

const std::vector<TlsCertificate>& certificates() {
  static const std::vector<TlsCertificate> kBoth{certificate_for("first", {"a.example"}),
                                                 certificate_for("second", {"b.example", "*.c.example"})};
  return kBoth;
}

std::string pattern(size_t size) {
  std::string out(size, 0);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>(i * 7 + (i >> 10));
  return out;
}

class TransportTls : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Versions, TransportTls, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION));

TEST_P(TransportTls, ShakesHandsWithAlpnAndCarriesBytesBothWays) {
  Pair pair(tls_of(certificates()));
  pair.start_client(GetParam(), nullptr);
  pair.handshake();
  ASSERT_TRUE(pair.server->handshake_done());
  const unsigned char* protocol = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(pair.client, &protocol, &size);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(protocol), size), "h2");
  ASSERT_EQ(SSL_write(pair.client, "hello", 5), 5);
  while (pair.received.size() < 5) pair.server_read();
  EXPECT_EQ(pair.received, "hello");
  Buffer out(pair.buffers);
  out.append("world", 5);
  EXPECT_EQ(pair.server->write(out), Io::Ok);
  char text[16];
  EXPECT_EQ(SSL_read(pair.client, text, sizeof text), 5);
  EXPECT_EQ(std::string(text, 5), "world");
}

TEST_P(TransportTls, ChoosesTheCertificateByServerName) {
  const std::pair<const char*, const char*> kCases[] = {{nullptr, "first"},        {"a.example", "first"},
                                                        {"B.Example", "second"},   {"x.c.example", "second"},
                                                        {"x.y.c.example", "first"}, {"c.example", "first"},
                                                        {"unknown", "first"}};
  auto tls = tls_of(certificates());
  for (auto [sni, expected] : kCases) {
    Pair pair(tls);
    pair.start_client(GetParam(), sni);
    pair.handshake();
    ASSERT_TRUE(pair.server->handshake_done());
    EXPECT_EQ(pair.peer_name(), expected) << (sni ? sni : "none");
  }
}

TEST_P(TransportTls, RefusesAClientThatOffersOnlyAnotherProtocol) {
  Pair pair(tls_of(certificates()));
  pair.start_client(GetParam(), nullptr, "http/1.1");
  EXPECT_EQ(pair.handshake(), Io::Failed);
  EXPECT_EQ(SSL_do_handshake(pair.client), -1);
  EXPECT_EQ(ERR_GET_REASON(ERR_get_error()), SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
  ERR_clear_error();
}

TEST_P(TransportTls, WhatTheSocketDoesNotTakeWaitsAndArrivesWhole) {
  Pair pair(tls_of(certificates()));
  pair.start_client(GetParam(), nullptr);
  pair.handshake();
  std::string sent = pattern(3 << 20);
  Buffer out(pair.buffers);
  out.append(sent.data(), sent.size());
  EXPECT_EQ(pair.server->write(out), Io::Again);
  EXPECT_TRUE(pair.server->wants_write());
  std::string got;
  std::vector<char> chunk(100000);
  while (got.size() < sent.size()) {
    int n = SSL_read(pair.client, chunk.data(), static_cast<int>(chunk.size()));
    if (n > 0) {
      got.append(chunk.data(), static_cast<size_t>(n));
    } else {
      uint64_t before = pair.server->bytes_written();
      ASSERT_NE(pair.server->write(out), Io::Failed);
      ASSERT_GT(pair.server->bytes_written(), before) << "no progress";
    }
  }
  EXPECT_EQ(got, sent);
  EXPECT_FALSE(pair.server->wants_write());
}

TEST_P(TransportTls, AHandshakeAndRecordsMayComeByteByByte) {
  Pair pair(tls_of(certificates()));
  int far[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, far), 0);
  int outer = pair.client_fd;
  pair.client_fd = far[0];  // the client talks to far[1]; bytes are carried over one at a time
  pair.start_client(GetParam(), nullptr);
  bool written = false;
  for (int i = 0; i < 40 && pair.received.size() < 5; ++i) {
    if (SSL_do_handshake(pair.client) == 1 && !written) written = SSL_write(pair.client, "hello", 5) == 5;
    char c;
    while (recv(far[1], &c, 1, 0) == 1) {
      ASSERT_EQ(send(outer, &c, 1, MSG_NOSIGNAL), 1);
      ASSERT_NE(pair.server_read(), Io::Failed) << pair.server->error();
    }
    char back[65536];
    ssize_t n = recv(outer, back, sizeof back, 0);
    if (n > 0) {
      ASSERT_EQ(send(far[1], back, static_cast<size_t>(n), MSG_NOSIGNAL), n);
    }
  }
  EXPECT_EQ(pair.received, "hello");
  close(far[1]);
  close(outer);
}

TEST_P(TransportTls, TellsAnOrderlyCloseFromTheMiddleOfEverything) {
  Pair orderly(tls_of(certificates()));
  orderly.start_client(GetParam(), nullptr);
  orderly.handshake();
  SSL_write(orderly.client, "bye", 3);
  SSL_shutdown(orderly.client);
  EXPECT_EQ(orderly.server_read(), Io::Closed);
  EXPECT_EQ(orderly.received, "bye") << "bytes before the close count";
  Pair torn(tls_of(certificates()));
  torn.start_client(GetParam(), nullptr);
  SSL_do_handshake(torn.client);
  torn.server_read();
  torn.close_client();
  Io io = torn.server_read();
  EXPECT_TRUE(io == Io::Closed || io == Io::Failed);
}

TEST(Transport, APolicyOfTls13AloneRefusesTls12) {
  Pair pair(tls_of(certificates(), "ELBSecurityPolicy-TLS13-1-3-2021-06"));
  pair.start_client(TLS1_2_VERSION, nullptr);
  EXPECT_EQ(pair.handshake(), Io::Failed);
  ERR_clear_error();
}

TEST(Transport, GarbageInsteadOfAHandshakeFails) {
  Pair pair(tls_of(certificates()));
  ASSERT_EQ(send(pair.client_fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
  EXPECT_EQ(pair.server_read(), Io::Failed);
  EXPECT_NE(pair.server->error(), "");
}

TEST(Transport, PlainBytesPassAndTheEndIsSeen) {
  Pair pair;
  ASSERT_EQ(send(pair.client_fd, "hello", 5, MSG_NOSIGNAL), 5);
  EXPECT_EQ(pair.server_read(), Io::Ok);
  EXPECT_EQ(pair.server_read(), Io::Again);
  pair.close_client();
  EXPECT_EQ(pair.server_read(), Io::Closed);
  EXPECT_EQ(pair.received, "hello");
}

TEST(Transport, WritingToAPeerThatIsGoneFailsWithoutASignal) {
  Pair pair;
  pair.close_client();
  Buffer out(pair.buffers);
  out.append("x", 1);
  EXPECT_EQ(pair.server->write(out), Io::Failed);
  EXPECT_NE(pair.server->error(), "");
}

TEST(TlsServerContext, SaysWhatIsWrongWithACertificate) {
  TlsCertificate good = certificates()[0];
  TlsCertificate other = certificates()[1];
  EXPECT_FALSE(TlsServerContext::make({}, ""));
  EXPECT_FALSE(TlsServerContext::make({{"nonsense", good.key_pem, {}}}, ""));
  EXPECT_FALSE(TlsServerContext::make({{good.chain_pem, "nonsense", {}}}, ""));
  auto mixed = TlsServerContext::make({{good.chain_pem, other.key_pem, {}}}, "");
  ASSERT_FALSE(mixed);
  EXPECT_NE(mixed.error().message.find("does not belong"), std::string::npos);
}

}  // namespace
}  // namespace weir::net
