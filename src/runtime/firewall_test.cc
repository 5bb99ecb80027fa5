#include "runtime/firewall.h"

#include <gtest/gtest.h>

namespace weir::runtime {
namespace {

FirewallRule ingress(const std::string& protocol, int from, int to, const std::string& cidr) {
  FirewallRule rule;
  rule.protocol = protocol;
  rule.from_port = from;
  rule.to_port = to;
  rule.cidr = cidr;
  return rule;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string script(const FirewallSpec& spec) {
  Result<std::string> made = firewall_script(spec);
  return made ? *made : "error: " + made.error().message;
}

TEST(FirewallScript, WithoutRulesDeniesAllInAndAllowsAllOut) {
  std::string text = script({});
  EXPECT_TRUE(has(text, "hook input priority filter; policy drop;"));
  EXPECT_TRUE(has(text, "hook output priority filter; policy accept;"));
  EXPECT_FALSE(has(text, "counter accept"));
}

TEST(FirewallScript, ReplacesItsPredecessorInOneTransaction) {
  EXPECT_TRUE(
      script({}).starts_with("table inet weir_sg\ndelete table inet weir_sg\ntable inet weir_sg {\n"));
}

TEST(FirewallScript, NamesOneSetPerReferencedGroupAlsoAnEmptyOne) {
  FirewallRule rule = ingress("tcp", 50051, 50051, "");
  rule.group_id = "sg-0a";
  FirewallRule empty = rule;
  empty.group_id = "sg-0b";
  FirewallSpec spec{{rule, rule, empty},
                    {{"sg-0a", {"10.0.1.5", "10.0.1.5", "10.0.1.4"}}, {"sg-unused", {"10.9.9.9"}}}};
  std::string text = script(spec);
  EXPECT_TRUE(has(text, "set g_sg_0a {\n    type ipv4_addr;\n    elements = { 10.0.1.4, 10.0.1.5 }\n"));
  EXPECT_TRUE(has(text, "set g_sg_0b {\n    type ipv4_addr;\n  }"));
  EXPECT_TRUE(has(text, "ip saddr @g_sg_0a tcp dport 50051 counter accept"));
  EXPECT_FALSE(has(text, "10.9.9.9"));
}

TEST(FirewallScript, DropsWhatLeavesWhenThereAreEgressRules) {
  FirewallRule rule = ingress("tcp", 443, 445, "10.0.0.7/16");
  rule.direction = FirewallRule::Direction::Egress;
  std::string text = script({{rule}, {}});
  EXPECT_TRUE(has(text, "hook output priority filter; policy drop;"));
  EXPECT_TRUE(has(text, "ip daddr 10.0.0.0/16 tcp dport 443-445 counter accept"));
}

TEST(FirewallScript, TranslatesProtocols) {
  EXPECT_TRUE(
      has(script({{ingress("-1", -1, -1, "0.0.0.0/0")}, {}}), "    meta nfproto ipv4 counter accept"));
  EXPECT_TRUE(has(script({{ingress("tcp", 0, 65535, "0.0.0.0/0")}, {}}),
                  "meta nfproto ipv4 meta l4proto tcp counter"));
  EXPECT_TRUE(
      has(script({{ingress("17", 53, 53, "10.0.0.2/32")}, {}}), "ip saddr 10.0.0.2/32 udp dport 53 counter"));
  EXPECT_TRUE(
      has(script({{ingress("icmp", 8, 0, "10.0.0.0/8")}, {}}), "icmp type 8 icmp code 0 counter accept"));
  EXPECT_TRUE(has(script({{ingress("icmp", -1, -1, "10.0.0.0/8")}, {}}), "meta l4proto icmp counter accept"));
  EXPECT_TRUE(has(script({{ingress("50", -1, -1, "10.0.0.0/8")}, {}}), "meta l4proto 50 counter accept"));
  EXPECT_TRUE(
      has(script({{ingress("tcp", 1, 2, "::/0")}, {}}), "ip6 saddr ::/0 tcp dport 1-2 counter accept"));
}

TEST(FirewallScript, RefusesWhatIsNoAddressPortProtocolOrGroup) {
  auto refused = [](const FirewallSpec& spec) { return !firewall_script(spec).has_value(); };
  EXPECT_TRUE(refused({{ingress("tcp", 1, 1, "10.0.0.0/33")}, {}}));
  EXPECT_TRUE(refused({{ingress("tcp", 1, 1, "10.0.0.0; drop")}, {}}));
  EXPECT_TRUE(refused({{ingress("tcp", 1, 1, "::1/x; drop")}, {}}));
  EXPECT_TRUE(refused({{ingress("tcp", 1, 1, "")}, {}}));
  EXPECT_TRUE(refused({{ingress("tcp", 2, 1, "10.0.0.0/8")}, {}}));
  EXPECT_TRUE(refused({{ingress("tcp", 1, 70000, "10.0.0.0/8")}, {}}));
  EXPECT_TRUE(refused({{ingress("tcp; drop", 1, 1, "10.0.0.0/8")}, {}}));
  EXPECT_TRUE(refused({{ingress("256", -1, -1, "10.0.0.0/8")}, {}}));
  FirewallRule rule = ingress("tcp", 1, 1, "");
  rule.group_id = "sg }";
  EXPECT_TRUE(refused({{rule}, {}}));
  rule.group_id = "sg-1";
  EXPECT_TRUE(refused({{rule}, {{"sg-1", {"10.0.0.1 }"}}}}));
  EXPECT_TRUE(refused({std::vector<FirewallRule>(1001, ingress("tcp", 1, 1, "10.0.0.0/8")), {}}));
}

TEST(FirewallScript, KeepsACommentInsideItsQuotes) {
  FirewallRule rule = ingress("tcp", 1, 1, "10.0.0.0/8");
  rule.comment = "a\" accept\n\\";
  EXPECT_TRUE(has(script({{rule}, {}}), "counter accept comment \"a_ accept__\"\n"));
}

}  // namespace
}  // namespace weir::runtime
