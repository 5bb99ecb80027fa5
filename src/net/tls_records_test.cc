#include "net/tls_records.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace weir::net {
namespace {

std::vector<uint8_t> secret(uint8_t fill) { return std::vector<uint8_t>(32, fill); }
std::unique_ptr<TrafficKey> key(TrafficKey::Use use, uint8_t fill) {
  return TrafficKey::make(0x1301, use, secret(fill));
}

// Two ends, and the record that went from the first to the second last.
class Records : public testing::Test {
 protected:
  static constexpr uint64_t kPerKey = 7;
  using Opened = TlsRecords::Opened;

  Opened deliver(std::vector<uint8_t> record) {
    std::vector<uint8_t> content(record.size() + 1);
    size_t size = 0;
    Opened opened = server_.open(record, content.data(), size, answer_, late_);
    heard_.append(reinterpret_cast<const char*>(content.data()), size);
    return opened;
  }
  // All that `out` holds, record by record.
  Opened deliver_all(Buffer& out) {
    Opened opened = Opened::Ok;
    while (!out.empty() && opened == Opened::Ok) {
      size_t size = TlsRecords::record_size(out.data());
      opened = deliver({out.data(), out.data() + size});
      out.consume(size);
    }
    return opened;
  }
  std::vector<uint8_t> sealed(ContentType type, std::vector<uint8_t> content) {
    Buffer out(pool_);
    EXPECT_TRUE(raw_->seal(out, type, content));
    return {out.data(), out.data() + out.size()};
  }
  // What the server said, opened by its peer: the inner type and content.
  std::vector<uint8_t> answered() {
    std::vector<uint8_t> content(answer_.size() + 1);
    uint8_t type = 0;
    int64_t size = listener_->open(answer_.bytes(), content.data(), type);
    EXPECT_GE(size, 0);
    content.resize(static_cast<size_t>(std::max<int64_t>(size, 0)));
    content.insert(content.begin(), type);
    return content;
  }

  BufferPool pool_;
  Buffer answer_{pool_};
  TlsRecords server_{key(TrafficKey::Use::Seal, 1), key(TrafficKey::Use::Open, 2), kPerKey};
  TlsRecords client_{key(TrafficKey::Use::Seal, 2), key(TrafficKey::Use::Open, 1), kPerKey};
  std::unique_ptr<TrafficKey> raw_ = key(TrafficKey::Use::Seal, 2);       // writes what client_ would not
  std::unique_ptr<TrafficKey> listener_ = key(TrafficKey::Use::Open, 1);
  std::string heard_;
  uint32_t late_ = 0;
};

TEST(TrafficKey, DerivesWhatTheStandardsExampleDerives) {
  // RFC 8448 §3: the server's application traffic secret, its key and its nonce.
  const std::vector<uint8_t> traffic = {0xa1, 0x1a, 0xf9, 0xf0, 0x55, 0x31, 0xf8, 0x56, 0xad, 0x47, 0x11,
                                        0x6b, 0x45, 0xa9, 0x50, 0x32, 0x82, 0x04, 0xb4, 0xf4, 0x4b, 0xfb,
                                        0x6b, 0x3a, 0x4b, 0x4f, 0x1f, 0x3f, 0xcb, 0x63, 0x16, 0x43};
  const uint8_t known_key[] = {0x9f, 0x02, 0x28, 0x3b, 0x6c, 0x9c, 0x07, 0xef,
                               0xc2, 0x6b, 0xb9, 0xf2, 0xac, 0x92, 0xe3, 0x56};
  const uint8_t known_nonce[] = {0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83, 0x54, 0x9a, 0xad, 0xf1, 0xe9, 0x84};
  auto derived = TrafficKey::make(0x1301, TrafficKey::Use::Seal, traffic);
  auto known = TrafficKey::make(0x1301, TrafficKey::Use::Seal, traffic, known_key, known_nonce);
  ASSERT_NE(derived, nullptr);
  ASSERT_NE(known, nullptr);
  BufferPool pool;
  for (int generation = 0; generation < 3; ++generation) {
    for (int record = 0; record < 3; ++record) {
      Buffer a(pool), b(pool);
      const std::vector<uint8_t> text(100, 'x');
      ASSERT_TRUE(derived->seal(a, ContentType::ApplicationData, text));
      ASSERT_TRUE(known->seal(b, ContentType::ApplicationData, text));
      EXPECT_TRUE(std::ranges::equal(a.bytes(), b.bytes()));
    }
    ASSERT_TRUE(derived->update());
    ASSERT_TRUE(known->update());
  }
}

TEST(TrafficKey, IsMadeOfSuitesThatItKnowsAndSecretsOfTheirLength) {
  EXPECT_NE(TrafficKey::make(0x1303, TrafficKey::Use::Open, secret(1)), nullptr);
  EXPECT_EQ(TrafficKey::make(0x1302, TrafficKey::Use::Seal, secret(1)), nullptr) << "SHA-384 has longer ones";
  EXPECT_EQ(TrafficKey::make(0x1304, TrafficKey::Use::Seal, secret(1)), nullptr) << "CCM";
}

TEST_F(Records, AKeyIsReplacedAfterSoManyRecordsAndThePeerIsTold) {
  Buffer out(pool_);
  std::string said;
  for (int i = 0; i < 50; ++i) {
    std::string text = "message " + std::to_string(i) + ";";
    ASSERT_TRUE(client_.seal(out, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
    said += text;
    ASSERT_EQ(deliver_all(out), Opened::Ok) << server_.error();
  }
  EXPECT_EQ(heard_, said);
  EXPECT_EQ(late_, 7u) << "one KeyUpdate behind each seven records";
  EXPECT_TRUE(answer_.empty()) << "no update was asked for";
}

TEST_F(Records, PaddingIsTakenOffAndARecordOfNothingElseIsRefused) {
  // The inner type stands in front of the padding: what seal() adds behind it is one zero of it more.
  std::vector<uint8_t> padded = {'h', 'i', 23, 0, 0, 0};
  EXPECT_EQ(deliver(sealed(ContentType{0}, padded)), Opened::Ok);
  EXPECT_EQ(heard_, "hi");
  EXPECT_EQ(deliver(sealed(ContentType{0}, {0, 0})), Opened::Failed);
  EXPECT_EQ(answered(), (std::vector<uint8_t>{21, 2, 10}));
}

TEST_F(Records, RecordsOutOfOrderTwiceOrCutAreNotAuthentic) {
  auto first = sealed(ContentType::ApplicationData, {'1'});
  auto second = sealed(ContentType::ApplicationData, {'2'});
  EXPECT_EQ(deliver(second), Opened::Failed);
  EXPECT_EQ(server_.error(), "bad record mac");
  EXPECT_EQ(answered(), (std::vector<uint8_t>{21, 2, 20}));
  EXPECT_EQ(heard_, "");
  TlsRecords fresh(key(TrafficKey::Use::Seal, 1), key(TrafficKey::Use::Open, 2));
  std::vector<uint8_t> room(first.size());
  size_t size = 0;
  EXPECT_EQ(fresh.open(first, room.data(), size, answer_, late_), Opened::Ok);
  EXPECT_EQ(fresh.open(first, room.data(), size, answer_, late_), Opened::Failed) << "played again";
  std::vector<uint8_t> header_alone(first.begin(), first.begin() + 5);
  EXPECT_EQ(fresh.open(header_alone, room.data(), size, answer_, late_), Opened::Failed);
}

TEST_F(Records, WhatMayNotComeBehindTheHandshakeEndsTheConnection) {
  struct Case {
    std::vector<uint8_t> record;
    uint8_t alert;
  };
  auto inner = [](ContentType type, std::vector<uint8_t> content) {
    BufferPool pool;
    Buffer out(pool);
    key(TrafficKey::Use::Seal, 2)->seal(out, type, content);
    return std::vector<uint8_t>(out.data(), out.data() + out.size());
  };
  for (const Case& c : {Case{{20, 3, 3, 0, 1, 1}, 10},                                   // change_cipher_spec
                        Case{{21, 3, 3, 0, 2, 1, 0}, 10},                                // an alert in the clear
                        Case{inner(ContentType::Handshake, {1, 0, 0, 1, 0}), 10},        // ClientHello
                        Case{inner(ContentType::Handshake, {}), 10},
                        Case{inner(ContentType::Handshake, {24, 0, 0, 1, 2}), 50},       // neither asked nor not
                        Case{inner(ContentType::Handshake, {24, 0, 0, 1, 0, 24}), 50},   // more behind it
                        Case{inner(ContentType::Alert, {1}), 10},
                        Case{inner(ContentType{99}, {1}), 10}}) {
    TlsRecords server(key(TrafficKey::Use::Seal, 1), key(TrafficKey::Use::Open, 2));
    answer_.release();
    std::vector<uint8_t> room(c.record.size());
    size_t size = 0;
    EXPECT_EQ(server.open(c.record, room.data(), size, answer_, late_), Opened::Failed);
    listener_ = key(TrafficKey::Use::Open, 1);
    std::vector<uint8_t> content(answer_.size());
    uint8_t type = 0;
    ASSERT_EQ(listener_->open(answer_.bytes(), content.data(), type), 2);
    EXPECT_EQ(content[1], c.alert) << server.error();
  }
}

TEST_F(Records, EmptyRecordsAreTakenUpToALimit) {
  for (uint32_t i = 0; i < TlsRecords::kEmptyInRowMax; ++i) {
    ASSERT_EQ(deliver(sealed(ContentType::ApplicationData, {})), Opened::Ok);
  }
  EXPECT_EQ(deliver(sealed(ContentType::ApplicationData, {'x'})), Opened::Ok);
  for (uint32_t i = 0; i < TlsRecords::kEmptyInRowMax; ++i) {
    ASSERT_EQ(deliver(sealed(ContentType::ApplicationData, {})), Opened::Ok);
  }
  EXPECT_EQ(deliver(sealed(ContentType::ApplicationData, {})), Opened::Failed);
}

TEST_F(Records, BehindCloseNotifyNothingIsAnswered) {
  server_.close_notify(answer_);
  EXPECT_EQ(answered(), (std::vector<uint8_t>{21, 1, 0}));
  answer_.release();
  server_.close_notify(answer_);
  EXPECT_EQ(deliver(sealed(ContentType::Handshake, {24, 0, 0, 1, 1})), Opened::Ok);
  ASSERT_TRUE(raw_->update());
  EXPECT_EQ(deliver(sealed(ContentType::ApplicationData, {'x'})), Opened::Ok) << "the update itself counts";
  EXPECT_EQ(deliver({20, 3, 3, 0, 1, 1}), Opened::Failed);
  EXPECT_TRUE(answer_.empty());
}

TEST_F(Records, AlertsCloseOrFail) {
  EXPECT_EQ(deliver(sealed(ContentType::Alert, {1, 90})), Opened::Ok) << "user_canceled";
  EXPECT_EQ(deliver(sealed(ContentType::Alert, {1, 0})), Opened::Closed);
  EXPECT_EQ(deliver(sealed(ContentType::Alert, {2, 40})), Opened::Failed);
}

TEST(TlsRecords, ALengthBeyondTheStandardsIsNoRecord) {
  const uint8_t longest[] = {23, 3, 3, 0x41, 0x00};
  const uint8_t longer[] = {23, 3, 3, 0x41, 0x01};
  EXPECT_EQ(TlsRecords::record_size(longest), 5u + 16384 + 256);
  EXPECT_EQ(TlsRecords::record_size(longer), 0u);
}

}  // namespace
}  // namespace weir::net
