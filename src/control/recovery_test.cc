// What outlives the control plane and the balancer, and is found again.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

#include "control/world.h"

namespace weir::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(World, ARestartAtAnyMomentOfTheStartContinuesAndStartsNothingTwice) {
  make_stack(2);
  for (int i = 0; i < 60; ++i) {
    for (int turn = 0; turn < i % 7; ++turn) loop.turn();
    restart();
    clock.advance(milliseconds(50));
  }
  ASSERT_TRUE(until([&] { return steady(2); }));
  EXPECT_EQ(containers.containers.size(), 2u);
  EXPECT_EQ(journal.count("lb start"), 1);
  for (const auto& [id, status] : containers.containers) EXPECT_EQ(journal.count("start " + id), 1) << id;
}

TEST_F(World, ARestartAtAnyMomentOfTheStopContinues) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 0; });
  for (int i = 0; i < 60; ++i) {
    for (int turn = 0; turn < i % 5; ++turn) loop.turn();
    restart();
    clock.advance(milliseconds(50));
  }
  ASSERT_TRUE(until([&] { return tasks("STOPPED").size() == 2; }));
  EXPECT_TRUE(containers.containers.empty());
  EXPECT_EQ(network.enis.size(), 1u);  // the load balancer's
}

TEST_F(World, ARestartedControlPlaneAdoptsTheBalancerWithItsSockets) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  int listened = journal.count("listen_in");
  size_t sockets = processes.only().listeners.size();
  int pid = controller->balancer_pid(kLb);
  restart();
  ASSERT_TRUE(until([&] { return controller->endpoints(kLb).size() == sockets && controller->quiescent(); }));
  EXPECT_EQ(controller->balancer_pid(kLb), pid);
  EXPECT_EQ(journal.count("lb start"), 1);
  EXPECT_EQ(journal.count("listen_in"), listened);
  EXPECT_EQ(processes.only().listeners.size(), sockets);
  EXPECT_EQ(tasks("RUNNING").size(), 2u);
  EXPECT_EQ(journal.count("start "), 2);
}

TEST_F(World, ACrashedBalancerIsStartedAgainWithItsSocketsAndTheLastHealth) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  int listened = journal.count("listen_in");
  processes.auto_health = false;
  processes.crash();
  ASSERT_TRUE(until([&] { return journal.count("lb start") == 2; }, seconds(1)));
  ASSERT_TRUE(until([&] { return controller->quiescent(); }, seconds(1)));
  EXPECT_EQ(journal.count("listen_in"), listened);
  EXPECT_EQ(processes.only().listeners.size(), 3u);
  auto snapshot = processes.only().snapshot;
  ASSERT_EQ(snapshot->groups.size(), 1u);
  ASSERT_EQ(snapshot->groups[0].targets.size(), 2u);
  for (const auto& target : snapshot->groups[0].targets) EXPECT_EQ(target.last_state, model::TargetState::Healthy);
  EXPECT_EQ(get(kind::kLoadBalancer, kLb)["State"]["Code"], "active");
}

TEST_F(World, ADeadBalancerHoldsNoTaskBack) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  processes.only().auto_drain = false;
  processes.only().acknowledge = false;
  processes.acknowledge = false;
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 1; });
  advance(seconds(5));
  EXPECT_EQ(journal.count("kill "), 0);
  processes.crash();
  ASSERT_TRUE(until([&] { return journal.count("kill ") == 1; }, seconds(5)));
}

TEST_F(World, LeftoversThatNoDocumentExplainsAreRemoved) {
  ASSERT_TRUE(network.ensure_fabric({"vpc-old", "10.9.0.0/16"}));
  ASSERT_TRUE(network.ensure_eni({"eni-old", "vpc-old", "10.9.0.0/16", "10.9.0.5", 24, {}}));
  containers.die("0123-app", 0);
  restart();
  // The fabric goes after its last interface, perhaps at a second try.
  EXPECT_TRUE(until([&] { return network.fabrics.empty(); }));
  EXPECT_TRUE(network.enis.empty());
  EXPECT_TRUE(containers.containers.empty());
}

TEST_F(World, ATakenPortIsSaidAndTriedAgain) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(0x7f000001);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  int port = ntohs(address.sin_port);
  make_network();
  make_balancer(port);
  ASSERT_TRUE(until([&] { return get(kind::kLoadBalancer, kLb)["State"]["Code"] == "failed"; }, seconds(5)));
  std::string reason = text(get(kind::kLoadBalancer, kLb)["State"], "Reason");
  EXPECT_TRUE(reason.starts_with("port " + std::to_string(port) +
                                 " on 127.0.0.1 is taken by another program; use --map "))
      << reason;
  close(fd);
  ASSERT_TRUE(until([&] { return get(kind::kLoadBalancer, kLb)["State"]["Code"] == "active"; }, seconds(5)));
}

TEST_F(World, MembershipOfSecurityGroupsReachesTheFirewallsThatNameThem) {
  make_stack(1);
  ASSERT_TRUE(until([&] { return steady(1); }));
  std::string eni = text(weir_of(tasks("RUNNING").at(0)), "eni");
  ASSERT_EQ(network.firewalls.at(eni).group_members.at("sg-lb").size(), 2u);  // both addresses of the balancer
  put(kind::kNetworkInterface, "eni-x", {{"NetworkInterfaceId", "eni-x"}, {"VpcId", "vpc-1"},
      {"SubnetId", "subnet-1"}, {"PrivateIpAddress", "10.0.1.200"},
      {"Groups", Json::array({{{"GroupId", "sg-lb"}}})}, {"Status", "pending"}});
  settle();
  EXPECT_EQ(network.firewalls.at(eni).group_members.at("sg-lb").size(), 3u);
  edit(kind::kNetworkInterface, "eni-x", [](Json& e) { e["weir"]["deleting"] = true; });
  settle();
  EXPECT_EQ(network.firewalls.at(eni).group_members.at("sg-lb").size(), 2u);
  EXPECT_FALSE(network.enis.contains("eni-x"));
  edit(kind::kSecurityGroup, "sg-task", [](Json& g) { g["IpPermissions"].push_back(permission("sg-task", 9000)); });
  settle();
  EXPECT_EQ(network.firewalls.at(eni).rules.size(), 2u);
  int applied = journal.count("apply_firewall");
  edit(kind::kSecurityGroup, "sg-task", [](Json& g) { g["Description"] = "no rule changes"; });
  settle();
  EXPECT_EQ(journal.count("apply_firewall"), applied);
}

TEST_F(World, ABalancerInTheDefaultVpcRunsInTheHostsNamespace) {
  make_network();
  make_balancer(0);
  edit(kind::kVpc, "vpc-1", [](Json& vpc) { vpc["weir"]["default"] = true; });
  ASSERT_TRUE(until([&] { return get(kind::kLoadBalancer, kLb)["State"]["Code"] == "active"; }));
  EXPECT_EQ(journal.count("ensure_eni"), 0);
  EXPECT_EQ(journal.find("lb start 1000 netns="), journal.find("lb start"));
  EXPECT_EQ(controller->endpoints(kLb).size(), 1u);
}

}  // namespace
}  // namespace weir::control
