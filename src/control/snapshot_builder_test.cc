// What the documents of listeners and rules become in the snapshot.
#include <nlohmann/json.hpp>

#include "control/world.h"

namespace weir::control {
namespace {

using std::chrono::seconds;

TEST_F(World, RulesArriveWithPairsOfTheQueryAndRegularExpressions) {
  make_stack(1);
  ASSERT_TRUE(until([&] { return steady(1); }));
  Json query{{"Field", "query-string"},
             {"QueryStringConfig", {{"Values", {{{"Key", "a=b"}, {"Value", "1"}}, {{"Value", "x*"}}}}}}};
  Json path{{"Field", "path-pattern"}, {"PathPatternConfig", {{"RegexValues", {"^/v[0-9]/"}}}}};
  put(kind::kRule, "rule-1", {{"RuleArn", "rule-1"}, {"ListenerArn", kListener1}, {"Priority", "7"},
                              {"Conditions", {query, path}},
                              {"Actions", {{{"Type", "forward"}, {"TargetGroupArn", kGroup}}}}});
  ASSERT_TRUE(until([&] { return !processes.only().snapshot->listeners[0].rules.empty(); }, seconds(60)));
  const model::Rule& rule = processes.only().snapshot->listeners[0].rules[0];
  EXPECT_EQ(rule.priority, 7u);
  ASSERT_EQ(rule.conditions.size(), 2u);
  ASSERT_EQ(rule.conditions[0].query.size(), 2u);
  EXPECT_EQ(rule.conditions[0].query[0].name, "a=b");
  EXPECT_EQ(rule.conditions[0].query[1].name, "");
  EXPECT_EQ(rule.conditions[0].query[1].value, "x*");
  EXPECT_EQ(rule.conditions[1].regex_values, std::vector<std::string>{"^/v[0-9]/"});
  EXPECT_TRUE(rule.conditions[1].values.empty());
}

TEST_F(World, HeaderAttributesOfAListenerArriveByTheirHttpNames) {
  make_stack(1);
  ASSERT_TRUE(until([&] { return steady(1); }));
  edit(kind::kListener, kListener1, [](Json& listener) {
    listener["weir"]["attributes"] = {
        {"routing.http.response.server.enabled", "false"},
        {"routing.http.response.x_frame_options.header_value", "DENY"},
        {"routing.http.response.access_control_allow_origin.header_value", ""},
        {"routing.http.request.x_amzn_tls_version.header_name", "X-My-Version"},
        {"routing.http.request.x_amzn_mtls_clientcert_leaf.header_name", "X-Leaf"}};
  });
  ASSERT_TRUE(until([&] { return !processes.only().snapshot->listeners[0].server_header; }, seconds(60)));
  const model::Listener& listener = processes.only().snapshot->listeners[0];
  ASSERT_EQ(listener.response_headers.size(), 1u);
  EXPECT_EQ(listener.response_headers[0].name, "x-frame-options");
  EXPECT_EQ(listener.response_headers[0].value, "DENY");
  ASSERT_EQ(listener.renamed_headers.size(), 1u);
  EXPECT_EQ(listener.renamed_headers[0].name, "x-amzn-tls-version");
}

}  // namespace
}  // namespace weir::control
