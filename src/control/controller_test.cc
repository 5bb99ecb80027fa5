#include "control/controller.h"

#include <nlohmann/json.hpp>

#include "control/world.h"

namespace weir::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(World, BringsAStackUpWithTasksSpreadOverZones) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); })) << get(kind::kService, kServiceArn).dump(1);
  EXPECT_EQ(text(get(kind::kVpc, "vpc-1"), "State"), "available");
  Json balancer = get(kind::kLoadBalancer, kLb);
  EXPECT_EQ(balancer["State"]["Code"], "active");
  EXPECT_EQ(weir_of(balancer)["address"], "127.0.0.1");
  auto running = tasks("RUNNING");
  ASSERT_EQ(running.size(), 2u);
  EXPECT_NE(running[0]["availabilityZone"], running[1]["availabilityZone"]);
  EXPECT_EQ(controller->target_health(kGroup).size(), 2u);
  for (const auto& row : controller->target_health(kGroup)) EXPECT_EQ(row.state, model::TargetState::Healthy);
  EXPECT_EQ(events("has started 2 tasks: (task "), 1);
  EXPECT_EQ(events("registered 1 targets in (target-group"), 2);
  EXPECT_EQ(events("has reached a steady state."), 1);
  Json service = get(kind::kService, kServiceArn);
  ASSERT_EQ(service["deployments"].size(), 1u);
  EXPECT_EQ(service["deployments"][0]["rolloutState"], "COMPLETED");
  EXPECT_EQ(controller->endpoints(kLb).size(), 3u);  // host side, and one per subnet
  EXPECT_NE(controller->balancer_pid(kLb), 0);
}

TEST_F(World, GivesTheTaskItsNameEnvironmentAndNamespace) {
  make_stack(1);
  ASSERT_TRUE(until([&] { return steady(1); }));
  Json task = tasks("RUNNING").at(0);
  const auto& spec = containers.specs.at(container_of(task));
  EXPECT_EQ(spec.image, "chat:1");
  EXPECT_EQ(spec.netns_path, "/run/netns/" + text(weir_of(task), "eni"));
  EXPECT_EQ(spec.memory_bytes, 512ll << 20);
  EXPECT_EQ(spec.cpu_units, 256);
  std::string address = text(weir_of(task), "address");
  std::replace(address.begin(), address.end(), '.', '-');
  EXPECT_EQ(spec.environment.at(0), std::pair(std::string("HOSTNAME"), "ip-" + address + ".ec2.internal"));
}

TEST_F(World, DeregistersAndPassesTheBarrierBeforeItStopsATask) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 4; });
  ASSERT_TRUE(until([&] { return steady(4); }));
  int before = journal.size();
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 1; });
  ASSERT_TRUE(until([&] { return steady(1) && tasks("STOPPED").size() == 3; }));
  EXPECT_EQ(journal.count("kill "), 3);
  for (const Json& task : tasks("STOPPED")) {
    std::string address = text(weir_of(task), "address");
    int barrier = -1;
    auto lines = journal.lines();
    for (int i = before; i < static_cast<int>(lines.size()); ++i) {
      std::string line = lines[static_cast<size_t>(i)] + " ";
      if (line.starts_with("lb applied draining") && line.find(" " + address + " ") != std::string::npos) {
        barrier = i;
        break;
      }
    }
    ASSERT_GE(barrier, 0);
    int kill = journal.find("kill " + container_of(task) + " STOPSIGNAL");
    int remove = journal.find("remove " + container_of(task));
    int eni = journal.find("remove_eni " + text(weir_of(task), "eni"));
    EXPECT_LT(barrier, kill);
    EXPECT_LT(kill, remove);
    EXPECT_LT(remove, eni);
    EXPECT_EQ(task["stopCode"], "ServiceSchedulerInitiated");
    EXPECT_TRUE(text(task, "stoppedReason").starts_with("Scaling activity initiated by (deployment ecs-svc/"));
    EXPECT_EQ(task["containers"][0]["exitCode"], 0);
  }
  EXPECT_EQ(load_all(*store, kind::kTarget).size(), 1u);
  EXPECT_EQ(events("has stopped 3 running tasks: (task "), 1);
}

TEST_F(World, AHungBalancerHoldsTheStopBackUntilItAcknowledgesOrDies) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  processes.only().acknowledge = false;
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 1; });
  advance(seconds(20));
  EXPECT_EQ(journal.count("kill "), 0);
  ASSERT_EQ(tasks("DEACTIVATING").size(), 1u);
  std::string target = target_id(kGroup, text(weir_of(tasks("DEACTIVATING")[0]), "address"), 50051);
  EXPECT_FALSE(controller->deregistration_applied(target));
  processes.only().acknowledge_now();
  ASSERT_TRUE(until([&] { return tasks("STOPPED").size() == 1; }));
  EXPECT_TRUE(controller->deregistration_applied(target));
}

TEST_F(World, StreamsKeepADrainingTaskAliveUntilTheDelayIsOver) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  processes.only().auto_drain = false;
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 1; });
  advance(seconds(55), seconds(1));
  EXPECT_EQ(journal.count("kill "), 0);
  EXPECT_EQ(controller->target_health(kGroup).size(), 2u);
  advance(seconds(10), seconds(1));
  EXPECT_EQ(journal.count("kill "), 1);
  EXPECT_EQ(controller->target_health(kGroup).size(), 1u);
}

TEST_F(World, StrictModeDrainsForTheWholeDelay) {
  make_stack(2);
  edit(kind::kLoadBalancer, kLb, [](Json& lb) { lb["weir"]["attributes"]["weir.strict_mode"] = "true"; });
  ASSERT_TRUE(until([&] { return steady(2); }));
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 1; });
  advance(seconds(55), seconds(1));
  EXPECT_EQ(journal.count("kill "), 0);
  advance(seconds(10), seconds(1));
  EXPECT_EQ(journal.count("kill "), 1);
}

TEST_F(World, CountersTellTheEndOfADrainWhoseReportWasLost) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  processes.only().auto_drain = false;
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 1; });
  settle();
  std::string address = text(weir_of(tasks("DEACTIVATING").at(0)), "address");
  model::Stats stats;
  stats.targets.push_back({kGroup, address, 50051, 9, 0, 1});
  for (int i = 0; i < 3; ++i) processes.only().send(stats);
  advance(seconds(2));
  EXPECT_EQ(tasks("DEACTIVATING").size(), 1u);
  EXPECT_EQ(controller->stats(kLb)->targets.at(0).requests, 9u);
  stats.targets[0].outstanding = 0;
  for (int i = 0; i < 2; ++i) processes.only().send(stats);
  ASSERT_TRUE(until([&] { return tasks("STOPPED").size() == 1; }, seconds(5)));
}

TEST_F(World, AServiceMayAskForTheStopSignalBeforeTheDrain) {
  make_stack(2);
  edit(kind::kService, kServiceArn, [](Json& s) {
    s["tags"] = Json::array({{{"key", "weir:stop-signal"}, {"value", "before-drain"}}});
  });
  ASSERT_TRUE(until([&] { return steady(2); }));
  processes.only().auto_drain = false;
  containers.ignore_term = true;
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 1; });
  advance(seconds(30), seconds(1));
  EXPECT_EQ(journal.count("kill "), 1);  // told once, right after the barrier, and still draining
  EXPECT_EQ(tasks("DEACTIVATING").size(), 1u);
  processes.only().drained();
  advance(seconds(4));
  EXPECT_EQ(journal.count("kill "), 1);
  advance(seconds(3));  // stopTimeout 5 s began when the drain ended
  auto lines = journal.lines();
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(), [](auto& l) { return l.ends_with(" SIGKILL"); }), 1);
}

TEST_F(World, KillsATaskThatIgnoresItsStopSignal) {
  make_stack(1);
  ASSERT_TRUE(until([&] { return steady(1); }));
  containers.ignore_term = true;
  std::string id = container_of(tasks("RUNNING").at(0));
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 0; });
  advance(seconds(4));
  EXPECT_EQ(journal.count("kill " + id), 1);
  advance(seconds(3));
  EXPECT_GE(journal.find("kill " + id + " SIGKILL"), 0);
  ASSERT_TRUE(until([&] { return tasks("STOPPED").size() == 1; }));
  EXPECT_EQ(tasks("STOPPED")[0]["containers"][0]["exitCode"], 137);
}

TEST_F(World, ReplacesATaskThatDies) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  advance(seconds(20), seconds(1));
  Json victim = tasks("RUNNING").at(0);
  containers.die(container_of(victim), 137, true);
  advance(milliseconds(200), milliseconds(50));
  EXPECT_TRUE(has(weir_of(get(kind::kTarget, target_id(kGroup, text(weir_of(victim), "address"), 50051))),
                  "deregistering_since") ||
              get(kind::kTarget, target_id(kGroup, text(weir_of(victim), "address"), 50051)).is_null());
  ASSERT_TRUE(until([&] { return steady(2) && tasks("STOPPED").size() == 1; }));
  Json stopped = tasks("STOPPED").at(0);
  EXPECT_EQ(stopped["taskArn"], victim["taskArn"]);
  EXPECT_EQ(stopped["stopCode"], "EssentialContainerExited");
  EXPECT_EQ(stopped["stoppedReason"], "Essential container in task exited");
  EXPECT_EQ(stopped["containers"][0]["exitCode"], 137);
  EXPECT_EQ(stopped["containers"][0]["reason"], "OutOfMemoryError: Container killed due to memory usage");
}

TEST_F(World, CrashingTasksAreStartedEverMoreSlowly) {
  make_network();
  make_balancer(0);
  make_definition(1, "bad:1");
  containers.crash_images.insert("bad:1");
  make_service(1, Json::object(), false);
  advance(seconds(60));
  int first_minute = journal.count("start ");
  advance(seconds(240), milliseconds(500));
  int later = journal.count("start ") - first_minute;
  EXPECT_GE(first_minute, 4);
  EXPECT_LE(first_minute, 9);
  EXPECT_LE(later, 3);
  EXPECT_EQ(events("is unable to consistently start tasks successfully."), 1);
}

TEST_F(World, AMissingImageFailsTheTaskWithItsReason) {
  make_stack(1);
  containers.missing_images.insert("chat:1");
  ASSERT_TRUE(until([&] { return !tasks("STOPPED").empty(); }));
  Json task = tasks("STOPPED").at(0);
  EXPECT_EQ(task["stopCode"], "TaskFailedToStart");
  EXPECT_EQ(task["stoppedReason"], "CannotPullContainerError: chat:1 is not here");
  EXPECT_TRUE(load_all(*store, kind::kTarget).empty());
  EXPECT_FALSE(has(task, "startedAt"));
}

TEST_F(World, RollsANewRevisionOutWithoutGoingBelowTheMinimum) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  make_definition(2, "chat:2");
  edit(kind::kService, kServiceArn, [](Json& s) { s["taskDefinition"] = definition_arn(2); });
  bool never_below = true;
  bool never_above = true;
  ASSERT_TRUE(until([&] {
    size_t healthy = 0;
    for (const auto& row : controller->target_health(kGroup)) healthy += row.state == model::TargetState::Healthy;
    never_below &= healthy >= 2;
    never_above &= load_all(*store, kind::kTask).size() - tasks("STOPPED").size() - tasks("DEPROVISIONING").size() <= 4;
    return steady(2) && tasks("STOPPED").size() == 2;
  }));
  EXPECT_TRUE(never_below);
  EXPECT_TRUE(never_above);
  for (const Json& task : tasks("RUNNING")) EXPECT_EQ(text(task, "taskDefinitionArn"), definition_arn(2));
  Json service = get(kind::kService, kServiceArn);
  ASSERT_EQ(service["deployments"].size(), 1u);
  EXPECT_EQ(service["deployments"][0]["rolloutState"], "COMPLETED");
  EXPECT_EQ(events("deployment completed."), 2);
}

TEST_F(World, TheCircuitBreakerRollsBack) {
  make_stack(2, {{"deploymentCircuitBreaker", {{"enable", true}, {"rollback", true}}}});
  ASSERT_TRUE(until([&] { return steady(2); }));
  make_definition(2, "gone:1");
  containers.missing_images.insert("gone:1");
  edit(kind::kService, kServiceArn, [](Json& s) { s["taskDefinition"] = definition_arn(2); });
  ASSERT_TRUE(until([&] { return events("rolling back to deployment ecs-svc/") == 1 && steady(2); }));
  Json service = get(kind::kService, kServiceArn);
  EXPECT_EQ(text(service, "taskDefinition"), definition_arn(1));
  EXPECT_EQ(events("deployment failed: tasks failed to start."), 1);
  EXPECT_EQ(tasks("RUNNING").size(), 2u);
  for (const Json& task : tasks("RUNNING")) EXPECT_EQ(text(task, "taskDefinitionArn"), definition_arn(1));
}

TEST_F(World, WithoutRollbackAFailedDeploymentStartsNothingMore) {
  make_stack(2, {{"deploymentCircuitBreaker", {{"enable", true}, {"rollback", false}}}});
  containers.missing_images.insert("chat:1");
  advance(seconds(60), seconds(1));
  Json service = get(kind::kService, kServiceArn);
  EXPECT_EQ(service["deployments"][0]["rolloutState"], "FAILED");
  size_t stopped = tasks("STOPPED").size();
  advance(seconds(120), seconds(2));
  EXPECT_EQ(tasks("STOPPED").size(), stopped);
}

TEST_F(World, ReplacesUnhealthyTasksAfterTheGracePeriodStartFirst) {
  make_stack(1);
  edit(kind::kService, kServiceArn, [](Json& s) { s["healthCheckGracePeriodSeconds"] = 30; });
  ASSERT_TRUE(until([&] { return steady(1); }));
  Json sick = tasks("RUNNING").at(0);
  processes.only().report(model::TargetState::Unhealthy);
  advance(seconds(10), seconds(1));
  EXPECT_EQ(tasks("RUNNING").size(), 1u);  // still within the grace period
  processes.only().auto_health = false;
  advance(seconds(30), seconds(1));
  ASSERT_EQ(tasks("RUNNING").size(), 2u);  // the replacement is not healthy yet
  model::Health health;
  for (const auto& row : controller->target_health(kGroup)) {
    if (row.address != text(weir_of(sick), "address")) {
      health.targets.push_back({kGroup, row.address, row.port, model::TargetState::Healthy, {}, ""});
    }
  }
  processes.only().send(health);
  ASSERT_TRUE(until([&] { return tasks("STOPPED").size() == 1; }));
  EXPECT_EQ(tasks("STOPPED")[0]["taskArn"], sick["taskArn"]);
  EXPECT_EQ(text(tasks("STOPPED")[0], "stoppedReason"), std::string("Task failed ELB health checks in (target-group ") +
                                                            kGroup + ")");
  EXPECT_EQ(events("Amazon ECS replaced 1 tasks due to an unhealthy status."), 1);
  EXPECT_EQ(events("is unhealthy in (target-group "), 1);
}

TEST_F(World, DeletionLeavesNothing) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  edit(kind::kService, kServiceArn, [](Json& s) {
    s["status"] = "DRAINING";
    s["weir"]["deleting"] = true;
  });
  ASSERT_TRUE(until([&] { return get(kind::kService, kServiceArn)["status"] == "INACTIVE"; }));
  ASSERT_TRUE(store->erase(kind::kListener, kListener1));
  ASSERT_TRUE(store->erase(kind::kTargetGroup, kGroup));
  edit(kind::kLoadBalancer, kLb, [](Json& lb) { lb["weir"]["deleting"] = true; });
  ASSERT_TRUE(until([&] { return get(kind::kLoadBalancer, kLb).is_null(); }));
  EXPECT_GE(journal.find("lb shutdown"), 0);
  edit(kind::kVpc, "vpc-1", [](Json& vpc) { vpc["weir"]["deleting"] = true; });
  settle();
  EXPECT_TRUE(get(kind::kVpc, "vpc-1").is_null());
  EXPECT_TRUE(containers.containers.empty());
  EXPECT_TRUE(network.enis.empty());
  EXPECT_TRUE(network.fabrics.empty());
  EXPECT_TRUE(load_all(*store, kind::kTarget).empty());
  EXPECT_TRUE(load_all(*store, kind::kNetworkInterface).empty());
  EXPECT_TRUE(std::filesystem::is_empty(folder + "/lb"));
  advance(std::chrono::hours(2), std::chrono::minutes(10));
  EXPECT_TRUE(load_all(*store, kind::kTask).empty());
  EXPECT_TRUE(load_all(*store, kind::kService).empty());
}

TEST_F(World, AnswersTheBarrierAtOnceOrAfterItsBound) {
  make_stack(2);
  ASSERT_TRUE(until([&] { return steady(2); }));
  processes.only().acknowledge = false;
  auto rows = controller->target_health(kGroup);
  std::string id = target_id(kGroup, rows.at(0).address, rows.at(0).port);
  edit(kind::kTarget, id, [&](Json& t) { t["weir"]["deregistering_since"] = to_seconds(clock.unix_ms()); });
  int answered = 0;
  bool applied = true;
  controller->when_deregistered({id}, [&](bool ok) {
    ++answered;
    applied = ok;
  });
  advance(milliseconds(1900));
  EXPECT_EQ(answered, 0);
  advance(milliseconds(200));
  EXPECT_EQ(answered, 1);
  EXPECT_FALSE(applied);
  controller->when_deregistered({id}, [&](bool ok) {
    ++answered;
    applied = ok;
  });
  processes.only().acknowledge_now();
  settle();
  EXPECT_EQ(answered, 2);
  EXPECT_TRUE(applied);
}

TEST_F(World, ReachesQuiescence) {
  make_stack(1);
  ASSERT_TRUE(until([&] { return steady(1); }));
  EXPECT_TRUE(controller->quiescent());
  make_definition(2);
  edit(kind::kService, kServiceArn, [](Json& s) { s["desiredCount"] = 2; });
  EXPECT_FALSE(controller->quiescent());
}

}  // namespace
}  // namespace weir::control
