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
    return route(listener_, {head_, headers_, "203.0.113.9"}).status;
  }
  int chosen(Field field, std::vector<std::string> values, std::string name = "") {
    return chosen({model::Condition{field, std::move(name), std::move(values)}});
  }

  http::MessageHead head_;
  http::HeaderList headers_;
  model::Listener listener_;
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
  EXPECT_EQ(chosen(Field::QueryString, {"trace=on"}), 2);
  EXPECT_EQ(chosen(Field::QueryString, {"ON"}), 2);
  EXPECT_EQ(chosen(Field::QueryString, {"trace=off"}), 1);
  head_.path = "/x";
  EXPECT_EQ(chosen(Field::QueryString, {"*"}), 1);
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
  model::Condition path{Field::PathPattern, "", {"/nothing", "/pkg.*"}};
  model::Condition post{Field::Method, "", {"POST"}};
  model::Condition get{Field::Method, "", {"GET"}};
  EXPECT_EQ(chosen({path, post}), 2);
  EXPECT_EQ(chosen({path, get}), 1);
}

TEST_F(RouteTest, TheFirstRuleThatHoldsWins) {
  model::Rule first, second;
  first.priority = 1;
  first.conditions = {{Field::PathPattern, "", {"/pkg.Service/*"}}};
  first.action.status = 10;
  second.priority = 2;
  second.conditions = {{Field::PathPattern, "", {"*"}}};
  second.action.status = 20;
  listener_.rules = {first, second};
  EXPECT_EQ(route(listener_, {head_, headers_, "203.0.113.9"}).status, 10);
  head_.path = "/other";
  EXPECT_EQ(route(listener_, {head_, headers_, "203.0.113.9"}).status, 20);
}

}  // namespace
}  // namespace weir::proxy
