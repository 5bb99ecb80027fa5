#include "net/tls.h"

#include "net/transport_testing_test.h"

namespace weir::net {
namespace {

using Adjust = std::function<void(SSL_CTX*)>;

Adjust schemes(const char* list) {
  return [list](SSL_CTX* ctx) { ASSERT_EQ(SSL_CTX_set1_sigalgs_list(ctx, list), 1); };
}

// The certificate that a client with this SNI gets; "" when there is no handshake.
std::string chosen(const std::vector<TlsCertificate>& certificates, const char* sni, int version = TLS1_3_VERSION,
                   const Adjust& adjust = {}) {
  Pair pair(tls_of(certificates));
  pair.start_client(version, sni, "h2", adjust);
  pair.handshake();
  ERR_clear_error();
  return pair.server->handshake_done() ? pair.peer_name() : "";
}

class Choice : public testing::TestWithParam<int> {
 protected:
  static std::string choose(const std::vector<std::pair<std::string, CertificateShape>>& shapes,
                            const Adjust& adjust = {}) {
    std::vector<TlsCertificate> all{certificate_for("default", {"other.example"})};
    for (const auto& [name, shape] : shapes) all.push_back(certificate_for(name, {"a.example"}, shape));
    return chosen(all, "a.example", GetParam(), adjust);
  }
};
INSTANTIATE_TEST_SUITE_P(Versions, Choice, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION));

TEST_P(Choice, PrefersEcdsaOverRsaEvenExpired) {
  EXPECT_EQ(choose({{"rsa", {.key = "2048"}}, {"ec", {}}}), "ec");
  EXPECT_EQ(choose({{"rsa", {.key = "2048"}}, {"ec", {.from_s = -9000, .to_s = -60}}}), "ec");
}

TEST_P(Choice, PrefersWhatIsNotExpiredThenTheLongerHashThenTheLongerKeyThenTheLongerValidity) {
  EXPECT_EQ(choose({{"old", {.hash = "SHA384", .from_s = -9000, .to_s = -60}}, {"good", {}}}), "good");
  EXPECT_EQ(choose({{"sha256", {.key = "P-384"}}, {"sha384", {.hash = "SHA384"}}}), "sha384");
  EXPECT_EQ(choose({{"p256", {.to_s = 900000}}, {"p384", {.key = "P-384"}}}), "p384");
  EXPECT_EQ(choose({{"short", {}}, {"long", {.to_s = 900000}}}), "long");
  EXPECT_EQ(choose({{"first", {}}, {"second", {}}}), "first") << "all alike: the order of the list";
}

TEST_P(Choice, TakesTheBestThatTheClientCanUse) {
  CertificateShape p384{.key = "P-384"};
  Adjust only_rsa = [](SSL_CTX* ctx) {
    SSL_CTX_set1_sigalgs_list(ctx, "rsa_pss_rsae_sha256:RSA+SHA256");
    SSL_CTX_set_cipher_list(ctx, "ECDHE-RSA-AES128-GCM-SHA256");
  };
  EXPECT_EQ(choose({{"rsa", {.key = "2048"}}, {"ec", {}}}, only_rsa), "rsa");
  Adjust only_p256 = [](SSL_CTX* ctx) {
    SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA256:rsa_pss_rsae_sha256");
    SSL_CTX_set1_groups_list(ctx, "P-256");
  };
  EXPECT_EQ(choose({{"rsa", {.key = "2048"}}, {"p256", {}}, {"p384", p384}}, only_p256), "p256");
  EXPECT_EQ(choose({{"rsa", {.key = "2048"}}, {"p384", p384}}, only_p256), "rsa");
}

TEST(Choice, AnExactNameComesBeforeAWildcardWhenAllElseIsAlike) {
  std::vector<TlsCertificate> all{certificate_for("default", {"other.example"}),
                                  certificate_for("wild", {"*.example"}), certificate_for("exact", {"a.example"})};
  EXPECT_EQ(chosen(all, "a.example"), "exact");
  EXPECT_EQ(chosen(all, "b.example"), "wild");
  EXPECT_EQ(chosen(all, "b.c.example"), "default");
}

TEST(Choice, WithoutServerNameTheDefaultIsUsedWhateverElseIsBetter) {
  std::vector<TlsCertificate> all{certificate_for("default", {"a.example"}, {.key = "2048"}),
                                  certificate_for("better", {"a.example"})};
  EXPECT_EQ(chosen(all, nullptr), "default");
  EXPECT_EQ(chosen(all, "a.example"), "better");
}

TEST(Choice, AClientThatCanUseNoneHearsThatNothingIsShared) {
  Pair pair(tls_of({certificate_for("ec", {"a.example"})}));
  pair.start_client(TLS1_3_VERSION, "a.example", "h2", schemes("rsa_pss_rsae_sha256"));
  EXPECT_EQ(pair.handshake(), Io::Failed);
  EXPECT_EQ(pair.server->tls_failure(), TlsFailure::NoSharedCipher);
  ERR_clear_error();
}

// A client's session of a handshake with the server, tickets read.
SSL_SESSION* session_of(const std::shared_ptr<const TlsServerContext>& tls, int version) {
  Pair pair(tls);
  pair.start_client(version, "a.example");
  pair.handshake();
  char byte;
  SSL_read(pair.client, &byte, 1);
  ERR_clear_error();
  SSL_SESSION* session = SSL_get1_session(pair.client);
  SSL_shutdown(pair.client);  // else OpenSSL takes it for broken
  return session;
}

bool resumes(const std::shared_ptr<const TlsServerContext>& tls, int version, SSL_SESSION* session) {
  Pair pair(tls);
  pair.start_client(version, "a.example");
  EXPECT_EQ(SSL_set_session(pair.client, session), 1);
  pair.handshake();
  EXPECT_TRUE(pair.server->handshake_done()) << pair.server->error();
  bool resumed = SSL_session_reused(pair.client) == 1;
  EXPECT_EQ(pair.server->tls_info().resumed, resumed);
  EXPECT_EQ(pair.server->tls_info().certificate, resumed ? -1 : 0);
  SSL_shutdown(pair.client);
  return resumed;
}

class Tickets : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Versions, Tickets, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION));

TEST_P(Tickets, OfOneContextAreGoodForAnotherWithTheSameKeysAndNoOther) {
  auto keys = std::make_shared<TlsTicketKeys>();
  TlsCertificate first = certificate_for("first", {"a.example"});
  auto tls = tls_of({first}, rules(), keys);
  SSL_SESSION* session = session_of(tls, GetParam());
  EXPECT_EQ(SSL_SESSION_get_max_early_data(session), 0u) << "no early data";
  EXPECT_TRUE(resumes(tls, GetParam(), session));
  EXPECT_TRUE(resumes(tls_of({first, certificate_for("more", {"b.example"})}, rules(), keys), GetParam(), session));
  EXPECT_FALSE(resumes(tls_of({first}), GetParam(), session));
  SSL_SESSION_free(session);
}

TEST_P(Tickets, OutliveOneRotationOfTheKeysAndNotTwo) {
  auto keys = std::make_shared<TlsTicketKeys>();
  auto tls = tls_of({certificate_for("first", {"a.example"})}, rules(), keys);
  SSL_SESSION* session = session_of(tls, GetParam());
  keys->rotate();
  EXPECT_TRUE(resumes(tls, GetParam(), session));
  keys->rotate();
  EXPECT_FALSE(resumes(tls, GetParam(), session));
  SSL_SESSION_free(session);
}

TEST(TlsServerContext, RefusesToRenegotiate) {
  Pair pair(tls_of({certificate_for("first", {})}));
  pair.start_client(TLS1_2_VERSION, nullptr);
  pair.handshake();
  SSL_renegotiate(pair.client);
  SSL_do_handshake(pair.client);
  EXPECT_EQ(pair.server_read(), Io::Ok);
  EXPECT_EQ(SSL_do_handshake(pair.client), -1);
  EXPECT_EQ(ERR_GET_REASON(ERR_get_error()), SSL_R_NO_RENEGOTIATION);
  ERR_clear_error();
}

TEST(TlsServerContext, SpeaksTls10AndSuitesThatHttp2ForbidsWhereTheRulesNameThem) {
  TlsRules old = rules();
  old.version_min = TLS1_VERSION;
  old.version_max = TLS1_2_VERSION;
  old.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA:DES-CBC3-SHA";
  auto tls = tls_of({certificate_for("first", {})}, old);
  for (int version : {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION}) {
    Pair pair(tls);
    pair.start_client(version, nullptr, "h2", [](SSL_CTX* ctx) {
      SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0");
    });
    pair.handshake();
    ASSERT_TRUE(pair.server->handshake_done()) << pair.server->error();
    EXPECT_EQ(pair.server->tls_info().cipher, "ECDHE-ECDSA-AES128-SHA");
    EXPECT_EQ(pair.server->tls_info().protocol, SSL_get_version(pair.client));
  }
}

TEST(TlsServerContext, LeavesOutGroupsThatOpensslDoesNotKnow) {
  TlsRules with_unknown = rules();
  with_unknown.groups = {"NoSuchGroup", "P-384"};
  Pair pair(tls_of({certificate_for("first", {})}, with_unknown));
  pair.start_client(TLS1_3_VERSION, nullptr);
  pair.handshake();
  ASSERT_TRUE(pair.server->handshake_done()) << pair.server->error();
  EXPECT_EQ(pair.server->tls_info().key_exchange, "secp384r1");
}

TEST(TlsInfo, SaysWhatWasAgreed) {
  TlsCertificate second = certificate_for("second", {"b.example"});
  second.id = "arn:second";
  Pair pair(tls_of({certificate_for("first", {}), second}));
  pair.start_client(TLS1_3_VERSION, "b.example");
  pair.handshake();
  TlsInfo info = pair.server->tls_info();
  EXPECT_EQ(info.protocol, "TLSv1.3");
  EXPECT_EQ(info.cipher, "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(info.key_exchange, "x25519");
  EXPECT_EQ(info.server_name, "b.example");
  EXPECT_EQ(info.certificate, 1);
  EXPECT_EQ(info.certificate_id, "arn:second");
  EXPECT_FALSE(info.resumed);
  EXPECT_EQ(pair.server->tls_failure(), TlsFailure::None);
}

TEST(TlsFailureReason, NamesWhatTheClientDidNotShare) {
  auto failure = [](int version, const char* protocol, const Adjust& adjust) {
    TlsRules only12 = rules();
    only12.version_max = TLS1_2_VERSION;
    Pair pair(tls_of({certificate_for("first", {})}, only12));
    pair.start_client(version, nullptr, protocol, adjust);
    EXPECT_EQ(pair.handshake(), Io::Failed);
    ERR_clear_error();
    return pair.server->tls_failure();
  };
  EXPECT_EQ(failure(TLS1_3_VERSION, "h2", {}), TlsFailure::NoSharedVersion);
  EXPECT_EQ(failure(TLS1_2_VERSION, "http/1.1", {}), TlsFailure::NoSharedProtocol);
  Adjust chacha = [](SSL_CTX* ctx) { SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-CHACHA20-POLY1305"); };
  EXPECT_EQ(failure(TLS1_2_VERSION, "h2", chacha), TlsFailure::NoSharedCipher);
}

TEST(TlsFailureReason, TellsOtherBytesAnAlertAndALostClientApart) {
  Pair other(tls_of({certificate_for("first", {})}));
  send(other.client_fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
  EXPECT_EQ(other.server_read(), Io::Failed);
  EXPECT_EQ(other.server->tls_failure(), TlsFailure::NotTls);
  EXPECT_EQ(other.server->error(), "TLS: http request");

  Pair distrusting(tls_of({certificate_for("first", {})}));
  distrusting.start_client(TLS1_3_VERSION, nullptr, "h2",
                           [](SSL_CTX* ctx) { SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr); });
  EXPECT_EQ(distrusting.handshake(), Io::Failed);
  EXPECT_EQ(distrusting.server->tls_failure(), TlsFailure::PeerAlert);
  ERR_clear_error();

  Pair lost(tls_of({certificate_for("first", {})}));
  lost.start_client(TLS1_3_VERSION, nullptr);
  SSL_do_handshake(lost.client);
  lost.server_read();
  char flight[65536];
  recv(lost.client_fd, flight, sizeof flight, 0);
  lost.close_client();
  EXPECT_EQ(lost.server_read(), Io::Closed);
  EXPECT_EQ(lost.server->tls_failure(), TlsFailure::PeerClosed);

  Pair silent(tls_of({certificate_for("first", {})}));
  silent.close_client();
  EXPECT_EQ(silent.server_read(), Io::Closed);
  EXPECT_EQ(silent.server->tls_failure(), TlsFailure::None) << "a port scan is no handshake";
}

std::shared_ptr<const TlsClientContext> client_context() {
  auto made = TlsClientContext::make(rules());
  EXPECT_TRUE(made);
  return *made;
}

// Two transports on a socket pair.
struct Both {
  explicit Both(std::shared_ptr<const TlsContext> server_tls, const std::shared_ptr<const TlsContext>& client_tls,
                ssl_session_st* resume = nullptr) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    server = std::make_unique<Transport>(buffers, fds[0], std::move(server_tls));
    client = std::make_unique<Transport>(buffers, fds[1], client_tls, system_sockets(), resume);
  }
  std::string read(Transport& transport) {
    std::span<const uint8_t> bytes;
    transport.read(scratch, bytes);
    Buffer nothing(buffers);
    if (transport.wants_write()) transport.write(nothing);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string client_read() { return read(*client); }
  std::string server_read() { return read(*server); }
  void handshake() {
    Buffer nothing(buffers);
    for (int i = 0; i < 10 && !(client->handshake_done() && server->handshake_done()); ++i) {
      client->write(nothing);
      server_read();
      client_read();
    }
  }
  BufferPool buffers;
  ReadScratch scratch;
  std::unique_ptr<Transport> server, client;
};

class ClientRole : public testing::TestWithParam<int> {
 protected:
  static TlsRules version() {
    TlsRules r = rules();
    r.version_max = GetParam();
    return r;
  }
};
INSTANTIATE_TEST_SUITE_P(Versions, ClientRole, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION));

TEST_P(ClientRole, ShakesHandsWithAnyCertificateAndCarriesBytesBothWays) {
  Both both(tls_of({certificate_for("expired", {}, {.from_s = -900, .to_s = -60})}, version()), client_context());
  Buffer early(both.buffers);
  early.append("early", 5);
  EXPECT_EQ(both.client->write(early), Io::Ok) << "the handshake has begun";
  EXPECT_EQ(early.size(), 5u) << "and bytes wait for its end";
  both.handshake();
  ASSERT_TRUE(both.client->handshake_done()) << both.client->error();
  EXPECT_EQ(both.client->write(early), Io::Ok);
  EXPECT_EQ(both.server_read(), "early");
  Buffer answer(both.buffers);
  answer.append("answer", 6);
  EXPECT_EQ(both.server->write(answer), Io::Ok);
  EXPECT_EQ(both.client_read(), "answer");
}

TEST_P(ClientRole, ResumesTheSessionOfAnEarlierConnection) {
  auto tls = tls_of({certificate_for("first", {})}, version());
  auto context = client_context();
  Both first(tls, context);
  first.handshake();
  first.client_read();
  TlsSession session = first.client->take_session();
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(first.client->take_session(), nullptr) << "given once";
  first.client.reset();
  Both second(tls, context, session.get());
  second.handshake();
  ASSERT_TRUE(second.client->handshake_done());
  EXPECT_TRUE(second.client->tls_info().resumed);
  EXPECT_TRUE(second.server->tls_info().resumed);
  Both elsewhere(tls_of({certificate_for("first", {})}, version()), context, session.get());
  elsewhere.handshake();
  ASSERT_TRUE(elsewhere.client->handshake_done()) << "a server that does not know it makes a new one";
  EXPECT_FALSE(elsewhere.client->tls_info().resumed);
}

TEST(ClientRole, AServerThatDoesNotChooseH2Fails) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  BufferPool buffers;
  ReadScratch scratch;
  Transport client(buffers, fds[0], client_context());
  TlsCertificate certificate = certificate_for("first", {});
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  BIO* chain = BIO_new_mem_buf(certificate.chain_pem.data(), -1);
  BIO* key = BIO_new_mem_buf(certificate.key_pem.data(), -1);
  X509* leaf = PEM_read_bio_X509(chain, nullptr, nullptr, nullptr);
  EVP_PKEY* secret = PEM_read_bio_PrivateKey(key, nullptr, nullptr, nullptr);
  SSL_CTX_use_certificate(context, leaf);
  SSL_CTX_use_PrivateKey(context, secret);
  SSL* server = SSL_new(context);
  SSL_set_fd(server, fds[1]);
  SSL_set_accept_state(server);
  Buffer nothing(buffers);
  client.write(nothing);
  SSL_do_handshake(server);
  std::span<const uint8_t> bytes;
  EXPECT_EQ(client.read(scratch, bytes), Io::Failed);
  EXPECT_EQ(client.tls_failure(), TlsFailure::NoSharedProtocol);
  EXPECT_FALSE(client.handshake_done());
  SSL_free(server);
  SSL_CTX_free(context);
  X509_free(leaf);
  EVP_PKEY_free(secret);
  BIO_free(chain);
  BIO_free(key);
  close(fds[1]);
}

}  // namespace
}  // namespace weir::net
