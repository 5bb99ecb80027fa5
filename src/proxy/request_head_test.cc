#include "proxy/request_head.h"

#include <gtest/gtest.h>

#include <string>

#include "proxy/local_reply.h"

namespace weir::proxy {
namespace {

using http::Token;

class RefusalTest : public testing::Test {
 protected:
  RefusalTest() {
    head_.method = "POST";
    head_.path = "/a.B/C";
  }
  void add(std::string_view name, std::string_view value) {
    list_.add({name, value, 0, http::token_of(name), false});
    list_.list_size += name.size() + value.size() + 32;
  }
  // The status of the refusal, 0 for none; the quick look must not miss one.
  int refused() {
    auto refusal = refusal_of(list_, head_);
    if (refusal) {
      EXPECT_TRUE(looks_refusable(list_, head_, list_.tokens()));
    }
    return refusal ? refusal->http_status : 0;
  }
  http::HeaderList list_;
  http::MessageHead head_;
};

TEST_F(RefusalTest, ASingleFieldMayHaveSixteenKilobytes) {
  std::string value(kFieldBytesMax - 3, 'v');
  add("x-a", value);
  EXPECT_EQ(refused(), 0);
  std::string longer = value + "v";
  add("x-b", longer);
  EXPECT_EQ(refused(), 400);
}

TEST_F(RefusalTest, ALongPathIs414AndTraceIs405) {
  std::string path(kFieldBytesMax + 1, 'p');
  head_.path = std::string_view(path).substr(1);
  EXPECT_EQ(refused(), 0);
  head_.path = path;
  add(":path", path);
  EXPECT_EQ(refused(), 414);
  head_.path = "/";
  head_.method = "PATCH";
  list_.clear();
  EXPECT_EQ(refused(), 0);
  head_.method = "TRACE";
  EXPECT_EQ(refused(), 405);
}

TEST_F(RefusalTest, ThirtyForwardedAddressesAreTheMostOverAllFields) {
  std::string addresses = "10.0.0.1";
  for (int i = 0; i < 28; ++i) addresses += ", 10.0.0.1";
  add("x-forwarded-for", addresses);
  add("x-forwarded-for", "10.0.0.2");
  EXPECT_EQ(refused(), 0);
  add("x-forwarded-for", "10.0.0.3");
  EXPECT_EQ(refused(), 463);
}

TEST_F(RefusalTest, ListsThatTheDecoderCutAre400) {
  list_.too_large = true;
  EXPECT_EQ(refused(), 400);
}

class HeadRulesTest : public testing::Test {
 protected:
  std::string fields(const HeadRules& rules, const HeadRules::Connection& connection, bool client_sent_for) {
    std::string out;
    http::HeaderRunRef run = rules.constant_fields(connection, client_sent_for, runs_);
    for (const http::Field& f : run->fields()) out += std::string(f.name) + "=" + std::string(f.value) + ";";
    return out;
  }
  HeadRules::Connection client_{"203.0.113.9", 4711, "TLSv1.3", "TLS_AES_128_GCM_SHA256"};
  model::RoutingSnapshot snapshot_;
  model::Listener listener_;
  http::HeaderRuns runs_;
  HeadRules rules_;
};

TEST_F(HeadRulesTest, TheConstantFieldsOfAConnectionFollowTheMode) {
  rules_.compile(snapshot_, listener_);
  EXPECT_EQ(fields(rules_, client_, false),
            "x-forwarded-proto=https;x-forwarded-port=443;x-forwarded-for=203.0.113.9;");
  EXPECT_EQ(fields(rules_, client_, true), "x-forwarded-proto=https;x-forwarded-port=443;");
  for (auto mode : {model::ForwardedFor::Preserve, model::ForwardedFor::Remove}) {
    snapshot_.forwarded_for = mode;
    rules_.compile(snapshot_, listener_);
    EXPECT_EQ(fields(rules_, client_, false), "x-forwarded-proto=https;x-forwarded-port=443;");
  }
}

TEST_F(HeadRulesTest, ClientPortsStandBehindBracketsForIpv6) {
  snapshot_.forwarded_for_port = true;
  rules_.compile(snapshot_, listener_);
  EXPECT_EQ(rules_.address_of(client_), "203.0.113.9:4711");
  client_.client_address = "2001:db8::1";
  EXPECT_EQ(rules_.address_of(client_), "[2001:db8::1]:4711");
  snapshot_.forwarded_for_port = false;
  rules_.compile(snapshot_, listener_);
  EXPECT_EQ(rules_.address_of(client_), "2001:db8::1");
}

TEST_F(HeadRulesTest, TlsFieldsHaveTheNamesThatTheListenerGivesThem) {
  snapshot_.tls_headers = true;
  listener_.renamed_headers = {{"x-amzn-tls-version", "X-My-Version"}};
  rules_.compile(snapshot_, listener_);
  EXPECT_EQ(fields(rules_, client_, true),
            "x-forwarded-proto=https;x-forwarded-port=443;x-my-version=TLSv1.3;"
            "x-amzn-tls-cipher-suite=TLS_AES_128_GCM_SHA256;");
}

TEST(ReplyStyles, StrictModeSpeaksToEveryoneAsAlbDoes) {
  EXPECT_EQ(reply_style(true, false), ReplyStyle::Grpc);
  EXPECT_EQ(reply_style(false, false), ReplyStyle::Text);
  EXPECT_EQ(reply_style(true, true), ReplyStyle::Page);
  EXPECT_EQ(reason_phrase(503), "Service Temporarily Unavailable");
  EXPECT_EQ(reason_phrase(464), "");
}

}  // namespace
}  // namespace weir::proxy
