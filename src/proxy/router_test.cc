#include "proxy/router.h"

#include <gtest/gtest.h>

namespace weir::proxy {
namespace {

using Field = model::Condition::Field;

TEST(Wildcard, AStarStandsForAnyNumberOfCharactersSlashesToo) {
  EXPECT_TRUE(matches_wildcard("*", "", Case::Sensitive));
  EXPECT_TRUE(matches_wildcard("/pkg.Service/*", "/pkg.Service/Method", Case::Sensitive));
  EXPECT_TRUE(matches_wildcard("/pkg.Service/*", "/pkg.Service/", Case::Sensitive));
  EXPECT_TRUE(matches_wildcard("/*/Method", "/a/b/c/Method", Case::Sensitive));
  EXPECT_FALSE(matches_wildcard("/pkg.Service/*", "/pkg.Service", Case::Sensitive));
  EXPECT_TRUE(matches_wildcard("*aab*", "aaaaaaab", Case::Sensitive));
}

TEST(Wildcard, AQuestionMarkStandsForExactlyOneCharacter) {
  EXPECT_TRUE(matches_wildcard("/v?/x", "/v1/x", Case::Sensitive));
  EXPECT_FALSE(matches_wildcard("/v?/x", "/v/x", Case::Sensitive));
  EXPECT_FALSE(matches_wildcard("/v?/x", "/v12/x", Case::Sensitive));
  EXPECT_FALSE(matches_wildcard("?", "", Case::Sensitive));
}

TEST(Wildcard, MatchesTheWholeTextAndNoPrefixOfIt) {
  EXPECT_FALSE(matches_wildcard("/pkg", "/pkg.Service/Method", Case::Sensitive));
  EXPECT_FALSE(matches_wildcard("", "x", Case::Sensitive));
  EXPECT_TRUE(matches_wildcard("", "", Case::Sensitive));
}

TEST(Wildcard, LettersAreComparedAsAsked) {
  EXPECT_FALSE(matches_wildcard("/Pkg", "/pkg", Case::Sensitive));
  EXPECT_TRUE(matches_wildcard("*.Example.com", "API.eXample.COM", Case::Insensitive));
}

TEST(Wildcard, ABackslashTakesTheMeaningFromStarAndQuestionMark) {
  EXPECT_TRUE(matches_wildcard("a\\*b", "a*b", Case::Sensitive));
  EXPECT_FALSE(matches_wildcard("a\\*b", "axb", Case::Sensitive));
  EXPECT_TRUE(matches_wildcard("*\\?", "what?", Case::Sensitive));
  EXPECT_FALSE(matches_wildcard("*\\?", "what!", Case::Sensitive));
  EXPECT_TRUE(matches_wildcard("a\\b", "a\\b", Case::Sensitive));
}

TEST(Wildcard, ManyStarsAgainstALongTextEndSoon) {
  std::string text(16000, 'a');
  EXPECT_FALSE(matches_wildcard("*a*a*a*a*b", text, Case::Sensitive));
}

TEST(Cidr, HoldsTheAddressesOfTheBlockAndNoOthers) {
  EXPECT_TRUE(address_in_cidr("10.1.2.3", "10.0.0.0/8"));
  EXPECT_FALSE(address_in_cidr("11.1.2.3", "10.0.0.0/8"));
  EXPECT_TRUE(address_in_cidr("10.0.15.255", "10.0.0.0/20"));
  EXPECT_FALSE(address_in_cidr("10.0.16.0", "10.0.0.0/20"));
  EXPECT_TRUE(address_in_cidr("1.2.3.4", "0.0.0.0/0"));
  EXPECT_TRUE(address_in_cidr("1.2.3.4", "1.2.3.4/32"));
  EXPECT_FALSE(address_in_cidr("1.2.3.5", "1.2.3.4/32"));
  EXPECT_TRUE(address_in_cidr("2001:db8:1::1", "2001:db8::/32"));
  EXPECT_FALSE(address_in_cidr("2001:db9::1", "2001:db8::/32"));
  EXPECT_TRUE(address_in_cidr("::1", "::/0"));
}

TEST(Cidr, FamiliesDoNotMixAndNonsenseHoldsNothing) {
  EXPECT_FALSE(address_in_cidr("::1", "0.0.0.0/0"));
  EXPECT_FALSE(address_in_cidr("1.2.3.4", "::/0"));
  EXPECT_FALSE(address_in_cidr("1.2.3.4", "1.2.3.0/33"));
  EXPECT_FALSE(address_in_cidr("1.2.3.4", "1.2.3.0/"));
  EXPECT_FALSE(address_in_cidr("1.2.3.4", "1.2.3.0/24x"));
  EXPECT_FALSE(address_in_cidr("1.2.3.4", "example"));
  EXPECT_FALSE(address_in_cidr("example", "0.0.0.0/0"));
  EXPECT_FALSE(address_in_cidr(std::string_view("1.2.3.4\0x", 9), "0.0.0.0/0"));
}

TEST(NormalPath, LeavesOrdinaryPathsAloneAndDoesNotLeaveTheRoot) {
  Arena arena;
  std::string_view plain = "/pkg.Service/Method";
  EXPECT_EQ(normal_path(plain, arena).data(), plain.data());
  EXPECT_EQ(normal_path("/..", arena), "/");
  EXPECT_EQ(normal_path("/../../a", arena), "/a");
  EXPECT_EQ(normal_path("/a/b/..", arena), "/a/");
  EXPECT_EQ(normal_path("/a/.", arena), "/a/");
  EXPECT_EQ(normal_path("/a/.hidden/..b", arena), "/a/.hidden/..b");
  EXPECT_EQ(normal_path("/%7Euser/%3a", arena), "/~user/%3A");
  EXPECT_EQ(normal_path("/100%", arena), "/100%");
  EXPECT_EQ(normal_path("/%zz/%4", arena), "/%zz/%4");
  EXPECT_EQ(normal_path("*", arena), "*");
}

TEST(Patterns, OfEachKindMatchAsTheGeneralOneDoes) {
  for (std::string pattern :
       {"", "*", "**", "abc", "ABC", "a*", "*c", "a*c", "?bc", "a\\*", "*\\*", "a\\?c", "\\*bc"}) {
    for (std::string text : {"", "a", "abc", "aBc", "c", "a*", "*bc", "a?c", "xabc", "abcx"}) {
      for (Case letters : {Case::Sensitive, Case::Insensitive}) {
        EXPECT_EQ(Pattern(pattern, letters).matches(text), matches_wildcard(pattern, text, letters))
            << pattern << " " << text;
      }
    }
  }
}

class RouteTest : public testing::Test {
 protected:
  RouteTest() {
    head_.method = "POST";
    head_.scheme = "https";
    head_.authority = "api.example.com:443";
    head_.path = "/pkg.Service/Method?trace=On&empty";
    header("content-type", "application/grpc+proto");
    header("x-tenant", "Blue");
    header("x-tenant", "Green");
    listener_.default_action.status = 1;
  }
  void header(std::string_view name, std::string_view value) {
    headers_.fields.push_back({name, value, 0, http::token_of(name), false});
  }
  // The status of the action chosen by a listener with one rule of these conditions: 2, or 1 by default.
  int chosen(std::vector<model::Condition> conditions) {
    model::Rule rule;
    rule.conditions = std::move(conditions);
    rule.action.status = 2;
    listener_.rules = {rule};
    return route();
  }
  int route() {
    router_.compile(listener_, [](const std::string&) { return Handle<Group>{}; });
    return again();
  }
  int again() { return router_.route({head_, headers_, client_}, arena_).status; }
  int chosen(Field field, std::vector<std::string> values, std::string name = "") {
    return chosen({model::Condition{field, std::move(name), std::move(values), {}, {}}});
  }
  int by_query(std::vector<model::NameValue> pairs) {
    return chosen({model::Condition{Field::QueryString, "", {}, std::move(pairs), {}}});
  }
  int by_regex(Field field, std::string regex, std::string name = "") {
    return chosen({model::Condition{field, std::move(name), {}, {}, {std::move(regex)}}});
  }

  http::MessageHead head_;
  http::HeaderList headers_;
  IpAddress client_ = IpAddress::parse("203.0.113.9");
  model::Listener listener_;
  Router router_;
  Arena arena_;
};

TEST_F(RouteTest, PathPatternsAreCaseSensitiveAndLeaveTheQueryOut) {
  EXPECT_EQ(chosen(Field::PathPattern, {"/pkg.Service/Method"}), 2);
  EXPECT_EQ(chosen(Field::PathPattern, {"/PKG.Service/*"}), 1);
  EXPECT_EQ(chosen(Field::PathPattern, {"*trace*"}), 1);
}

TEST_F(RouteTest, HostHeadersIgnoreCaseAndThePort) {
  EXPECT_EQ(chosen(Field::HostHeader, {"API.Example.com"}), 2);
  EXPECT_EQ(chosen(Field::HostHeader, {"*.example.com"}), 2);
  head_.authority = "example.com";
  EXPECT_EQ(chosen(Field::HostHeader, {"*.example.com"}), 1);
  head_.authority = "[::1]:8443";
  EXPECT_EQ(chosen(Field::HostHeader, {"[::1]"}), 2);
}

TEST_F(RouteTest, EveryValueOfARepeatedHeaderIsLookedAtAndItsNameIgnoresCase) {
  EXPECT_EQ(chosen(Field::HttpHeader, {"green"}, "x-tenant"), 2);
  EXPECT_EQ(chosen(Field::HttpHeader, {"green"}, "X-Tenant"), 2);
  EXPECT_EQ(chosen(Field::HttpHeader, {"application/grpc*"}, "Content-Type"), 2);
  EXPECT_EQ(chosen(Field::HttpHeader, {"red"}, "x-tenant"), 1);
  EXPECT_EQ(chosen(Field::HttpHeader, {"*"}, "x-other"), 1);
}

TEST_F(RouteTest, QueryStringsMatchByKeyAndValueOrByValueAlone) {
  EXPECT_EQ(by_query({{"trace", "on"}}), 2);
  EXPECT_EQ(by_query({{"", "ON"}}), 2);
  EXPECT_EQ(by_query({{"trace", "off"}}), 1);
  EXPECT_EQ(by_query({{"tra*", "o?"}}), 2);
  EXPECT_EQ(by_query({{"other", "*"}, {"empty", "*"}}), 2);
  EXPECT_EQ(by_query({{"", "trace"}}), 1);
  head_.path = "/x";
  EXPECT_EQ(by_query({{"", "*"}}), 1);
}

TEST_F(RouteTest, AKeyOrValueOfAQueryMayHoldAnEqualsSignOrAnEscapedStar) {
  head_.path = "/x?a=b=c&price=5*&q=what?";
  EXPECT_EQ(by_query({{"a", "b=c"}}), 2);
  EXPECT_EQ(by_query({{"a=b", "c"}}), 1);
  EXPECT_EQ(by_query({{"price", "5\\*"}}), 2);
  EXPECT_EQ(by_query({{"price", "\\*"}}), 1);
  EXPECT_EQ(by_query({{"q", "*\\?"}}), 2);
}

TEST_F(RouteTest, RegularExpressionsAreFoundAnywhereInPathHostAndHeader) {
  EXPECT_EQ(by_regex(Field::PathPattern, "^/pkg\\.[A-Z][a-z]+/Method$"), 2);
  EXPECT_EQ(by_regex(Field::PathPattern, "Service"), 2);
  EXPECT_EQ(by_regex(Field::PathPattern, "service"), 1);
  EXPECT_EQ(by_regex(Field::PathPattern, "trace"), 1);
  EXPECT_EQ(by_regex(Field::HostHeader, "^API\\.example"), 2);
  EXPECT_EQ(by_regex(Field::HostHeader, "443"), 1);
  EXPECT_EQ(by_regex(Field::HttpHeader, "^gr..n$", "X-Tenant"), 2);
  EXPECT_EQ(by_regex(Field::HttpHeader, "^gr..n$", "x-other"), 1);
  EXPECT_EQ(by_regex(Field::PathPattern, "(unbalanced"), 1);
}

TEST_F(RouteTest, PathsAreComparedInNormalForm) {
  head_.path = "/a/../pkg%2eService/./Metho%64?x=/../";
  EXPECT_EQ(chosen(Field::PathPattern, {"/pkg.Service/Method"}), 2);
  EXPECT_EQ(again(), 2);
  head_.path = "/pkg.Service%2fMethod";
  EXPECT_EQ(chosen(Field::PathPattern, {"/pkg.Service/Method"}), 1);
  EXPECT_EQ(chosen(Field::PathPattern, {"/pkg.Service%2FMethod"}), 2);
}

TEST_F(RouteTest, AHostHeaderFieldStandsInForAMissingAuthority) {
  head_.authority = "";
  header("host", "b.example.com:8443");
  EXPECT_EQ(chosen(Field::HostHeader, {"b.example.com"}), 2);
}

TEST_F(RouteTest, MethodsAreExactAndCaseSensitive) {
  EXPECT_EQ(chosen(Field::Method, {"GET", "POST"}), 2);
  EXPECT_EQ(chosen(Field::Method, {"post"}), 1);
  EXPECT_EQ(chosen(Field::Method, {"P*"}), 1);
}

TEST_F(RouteTest, SourceIpIsThePeersAddressNeverXForwardedFor) {
  header("x-forwarded-for", "198.51.100.1");
  EXPECT_EQ(chosen(Field::SourceIp, {"203.0.113.0/24"}), 2);
  EXPECT_EQ(chosen(Field::SourceIp, {"198.51.100.0/24"}), 1);
}

TEST_F(RouteTest, AllConditionsMustHoldAndAnyValueOfEachIsEnough) {
  model::Condition path{Field::PathPattern, "", {"/nothing", "/pkg.*"}, {}, {}};
  model::Condition post{Field::Method, "", {"POST"}, {}, {}};
  model::Condition get{Field::Method, "", {"GET"}, {}, {}};
  EXPECT_EQ(chosen({path, post}), 2);
  EXPECT_EQ(chosen({path, get}), 1);
}

TEST_F(RouteTest, TheFirstRuleThatHoldsWins) {
  model::Rule first, second;
  first.priority = 1;
  first.conditions = {{Field::PathPattern, "", {"/pkg.Service/*"}, {}, {}}};
  first.action.status = 10;
  second.priority = 2;
  second.conditions = {{Field::PathPattern, "", {"*"}, {}, {}}};
  second.action.status = 20;
  listener_.rules = {first, second};
  EXPECT_EQ(route(), 10);
  EXPECT_EQ(again(), 10);
  head_.path = "/other";
  EXPECT_EQ(again(), 20);
  EXPECT_EQ(again(), 20);
  listener_.rules = {second, first};
  head_.path = "/pkg.Service/Method";
  EXPECT_EQ(route(), 10) << "priorities decide, not the order";
}

TEST_F(RouteTest, WhatIsRememberedOfARequestLeavesOutHeadersQueryAndAddress) {
  model::Rule tenant, source, path;
  tenant.priority = 1;
  tenant.conditions = {{Field::HttpHeader, "x-tenant", {"blue"}, {}, {}}, {Field::PathPattern, "", {"/pkg.*"}, {}, {}}};
  tenant.action.status = 10;
  source.priority = 2;
  source.conditions = {{Field::SourceIp, "", {"198.51.100.0/24"}, {}, {}}};
  source.action.status = 20;
  path.priority = 3;
  path.conditions = {{Field::PathPattern, "", {"/pkg.*"}, {}, {}}, {Field::HostHeader, "", {"api.*"}, {}, {}}};
  path.action.status = 30;
  listener_.rules = {tenant, source, path};
  head_.path = "/pkg.Service/Method";
  EXPECT_EQ(route(), 10);
  headers_.fields.clear();
  EXPECT_EQ(again(), 30);
  client_ = IpAddress::parse("198.51.100.7");
  EXPECT_EQ(again(), 20);
  client_ = IpAddress::parse("203.0.113.9");
  head_.authority = "other.example.com";
  EXPECT_EQ(again(), 1);
  head_.authority = "api.example.com";
  EXPECT_EQ(again(), 30);
}

TEST_F(RouteTest, AHundredRulesAnswerAsOneByOneForManyPaths) {
  std::vector<std::string> paths;
  for (int i = 0; i < 100; ++i) {
    model::Rule rule;
    rule.priority = static_cast<uint32_t>(i + 1);
    std::string service = "/pkg.Service" + std::to_string(i) + "/";
    rule.conditions = {{Field::PathPattern, "", {service + "*"}, {}, {}}};
    rule.action.status = static_cast<uint16_t>(100 + i);
    listener_.rules.push_back(rule);
    for (int m = 0; m < 20; ++m) paths.push_back(service + "Method" + std::to_string(m));
  }
  head_.path = paths[0];
  route();
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < paths.size(); ++i) {
      head_.path = paths[i];
      ASSERT_EQ(again(), static_cast<int>(100 + i / 20)) << paths[i];
    }
  }
}

TEST(RuleActions, SharesFollowTheWeightsAndWeightZeroGetsNothing) {
  RuleAction action;
  action.shares = {{{1, 1}, 1}, {{2, 1}, 4}};
  Random random(7);
  int second = 0;
  for (int i = 0; i < 4000; ++i) second += action.choose(random).index == 2;
  EXPECT_NEAR(second, 3000, 150);
  Router router;
  Arena arena;
  model::Listener listener;
  listener.default_action.groups = {{"a", 0}, {"b", 5}, {"gone", 0}};
  router.compile(listener, [](const std::string& arn) { return Handle<Group>{arn == "b" ? 9u : 1u, 1}; });
  http::MessageHead head;
  http::HeaderList headers;
  const RuleAction& chosen = router.route({head, headers, IpAddress{}}, arena);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(chosen.choose(random).index, 9u);
  listener.default_action.groups = {{"a", 0}, {"b", 0}};
  router.compile(listener, [](const std::string&) { return Handle<Group>{1, 1}; });
  EXPECT_FALSE(router.route({head, headers, IpAddress{}}, arena).choose(random).valid());
}

}  // namespace
}  // namespace weir::proxy
