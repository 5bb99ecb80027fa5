#include "net/transport.h"

#include "net/transport_testing_test.h"

namespace weir::net {
namespace {

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

TEST(Transport, WithoutRecordsOfItsOwnManyBytesAreLeftToWrite) {
  Pair plain;
  Pair tls12(tls_of(certificates()));
  tls12.start_client(TLS1_2_VERSION, nullptr);
  tls12.handshake();
  const std::vector<uint8_t> many(50000);
  for (Pair* pair : {&plain, &tls12}) {
    Buffer out(pair->buffers);
    out.append("x", 1);
    EXPECT_EQ(pair->server->write_through(out, many), 0u);
    EXPECT_EQ(out.size(), 1u);
  }
}

TEST(Transport, RulesOfTls13AloneRefuseTls12) {
  TlsRules only13 = rules();
  only13.version_min = TLS1_3_VERSION;
  Pair pair(tls_of(certificates(), only13));
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

TEST(Transport, SomeKeyUpdatesInOneReadAreCountedAndMoreThanAllowedEndTheConnection) {
  Pair pair(tls_of(certificates()));
  pair.start_client(TLS1_3_VERSION, nullptr);
  pair.handshake();
  auto update = [&pair](uint32_t times) {
    for (uint32_t i = 0; i < times; ++i) {
      ASSERT_EQ(SSL_key_update(pair.client, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
      ASSERT_EQ(SSL_do_handshake(pair.client), 1);
    }
  };
  update(Transport::kLateMessagesMax);
  ASSERT_EQ(SSL_write(pair.client, "hello", 5), 5);
  EXPECT_EQ(pair.server_read(), Io::Ok);
  EXPECT_EQ(pair.server->late_messages(), Transport::kLateMessagesMax);
  EXPECT_EQ(pair.received, "hello");
  EXPECT_EQ(pair.server_read(), Io::Again);
  EXPECT_EQ(pair.server->late_messages(), 0u);
  update(Transport::kLateMessagesMax + 1);
  EXPECT_EQ(pair.server_read(), Io::Failed);
  EXPECT_NE(pair.server->error().find("KeyUpdate"), std::string::npos);
}

// TLS 1.3 without OpenSSL's records: each of its suites.
class TransportSuite : public testing::TestWithParam<const char*> {
 protected:
  TransportSuite() : pair_(tls_of(certificates(), with(GetParam()))) {
    pair_.start_client(TLS1_3_VERSION, "a.example");
    pair_.handshake();
    EXPECT_TRUE(pair_.server->handshake_done()) << pair_.server->error();
  }
  static TlsRules with(const char* suite) {
    TlsRules made = rules();
    made.suites = suite;
    return made;
  }
  void server_says(const std::string& text) {
    Buffer out(pair_.buffers);
    out.append(text.data(), text.size());
    ASSERT_EQ(pair_.server->write(out), Io::Ok) << pair_.server->error();
  }
  std::string client_hears(size_t size) {
    std::string got(size, 0);
    size_t have = 0;
    while (have < size) {
      int n = SSL_read(pair_.client, got.data() + have, static_cast<int>(size - have));
      if (n <= 0) return "error " + std::to_string(SSL_get_error(pair_.client, n));
      have += static_cast<size_t>(n);
    }
    return got;
  }
  void client_says(const std::string& text) {
    ASSERT_EQ(SSL_write(pair_.client, text.data(), static_cast<int>(text.size())), static_cast<int>(text.size()));
    pair_.received.clear();
    for (int i = 0; i < 20 && pair_.received.size() < text.size(); ++i) {
      ASSERT_NE(pair_.server_read(), Io::Failed) << pair_.server->error();
    }
    EXPECT_EQ(pair_.received, text);
  }
  Pair pair_;
};
INSTANTIATE_TEST_SUITE_P(Suites, TransportSuite,
                         testing::Values("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                         "TLS_CHACHA20_POLY1305_SHA256"),
                         [](const auto& suite) { return std::string(suite.param); });

TEST_P(TransportSuite, CarriesBytesOfAnyLengthBothWays) {
  for (size_t size : {1, 5, 100, 16383, 16384, 16385, 50000}) {
    client_says(pattern(size));
    server_says(pattern(size));
    EXPECT_EQ(client_hears(size), pattern(size));
  }
  EXPECT_EQ(pair_.server->tls_info().cipher, GetParam());
  EXPECT_EQ(pair_.server->tls_info().server_name, "a.example");
}

TEST_P(TransportSuite, ManyBytesAreSealedInWholeRecordsBehindWhatWaits) {
  for (size_t waiting : {0, 9, 100, 16383, 16384, 40000}) {
    for (size_t many : {1, 4096, 16384, 40000}) {
      std::string first = pattern(waiting), second = pattern(many + 7).substr(7);
      Buffer out(pair_.buffers);
      out.append(first.data(), first.size());
      std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(second.data()), second.size());
      size_t taken = pair_.server->write_through(out, bytes);
      EXPECT_EQ(out.size() + many - taken, (waiting + many) % TlsRecords::kContentBytesMax);
      EXPECT_TRUE(taken == 0 || out.empty()) << "in order";
      out.append(bytes.subspan(taken));
      ASSERT_EQ(pair_.server->write(out), Io::Ok) << pair_.server->error();
      EXPECT_EQ(client_hears(waiting + many), first + second) << waiting << " and " << many;
    }
  }
}

TEST_P(TransportSuite, NothingIsSealedAheadWhileEnoughWaitsForTheSocket) {
  std::string chunk = pattern(60000), sent;
  std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(chunk.data()), chunk.size());
  Buffer out(pair_.buffers);
  auto write_through = [&] {
    size_t taken = pair_.server->write_through(out, bytes);
    out.append(bytes.subspan(taken));
    sent += chunk;
    return taken;
  };
  while (write_through() > 0) ASSERT_LT(sent.size(), 400000u);
  EXPECT_GT(sent.size(), 100000u);
  while (pair_.server->write(out) == Io::Ok) {
    write_through();
    ASSERT_LT(sent.size(), 100u << 20);
  }
  size_t waiting = out.size();
  EXPECT_EQ(write_through(), 0u) << "the socket is full";
  EXPECT_EQ(out.size(), waiting + chunk.size());
  std::string got;
  while (got.size() < sent.size()) {
    char some[30000];
    int n = SSL_read(pair_.client, some, sizeof some);
    if (n > 0) got.append(some, static_cast<size_t>(n));
    ASSERT_NE(pair_.server->write(out), Io::Failed);
  }
  EXPECT_EQ(got, sent);
}

TEST_P(TransportSuite, AnswersKeyUpdatesAndGoesOnWithTheNewKeys) {
  for (int request : {SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED, SSL_KEY_UPDATE_REQUESTED}) {
    ASSERT_EQ(SSL_key_update(pair_.client, request), 1);
    client_says("after the update");
    server_says("answer");
    EXPECT_EQ(client_hears(6), "answer");
  }
}

TEST_P(TransportSuite, ClosesInOrderBothWays) {
  pair_.server->shutdown_write();
  char byte;
  EXPECT_EQ(SSL_read(pair_.client, &byte, 1), 0);
  EXPECT_EQ(SSL_get_error(pair_.client, 0), SSL_ERROR_ZERO_RETURN);
  SSL_shutdown(pair_.client);
  EXPECT_EQ(pair_.server_read(), Io::Closed);
}

TEST_P(TransportSuite, AChangedByteEndsTheConnectionWithAnAlertAndNothingIsDelivered) {
  BIO* memory = BIO_new(BIO_s_mem());
  SSL_set0_wbio(pair_.client, memory);
  ASSERT_EQ(SSL_write(pair_.client, "hello", 5), 5);
  char* record = nullptr;
  long size = BIO_get_mem_data(memory, &record);
  record[size - 20] = static_cast<char>(record[size - 20] ^ 1);
  ASSERT_EQ(send(pair_.client_fd, record, static_cast<size_t>(size), MSG_NOSIGNAL), size);
  EXPECT_EQ(pair_.server_read(), Io::Failed);
  EXPECT_EQ(pair_.received, "");
  EXPECT_EQ(pair_.server->error(), "TLS: bad record mac");
  EXPECT_EQ(ERR_peek_error(), 0u) << "the thread's other connections would take it for theirs";
  char byte;
  EXPECT_LE(SSL_read(pair_.client, &byte, 1), 0);
  EXPECT_EQ(ERR_GET_REASON(ERR_get_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
  ERR_clear_error();
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
  auto make = [](const std::vector<TlsCertificate>& list) {
    return TlsServerContext::make(list, rules(), kClock, std::make_shared<TlsTicketKeys>());
  };
  EXPECT_FALSE(make({}));
  EXPECT_FALSE(make({{"nonsense", good.key_pem, {}}}));
  EXPECT_FALSE(make({{good.chain_pem, "nonsense", {}}}));
  auto mixed = make({{good.chain_pem, other.key_pem, {}}});
  ASSERT_FALSE(mixed);
  EXPECT_NE(mixed.error().message.find("does not belong"), std::string::npos);
}

}  // namespace
}  // namespace weir::net
