// For tests: a Controller over fakes with a stack of VPC, load balancer, target group and service.
// Include <nlohmann/json.hpp> before it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>


#include "control/controller.h"
#include "control/documents.h"
#include "control/ecs_documents.h"
#include "control/fakes.h"
#include "control/manual_loop.h"

namespace weir::control {

inline constexpr const char* kLb = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/lb/00aa";
inline constexpr const char* kListener1 = "arn:aws:elasticloadbalancing:us-east-1:000000000000:listener/app/lb/00aa/1";
inline constexpr const char* kGroup = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/tg/00bb";
inline constexpr const char* kServiceArn = "arn:aws:ecs:us-east-1:000000000000:service/c/chat";
inline constexpr const char* kCluster = "arn:aws:ecs:us-east-1:000000000000:cluster/c";

inline std::string definition_arn(int revision) {
  return "arn:aws:ecs:us-east-1:000000000000:task-definition/chat:" + std::to_string(revision);
}

class World : public testing::Test {
 protected:
  World() {
    char name[] = "/tmp/weir-control-XXXXXX";
    folder = mkdtemp(name);
    store = std::move(*store::Store::open(folder + "/weir.db"));
    options.state_dir = folder;
    options.balancer_command = {"weir", "lb"};
    make_pool();
    restart();
  }
  ~World() override {
    controller.reset();
    pool.reset();
    processes.living.clear();
    std::filesystem::remove_all(folder);
  }

  void make_pool() { pool = std::make_unique<net::BlockingPool>(loop, 1); }
  // A new Controller over the same store, drivers and processes, as after kill -9.
  void restart() {
    controller.reset();
    pool.reset();
    make_pool();
    controller = std::make_unique<Controller>(loop, clock, random, *store, network, containers, *pool, options,
                                              &processes);
    controller->start();
  }
  // Until nothing is left to do at this moment.
  void settle() {
    for (int i = 0; i < 20000; ++i) {
      if (loop.turn()) continue;
      if (!pool_busy()) return;
      loop.wait_posted();
    }
    FAIL() << "it does not come to rest";
  }
  bool pool_busy() {
    // A marker behind all queued jobs: when it comes back, everything before it has come back.
    bool back = false;
    pool->run([] {}, [&back] { back = true; });
    int worked = 0;
    while (!back) {
      if (loop.turn()) ++worked;
      if (!back) loop.wait_posted();
    }
    return worked > 1 || loop.turn();
  }
  void advance(Duration total, Duration step = std::chrono::milliseconds(200)) {
    settle();
    for (Duration done{}; done < total; done += step) {
      clock.advance(std::min(step, total - done));
      settle();
    }
  }
  template <class Condition>
  bool until(Condition condition, Duration most = std::chrono::seconds(60)) {
    settle();
    for (Duration done{}; done < most && !condition(); done += std::chrono::milliseconds(100)) {
      clock.advance(std::chrono::milliseconds(100));
      settle();
    }
    return condition();
  }

  void put(const char* kind, const std::string& id, const Json& document) {
    ASSERT_TRUE(save(*store, kind, id, document));
  }
  Json get(const char* kind, const std::string& id) { return load(*store, kind, id).value_or(Json()); }
  void edit(const char* kind, const std::string& id, const std::function<void(Json&)>& change) {
    Json document = get(kind, id);
    change(document);
    put(kind, id, document);
  }

  static Json permission(const std::string& group, int port) {
    return {{"IpProtocol", "tcp"}, {"FromPort", port}, {"ToPort", port},
            {"UserIdGroupPairs", Json::array({{{"GroupId", group}}})}};
  }
  void make_network() {
    put(kind::kVpc, "vpc-1", {{"VpcId", "vpc-1"}, {"CidrBlock", "10.0.0.0/16"}, {"State", "pending"}});
    for (int i = 1; i <= 2; ++i) {
      std::string id = "subnet-" + std::to_string(i);
      put(kind::kSubnet, id, {{"SubnetId", id}, {"VpcId", "vpc-1"},
                              {"CidrBlock", "10.0." + std::to_string(i) + ".0/24"},
                              {"AvailabilityZone", i == 1 ? "us-east-1a" : "us-east-1b"}});
    }
    put(kind::kSecurityGroup, "sg-lb", {{"GroupId", "sg-lb"}, {"VpcId", "vpc-1"},
        {"IpPermissions", Json::array({{{"IpProtocol", "tcp"}, {"FromPort", 443}, {"ToPort", 443},
                                        {"IpRanges", Json::array({{{"CidrIp", "0.0.0.0/0"}}})}}})},
        {"IpPermissionsEgress", Json::array()}});
    put(kind::kSecurityGroup, "sg-task", {{"GroupId", "sg-task"}, {"VpcId", "vpc-1"},
        {"IpPermissions", Json::array({permission("sg-lb", 50051)})}, {"IpPermissionsEgress", Json::array()}});
  }
  void make_balancer(int host_port) {
    put(kind::kLoadBalancer, kLb, {{"LoadBalancerArn", kLb}, {"VpcId", "vpc-1"}, {"State", {{"Code", "provisioning"}}},
        {"SecurityGroups", {"sg-lb"}},
        {"AvailabilityZones", Json::array({{{"SubnetId", "subnet-1"}}, {{"SubnetId", "subnet-2"}}})},
        {"weir", {{"attributes", Json::object()}, {"port_map", {{"443", host_port}}}}}});
    put(kind::kTargetGroup, kGroup, {{"TargetGroupArn", kGroup}, {"ProtocolVersion", "GRPC"}, {"Port", 50051},
        {"VpcId", "vpc-1"},
        {"weir", {{"attributes", {{"deregistration_delay.timeout_seconds", "60"}}}}}});
    put(kind::kListener, kListener1, {{"ListenerArn", kListener1}, {"LoadBalancerArn", kLb}, {"Port", 443},
        {"Protocol", "HTTP"},
        {"DefaultActions", Json::array({{{"Type", "forward"}, {"TargetGroupArn", kGroup}}})}});
  }
  void make_definition(int revision, const std::string& image = "chat:1") {
    put(kind::kTaskDefinition, definition_arn(revision), {{"taskDefinitionArn", definition_arn(revision)},
        {"family", "chat"}, {"revision", revision}, {"cpu", "256"}, {"memory", "512"},
        {"containerDefinitions", Json::array({{{"name", "app"}, {"image", image}, {"essential", true},
                                               {"stopTimeout", 5}}})}});
  }
  void make_service(int desired, Json configuration = Json::object(), bool balanced = true) {
    put(kind::kService, kServiceArn, {{"serviceArn", kServiceArn}, {"serviceName", "chat"}, {"clusterArn", kCluster},
        {"status", "ACTIVE"}, {"taskDefinition", definition_arn(1)}, {"desiredCount", desired},
        {"launchType", "FARGATE"}, {"deploymentConfiguration", std::move(configuration)},
        {"loadBalancers", balanced ? Json::array({{{"targetGroupArn", kGroup}, {"containerName", "app"},
                                                   {"containerPort", 50051}}})
                                   : Json::array()},
        {"networkConfiguration", {{"awsvpcConfiguration", {{"subnets", {"subnet-1", "subnet-2"}},
                                                           {"securityGroups", {"sg-task"}}}}}},
        {"tags", Json::array()}});
  }
  void make_stack(int desired, Json configuration = Json::object()) {
    make_network();
    make_balancer(0);
    make_definition(1);
    make_service(desired, std::move(configuration));
  }
  std::vector<Json> tasks(const std::string& status) {
    std::vector<Json> out;
    for (auto& [arn, task] : load_all(*store, kind::kTask)) {
      if (text(task, "lastStatus") == status) out.push_back(task);
    }
    return out;
  }
  bool steady(int count) {
    Json service = get(kind::kService, kServiceArn);
    return flag(weir_of(service), "steady") && service["runningCount"] == count && service["pendingCount"] == 0;
  }
  int events(const std::string& part) {
    int n = 0;
    for (const Json& event : get(kind::kService, kServiceArn).value("events", Json::array())) {
      if (text(event, "message").find(part) != std::string::npos) ++n;
    }
    return n;
  }
  static std::string container_of(const Json& task) { return last_part(text(task, "taskArn")) + "-app"; }

  std::string folder;
  ManualClock clock;
  ManualLoop loop{clock};
  Random random{7};
  Journal journal;
  FakeNetwork network{journal};
  FakeContainers containers{journal};
  FakeProcesses processes{loop, journal};
  std::unique_ptr<store::Store> store;
  ControllerOptions options;
  std::unique_ptr<net::BlockingPool> pool;
  std::unique_ptr<Controller> controller;
};

}  // namespace weir::control
