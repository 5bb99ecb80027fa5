#include "http/message_rules.h"

#include <gtest/gtest.h>

#include <utility>

namespace weir::http {
namespace {

HeaderList list_of(std::initializer_list<std::pair<const char*, const char*>> pairs) {
  HeaderList list;
  for (auto [name, value] : pairs) list.add({name, value, 0, token_of(name)});
  return list;
}

bool request(std::initializer_list<std::pair<const char*, const char*>> pairs, MessageHead& head) {
  HeaderList list = list_of(pairs);
  const MessageHead* good = check_request(list);
  if (good != nullptr) head = *good;
  return good != nullptr;
}

TEST(MessageRules, ARequestsHeadIsTakenApart) {
  MessageHead head;
  ASSERT_TRUE(request({{":authority", "a:1"}, {":path", "/x"}, {":scheme", "https"}, {":method", "POST"},
                       {"te", "trailers"}, {"content-length", "12"}}, head));
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.scheme, "https");
  EXPECT_EQ(head.authority, "a:1");
  EXPECT_EQ(head.path, "/x");
  EXPECT_EQ(head.content_length, 12);
  EXPECT_EQ(head.status, 0);
}

TEST(MessageRules, AnAuthorityIsNotNeeded) {
  MessageHead head;
  EXPECT_TRUE(request({{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"host", "a"}}, head));
  EXPECT_EQ(head.authority, "");
  EXPECT_EQ(head.content_length, -1);
}

TEST(MessageRules, AStarIsForOptionsOnly) {
  MessageHead a, b;
  EXPECT_TRUE(request({{":method", "OPTIONS"}, {":scheme", "http"}, {":path", "*"}}, a));
  EXPECT_FALSE(request({{":method", "GET"}, {":scheme", "http"}, {":path", "*"}}, b));
}

TEST(MessageRules, TextThatAnotherParserWouldReadDifferentlyIsRefused) {
  auto with = [](const char* method, const char* scheme, const char* path, const char* authority) {
    MessageHead head;
    return request({{":method", method}, {":scheme", scheme}, {":path", path}, {":authority", authority}}, head);
  };
  EXPECT_TRUE(with("POST", "https", "/a.B/C?x=%20y;z=[1]", "[::1]:443"));
  EXPECT_TRUE(with("VERSION-CONTROL", "http", "/", "a_b.example:1"));
  for (const char* path : {"/a b", "/a\tb", "/a#b", "/a\x01", "/a\x7f", "/ HTTP/1.1", "a", "http://x/", "//\n"}) {
    EXPECT_FALSE(with("POST", "https", path, "a")) << path;
  }
  for (const char* authority : {"user@a", "a b", "a/b", "a?b", "a#b", "a\\b", "a\x01"}) {
    EXPECT_FALSE(with("POST", "https", "/", authority)) << authority;
  }
  for (const char* word : {"", "PO ST", "POST\r", "GET /x", "G\x7f", "a:b", "a/b"}) {
    EXPECT_FALSE(with(word, "https", "/", "a")) << word;
    EXPECT_FALSE(with("POST", word, "/", "a")) << word;
  }
}

TEST(MessageRules, LengthsMustBeNumbersThatAgree) {
  auto length = [](const char* a, const char* b) {
    MessageHead head;
    bool ok = request({{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"content-length", a},
                       {"content-length", b}}, head);
    return ok ? head.content_length : -2;
  };
  EXPECT_EQ(length("0", "0"), 0);
  EXPECT_EQ(length("7", "007"), 7);
  EXPECT_EQ(length("999999999999999999", "999999999999999999"), 999999999999999999);
  EXPECT_EQ(length("7", "8"), -2);
  EXPECT_EQ(length("9999999999999999999", "1"), -2) << "would overflow";
  EXPECT_EQ(length("+7", "7"), -2);
  EXPECT_EQ(length("7,7", "7"), -2);
}

TEST(MessageRules, AStatusHasThreeDigits) {
  auto status = [](const char* value) {
    HeaderList list = list_of({{":status", value}});
    const MessageHead* head = check_response(list);
    return head != nullptr ? head->status : -1;
  };
  EXPECT_EQ(status("100"), 100);
  EXPECT_EQ(status("999"), 999);
  for (const char* bad : {"", "1", "20", "099", "000", "2000", " 20", "20 ", "-10", "2.0"}) EXPECT_EQ(status(bad), -1);
}

TEST(MessageRules, TrailersHoldNeitherPseudoNorConnectionFields) {
  EXPECT_TRUE(check_trailers(list_of({})));
  EXPECT_TRUE(check_trailers(list_of({{"grpc-status", "0"}, {"te", "trailers"}, {"x", ""}})));
  EXPECT_FALSE(check_trailers(list_of({{":status", "200"}})));
  EXPECT_FALSE(check_trailers(list_of({{"x", "1"}, {":anything", "1"}})));
  EXPECT_FALSE(check_trailers(list_of({{"connection", "x"}})));
  EXPECT_FALSE(check_trailers(list_of({{"te", "gzip"}})));
}

}  // namespace
}  // namespace weir::http
