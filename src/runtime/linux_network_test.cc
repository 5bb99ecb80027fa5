// Real namespaces, real packets: needs root and nft. Every connection starts in a namespace made here.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "runtime/driver.h"
#include "runtime/netlink.h"
#include "runtime/netns.h"
#include "runtime/process.h"
#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

constexpr uint16_t kPort = 50051;
constexpr int kAllowedMs = 5000;
constexpr int kDeniedMs = 400;

FirewallRule allow_cidr(const std::string& cidr, int port) {
  FirewallRule rule;
  rule.protocol = "tcp";
  rule.from_port = rule.to_port = port;
  rule.cidr = cidr;
  return rule;
}

FirewallRule allow_group(const std::string& group, int port) {
  FirewallRule rule = allow_cidr("", port);
  rule.group_id = group;
  return rule;
}

ino_t netns_inode(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

// A connected socket made inside the namespace; errno as the code of the error.
Result<UniqueFd> connect_in(const std::string& netns, const std::string& address, uint16_t port,
                            int timeout_ms) {
  UniqueFd fd;
  WEIR_TRY(in_netns(netns, [&]() -> Result<void> {
    if (netns_inode("/proc/thread-self/ns/net") == netns_inode("/proc/1/ns/net"))
      return fail("this is the host");
    fd = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    inet_pton(AF_INET, address.c_str(), &to.sin_addr);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS) {
      return fail_errno("connect", errno);
    }
    pollfd wait{fd.get(), POLLOUT, 0};
    if (::poll(&wait, 1, timeout_ms) == 0) return fail_errno("connect", ETIMEDOUT);
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return fail_errno("connect", error);
    return {};
  }));
  return fd;
}

int connect_code(const std::string& netns, const std::string& address, uint16_t port, int timeout_ms) {
  Result<UniqueFd> made = connect_in(netns, address, port, timeout_ms);
  return made ? 0 : made.error().code;
}

// What arrives within the limit.
std::string receive(int fd, int timeout_ms) {
  pollfd wait{fd, POLLIN, 0};
  if (::poll(&wait, 1, timeout_ms) <= 0) return "";
  char text[64];
  ssize_t n = ::recv(fd, text, sizeof text, 0);
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : "";
}

class NetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
    if (find_program("nft").empty()) GTEST_SKIP() << "needs the nftables package";
    options_.instance = "t" + std::to_string(::getpid());
    network_ = make_linux_network(options_);
    ASSERT_TRUE(network_->ensure_fabric({"vpc-1", "10.0.0.0/16"}));
  }
  void TearDown() override {
    if (network_ == nullptr) return;
    std::vector<std::string> enis = *network_->list_enis();
    std::vector<std::string> vpcs = *network_->list_fabrics();
    for (const std::string& eni : enis) EXPECT_TRUE(network_->remove_eni(eni));
    for (const std::string& vpc : vpcs) EXPECT_TRUE(network_->remove_fabric(vpc));
  }

  static EniSpec eni_spec(const std::string& id, const std::string& address,
                          std::vector<FirewallRule> rules = {},
                          std::map<std::string, std::vector<std::string>> groups = {}) {
    return {id, "vpc-1", "10.0.0.0/16", address, 24, {std::move(rules), std::move(groups)}};
  }
  std::string make_eni(const EniSpec& spec) {
    Result<EniInfo> made = network_->ensure_eni(spec);
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    return made ? made->netns_path : "";
  }
  UniqueFd listen(const std::string& eni, const std::string& address, uint16_t port = kPort) {
    Result<int> fd = network_->listen_in(eni, address, port);
    EXPECT_TRUE(fd) << (fd ? "" : fd.error().message);
    return UniqueFd(fd ? *fd : -1);
  }
  std::string in_namespace(const std::string& netns, std::vector<std::string> argv) {
    std::string text;
    Result<void> done = in_netns(netns, [&]() -> Result<void> {
      ProcessSpec spec;
      spec.argv = argv;
      WEIR_TRY_ASSIGN(text, run_checked(spec));
      return {};
    });
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    return text;
  }

  LinuxOptions options_;
  std::unique_ptr<NetworkDriver> network_;
};

TEST_F(NetworkTest, TwoSubnetsOfOneVpcReachEachOther) {
  std::string one = make_eni(eni_spec("eni-1", "10.0.1.11"));
  make_eni(eni_spec("eni-2", "10.0.2.12", {allow_cidr("10.0.1.0/24", kPort)}));
  UniqueFd listener = listen("eni-2", "10.0.2.12");
  EXPECT_EQ(connect_code(one, "10.0.2.12", kPort, kAllowedMs), 0);
}

TEST_F(NetworkTest, AnInterfaceHasNoWayOutOfItsVpc) {
  std::string one = make_eni(eni_spec("eni-1", "10.0.1.11"));
  EXPECT_EQ(connect_code(one, "10.1.0.1", kPort, kDeniedMs), ENETUNREACH);
  EXPECT_EQ(connect_code(one, "192.0.2.1", kPort, kDeniedMs), ENETUNREACH);
}

TEST_F(NetworkTest, TwoVpcsWithTheSameAddressesAreApart) {
  ASSERT_TRUE(network_->ensure_fabric({"vpc-2", "10.0.0.0/16"}));
  std::string one = make_eni(eni_spec("eni-1", "10.0.1.11"));
  EniSpec other = eni_spec("eni-2", "10.0.1.12", {allow_cidr("0.0.0.0/0", kPort)});
  other.vpc_id = "vpc-2";
  make_eni(other);
  UniqueFd listener = listen("eni-2", "10.0.1.12");
  EXPECT_NE(connect_code(one, "10.0.1.12", kPort, kDeniedMs), 0);
}

TEST_F(NetworkTest, OnlyAllowedPeersAndPortsConnect) {
  make_eni(eni_spec("eni-task", "10.0.1.11", {allow_group("sg-lb", kPort)}, {{"sg-lb", {"10.0.1.5"}}}));
  std::string balancer = make_eni(eni_spec("eni-lb", "10.0.1.5"));
  std::string stranger = make_eni(eni_spec("eni-x", "10.0.2.66"));
  UniqueFd open = listen("eni-task", "10.0.1.11");
  UniqueFd hidden = listen("eni-task", "10.0.1.11", 9090);
  EXPECT_EQ(connect_code(balancer, "10.0.1.11", kPort, kAllowedMs), 0);
  EXPECT_EQ(connect_code(balancer, "10.0.1.11", 9090, kDeniedMs), ETIMEDOUT);
  EXPECT_EQ(connect_code(stranger, "10.0.1.11", kPort, kDeniedMs), ETIMEDOUT);
}

TEST_F(NetworkTest, ATaskReachesItselfByLoopbackAndByItsAddress) {
  std::string task = make_eni(eni_spec("eni-task", "10.0.1.11"));
  UniqueFd all = listen("eni-task", "0.0.0.0");
  EXPECT_EQ(connect_code(task, "127.0.0.1", kPort, kAllowedMs), 0);
  EXPECT_EQ(connect_code(task, "10.0.1.11", kPort, kAllowedMs), 0);
}

TEST_F(NetworkTest, GroupMembershipTakesEffectAtOnce) {
  EniSpec task = eni_spec("eni-task", "10.0.1.11", {allow_group("sg-lb", kPort)}, {{"sg-lb", {}}});
  make_eni(task);
  std::string balancer = make_eni(eni_spec("eni-lb", "10.0.1.5"));
  UniqueFd listener = listen("eni-task", "10.0.1.11");
  EXPECT_EQ(connect_code(balancer, "10.0.1.11", kPort, kDeniedMs), ETIMEDOUT);
  task.firewall.group_members["sg-lb"] = {"10.0.1.5"};
  ASSERT_TRUE(network_->apply_firewall("eni-task", task.firewall));
  EXPECT_EQ(connect_code(balancer, "10.0.1.11", kPort, kAllowedMs), 0);
  task.firewall.group_members["sg-lb"] = {};
  ASSERT_TRUE(network_->apply_firewall("eni-task", task.firewall));
  EXPECT_EQ(connect_code(balancer, "10.0.1.11", kPort, kDeniedMs), ETIMEDOUT);
}

TEST_F(NetworkTest, AnEstablishedFlowSurvivesTheRemovalOfItsRule) {
  EniSpec task = eni_spec("eni-task", "10.0.1.11", {allow_cidr("10.0.1.5/32", kPort)});
  make_eni(task);
  std::string balancer = make_eni(eni_spec("eni-lb", "10.0.1.5"));
  UniqueFd listener = listen("eni-task", "10.0.1.11");
  Result<UniqueFd> client = connect_in(balancer, "10.0.1.11", kPort, kAllowedMs);
  ASSERT_TRUE(client);
  UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(server.valid());
  ASSERT_TRUE(network_->apply_firewall("eni-task", {}));
  EXPECT_EQ(::send(client->get(), "to", 2, 0), 2);
  EXPECT_EQ(receive(server.get(), kAllowedMs), "to");
  EXPECT_EQ(::send(server.get(), "fro", 3, 0), 3);
  EXPECT_EQ(receive(client->get(), kAllowedMs), "fro");
  EXPECT_EQ(connect_code(balancer, "10.0.1.11", kPort, kDeniedMs), ETIMEDOUT);
}

TEST_F(NetworkTest, EgressRulesLetOutOnlyWhatTheyName) {
  FirewallRule out = allow_cidr("10.0.1.11/32", kPort);
  out.direction = FirewallRule::Direction::Egress;
  std::string client = make_eni(eni_spec("eni-c", "10.0.1.5", {out}));
  make_eni(eni_spec("eni-a", "10.0.1.11", {allow_cidr("0.0.0.0/0", kPort)}));
  make_eni(eni_spec("eni-b", "10.0.1.12", {allow_cidr("0.0.0.0/0", kPort)}));
  UniqueFd a = listen("eni-a", "10.0.1.11");
  UniqueFd b = listen("eni-b", "10.0.1.12");
  EXPECT_EQ(connect_code(client, "10.0.1.11", kPort, kAllowedMs), 0);
  EXPECT_NE(connect_code(client, "10.0.1.12", kPort, kDeniedMs), 0);
}

TEST_F(NetworkTest, ABalancerHasOneAddressPerSubnet) {
  std::string balancer = make_eni(eni_spec("eni-lb", "10.0.1.5"));
  ASSERT_TRUE(network_->add_address("eni-lb", "10.0.2.5", 24));
  ASSERT_TRUE(network_->add_address("eni-lb", "10.0.2.5", 24));
  make_eni(eni_spec("eni-a", "10.0.2.11", {allow_cidr("10.0.2.5/32", kPort)}));
  UniqueFd listener = listen("eni-a", "10.0.2.11");
  EXPECT_EQ(connect_code(balancer, "10.0.2.11", kPort, kAllowedMs), 0)
      << "comes from its address in that subnet";
  UniqueFd second = listen("eni-lb", "10.0.2.5");
}

TEST_F(NetworkTest, AnAddressMovesToANewInterfaceAtOnce) {
  std::string client = make_eni(eni_spec("eni-c", "10.0.1.5"));
  for (const char* id : {"eni-a", "eni-b"}) {
    make_eni(eni_spec(id, "10.0.1.11", {allow_cidr("0.0.0.0/0", kPort)}));
    UniqueFd listener = listen(id, "10.0.1.11");
    EXPECT_EQ(connect_code(client, "10.0.1.11", kPort, 900), 0) << id;
    ASSERT_TRUE(network_->remove_eni(id));
  }
}

TEST_F(NetworkTest, EnsuringAgainChangesNothingAndKeepsFlows) {
  EniSpec task = eni_spec("eni-0123456789abcdef0", "10.0.1.11", {allow_cidr("0.0.0.0/0", kPort)});
  std::string netns = make_eni(task);
  std::string client = make_eni(eni_spec("eni-c", "10.0.1.5"));
  UniqueFd listener = listen(task.eni_id, "10.0.1.11");
  Result<UniqueFd> flow = connect_in(client, "10.0.1.11", kPort, kAllowedMs);
  ASSERT_TRUE(flow);
  ino_t before = netns_inode(netns);
  ASSERT_TRUE(network_->ensure_fabric({"vpc-1", "10.0.0.0/16"}));
  EXPECT_EQ(make_eni(task), netns);
  EXPECT_EQ(netns_inode(netns), before);
  UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_EQ(::send(flow->get(), "x", 1, 0), 1);
  EXPECT_EQ(receive(server.get(), kAllowedMs), "x");
}

TEST_F(NetworkTest, AHalfMadeInterfaceIsCompleted) {
  // What a caller killed in the middle leaves: a name without a namespace; a namespace without a link;
  // an interface that is in no bridge.
  std::string prefix = std::string(kNetnsFolder) + "/weir-" + options_.instance + "-";
  UniqueFd(::open((prefix + "eni-a").c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0444));
  ASSERT_TRUE(create_netns("weir-" + options_.instance + "-eni-b"));
  EniSpec c = eni_spec("eni-c", "10.0.1.13", {allow_cidr("0.0.0.0/0", kPort)});
  make_eni(c);
  Result<Netlink> fabric = Netlink::open_in(prefix + "vpc-1");
  ASSERT_TRUE(fabric);
  ASSERT_TRUE(fabric->set_master(fabric->find_link("vc")->index, 0));

  std::string a = make_eni(eni_spec("eni-a", "10.0.1.11"));
  std::string b = make_eni(eni_spec("eni-b", "10.0.1.12"));
  make_eni(c);
  UniqueFd listener = listen("eni-c", "10.0.1.13");
  EXPECT_EQ(connect_code(a, "10.0.1.13", kPort, kAllowedMs), 0);
  EXPECT_EQ(connect_code(b, "10.0.1.13", kPort, kAllowedMs), 0);
}

TEST_F(NetworkTest, RoutesAreOnLinkAndThereIsNoDefault) {
  std::string netns = make_eni(eni_spec("eni-1", "10.0.1.11"));
  std::string routes = in_namespace(netns, {"ip", "-4", "route", "show"});
  EXPECT_NE(routes.find("10.0.0.0/16 dev eth0 proto static scope link src 10.0.1.11"), std::string::npos)
      << routes;
  EXPECT_NE(routes.find("10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.11"), std::string::npos)
      << routes;
  EXPECT_EQ(routes.find("default"), std::string::npos) << routes;
  EXPECT_EQ(in_namespace(netns, {"cat", "/proc/sys/net/ipv4/ip_forward"}), "0\n");
  EXPECT_EQ(in_namespace(netns, {"ip", "-6", "address", "show", "dev", "eth0"}), "");
}

TEST_F(NetworkTest, RemovalLeavesNothing) {
  make_eni(eni_spec("eni-1", "10.0.1.11", {allow_cidr("0.0.0.0/0", kPort)}));
  make_eni(eni_spec("eni-2", "10.0.1.12"));
  EXPECT_EQ(*network_->list_enis(), (std::vector<std::string>{"eni-1", "eni-2"}));
  EXPECT_EQ(*network_->list_fabrics(), std::vector<std::string>{"vpc-1"});
  UniqueFd held = listen("eni-1", "10.0.1.11");  // keeps the namespace itself alive
  ASSERT_TRUE(network_->remove_eni("eni-1"));
  ASSERT_TRUE(network_->remove_eni("eni-1"));
  EXPECT_EQ(*network_->list_enis(), std::vector<std::string>{"eni-2"});
  Result<Netlink> fabric =
      Netlink::open_in(std::string(kNetnsFolder) + "/weir-" + options_.instance + "-vpc-1");
  ASSERT_TRUE(fabric);
  EXPECT_EQ(fabric->find_link("v1")->index, 0);
  EXPECT_NE(fabric->find_link("v2")->index, 0);
  ASSERT_TRUE(network_->remove_eni("eni-2"));
  ASSERT_TRUE(network_->remove_fabric("vpc-1"));
  ASSERT_TRUE(network_->remove_fabric("vpc-1"));
  EXPECT_TRUE(list_netns("weir-" + options_.instance)->empty());
}

TEST_F(NetworkTest, HostStaysAsItWas) {
  auto host = [] {
    std::string state;
    for (std::vector<std::string> argv : {std::vector<std::string>{"ip", "route", "show", "table", "all"},
                                          {"ip", "-o", "link"},
                                          {"nft", "list", "ruleset"},
                                          {"cat", "/proc/sys/net/ipv4/ip_forward"}}) {
      ProcessSpec spec;
      spec.argv = argv;
      state += run_checked(spec).value_or("failed");
    }
    return state;
  };
  std::string before = host();
  make_eni(eni_spec("eni-1", "10.0.1.11", {allow_cidr("0.0.0.0/0", kPort)}));
  EXPECT_EQ(host(), before);
  ASSERT_TRUE(network_->remove_eni("eni-1"));
  EXPECT_EQ(host(), before);
}

TEST_F(NetworkTest, RefusesNamesAndAddressesThatMakeNoSense) {
  EXPECT_FALSE(network_->ensure_fabric({"vpc-../x", "10.0.0.0/16"}));
  EXPECT_FALSE(network_->ensure_fabric({"net-1", "10.0.0.0/16"}));
  EXPECT_FALSE(network_->ensure_fabric({"vpc-2", "10.0.0.0"}));
  EXPECT_FALSE(network_->ensure_eni(eni_spec("eni-1", "10.0.1.300")));
  EXPECT_FALSE(network_->remove_eni(""));
  EniSpec lost = eni_spec("eni-1", "10.0.1.11");
  lost.vpc_id = "vpc-9";
  EXPECT_FALSE(network_->ensure_eni(lost));
  EXPECT_TRUE(network_->list_enis()->empty());
}

}  // namespace
}  // namespace weir::runtime
