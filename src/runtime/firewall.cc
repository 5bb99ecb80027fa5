#include "runtime/firewall.h"

#include <arpa/inet.h>

#include <cctype>
#include <set>

#include "runtime/ipv4.h"
#include "runtime/netns.h"
#include "runtime/process.h"

namespace weir::runtime {
namespace {

constexpr size_t kCommentMax = 100;  // nft takes 128 bytes
constexpr size_t kRulesMax = 1000;   // ENI x 5 groups x 60 rules is AWS's default; its maximum is 1000
constexpr int kNftTimeoutMs = 10'000;

// Group ids become set names: letters, digits and underscores.
Result<std::string> set_name(const std::string& group_id) {
  std::string name = "g_";
  for (char c : group_id) {
    bool plain = std::isalnum(static_cast<unsigned char>(c));
    if (!plain && c != '-' && c != '_') return fail("\"" + group_id + "\" is not a security group id");
    name += plain ? c : '_';
  }
  if (group_id.empty() || name.size() > 100) return fail("\"" + group_id + "\" is not a security group id");
  return name;
}

std::string comment(const FirewallRule& rule) {
  std::string text;
  for (char c : rule.comment.substr(0, kCommentMax)) {
    text += c >= ' ' && c < 127 && c != '"' && c != '\\' ? c : '_';
  }
  return text.empty() ? "" : " comment \"" + text + "\"";
}

Result<std::string> peer(const FirewallRule& rule) {
  const char* side = rule.direction == FirewallRule::Direction::Ingress ? "saddr" : "daddr";
  if (!rule.group_id.empty()) {
    WEIR_TRY_ASSIGN(std::string name, set_name(rule.group_id));
    return std::string("ip ") + side + " @" + name + " ";
  }
  if (rule.cidr.find(':') != std::string::npos) {
    size_t slash = rule.cidr.find('/');
    in6_addr address;
    if (inet_pton(AF_INET6, rule.cidr.substr(0, slash).c_str(), &address) != 1 ||
        rule.cidr.find_first_not_of("0123456789abcdefABCDEF:./") != std::string::npos) {
      return fail("\"" + rule.cidr + "\" is not an IPv6 range");
    }
    return std::string("ip6 ") + side + " " + rule.cidr + " ";
  }
  WEIR_TRY_ASSIGN(Ipv4Range range, parse_ipv4_range(rule.cidr));
  if (range.prefix_length == 0) return std::string("meta nfproto ipv4 ");
  char text[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &range.network, text, sizeof text);
  return std::string("ip ") + side + " " + text + "/" + std::to_string(range.prefix_length) + " ";
}

Result<std::string> ports(const FirewallRule& rule) {
  if (rule.from_port < 0 && rule.to_port < 0) return std::string("meta l4proto " + rule.protocol + " ");
  int to = rule.to_port < 0 ? rule.from_port : rule.to_port;
  if (rule.from_port < 0 || to > 65535 || to < rule.from_port) {
    return fail("ports " + std::to_string(rule.from_port) + " to " + std::to_string(rule.to_port) +
                " are not a range");
  }
  if (rule.from_port == 0 && to == 65535) return std::string("meta l4proto " + rule.protocol + " ");
  std::string range = std::to_string(rule.from_port);
  if (to != rule.from_port) range += "-" + std::to_string(to);
  return rule.protocol + " dport " + range + " ";
}

// from_port is the ICMP type, to_port the code; -1 is any.
Result<std::string> icmp(const FirewallRule& rule) {
  if (rule.from_port < 0) return std::string("meta l4proto icmp ");
  if (rule.from_port > 255 || rule.to_port > 255) return fail("ICMP type or code above 255");
  std::string text = "icmp type " + std::to_string(rule.from_port) + " ";
  if (rule.to_port >= 0) text += "icmp code " + std::to_string(rule.to_port) + " ";
  return text;
}

Result<std::string> protocol(const FirewallRule& rule) {
  const std::string& name = rule.protocol;
  if (name == "-1") return std::string();
  if (name == "tcp" || name == "udp") return ports(rule);
  if (name == "icmp") return icmp(rule);
  FirewallRule known = rule;
  if (name == "6" || name == "17") {
    known.protocol = name == "6" ? "tcp" : "udp";
    return ports(known);
  }
  if (name == "1") return icmp(rule);
  bool number =
      !name.empty() && name.size() <= 3 && name.find_first_not_of("0123456789") == std::string::npos;
  if (!number || std::stoi(name) > 255)
    return fail("protocol \"" + name + "\" is none of tcp, udp, icmp, -1, 0-255");
  return std::string("meta l4proto " + name + " ");
}

// Every group a rule names has a set, also one without members.
Result<std::string> sets(const FirewallSpec& spec) {
  std::set<std::string> groups;
  for (const FirewallRule& rule : spec.rules) {
    if (!rule.group_id.empty()) groups.insert(rule.group_id);
  }
  std::string text;
  for (const std::string& group : groups) {
    WEIR_TRY_ASSIGN(std::string name, set_name(group));
    std::string elements;
    auto members = spec.group_members.find(group);
    if (members != spec.group_members.end()) {
      for (const std::string& address :
           std::set<std::string>(members->second.begin(), members->second.end())) {
        WEIR_TRY(parse_ipv4(address));
        elements += (elements.empty() ? "" : ", ") + address;
      }
    }
    text += "  set " + name + " {\n    type ipv4_addr;\n";
    if (!elements.empty()) text += "    elements = { " + elements + " }\n";
    text += "  }\n";
  }
  return text;
}

Result<std::string> rules(const FirewallSpec& spec, FirewallRule::Direction direction) {
  std::string text;
  for (const FirewallRule& rule : spec.rules) {
    if (rule.direction != direction) continue;
    WEIR_TRY_ASSIGN(std::string from, peer(rule));
    WEIR_TRY_ASSIGN(std::string what, protocol(rule));
    text += "    " + from + what + "counter accept" + comment(rule) + "\n";
  }
  return text;
}

}  // namespace

Result<std::string> firewall_script(const FirewallSpec& spec) {
  if (spec.rules.size() > kRulesMax)
    return fail("more than " + std::to_string(kRulesMax) + " security group rules");
  WEIR_TRY_ASSIGN(std::string group_sets, sets(spec));
  WEIR_TRY_ASSIGN(std::string in, rules(spec, FirewallRule::Direction::Ingress));
  WEIR_TRY_ASSIGN(std::string out, rules(spec, FirewallRule::Direction::Egress));
  // Naming the table first makes its deletion valid also when there is none yet.
  std::string text = "table inet weir_sg\ndelete table inet weir_sg\ntable inet weir_sg {\n" + group_sets;
  text +=
      "  chain ingress {\n"
      "    type filter hook input priority filter; policy drop;\n"
      "    iif lo accept\n"
      "    ct state established,related accept\n"
      "    ct state invalid drop\n" +
      in +
      "    icmp type { destination-unreachable, time-exceeded, parameter-problem } accept\n"
      "    counter drop comment \"default deny\"\n"
      "  }\n";
  text += "  chain egress {\n";
  if (out.empty()) {
    // Connection tracking of what goes out is what lets the answers in.
    text +=
        "    type filter hook output priority filter; policy accept;\n    ct state established,related "
        "accept\n";
  } else {
    text +=
        "    type filter hook output priority filter; policy drop;\n"
        "    oif lo accept\n"
        "    ct state established,related accept\n" +
        out + "    counter drop comment \"default deny\"\n";
  }
  return text + "  }\n}\n";
}

Result<void> load_firewall(const std::string& netns_path, const FirewallSpec& spec) {
  WEIR_TRY_ASSIGN(std::string script, firewall_script(spec));
  return in_netns(netns_path, [&script]() -> Result<void> {
    ProcessSpec nft;
    nft.argv = {"nft", "-f", "-"};
    nft.input = script;
    nft.timeout_ms = kNftTimeoutMs;
    WEIR_TRY_ASSIGN(ProcessResult result, run_process(nft));
    // nft's first line holds the cause, the following ones repeat the input.
    if (result.exit_code != 0) {
      return fail("security group: nft: " + result.err.substr(0, result.err.find('\n')), result.exit_code);
    }
    return {};
  });
}

}  // namespace weir::runtime
