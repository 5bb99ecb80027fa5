#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "api/test_world.h"

namespace weir::api {
namespace {

using nlohmann::json;

json fargate() {
  json container{{"name", "grpc"}, {"image", "chat:latest"}};
  container["portMappings"] = {{{"containerPort", 50051}}};
  json input{{"family", "chat"}, {"cpu", "256"}, {"memory", "512"}, {"networkMode", "awsvpc"}};
  input["requiresCompatibilities"] = {"FARGATE"};
  input["containerDefinitions"] = json::array({container});
  return input;
}

TEST(TaskDefinition, IsStoredWithDefaultsAndARisingRevision) {
  TestWorld world;
  json input = fargate();
  input["cpu"] = "1 vCPU";
  input["memory"] = "2GB";
  json first = world.call("ecs", "RegisterTaskDefinition", input)["taskDefinition"];
  EXPECT_EQ(first["taskDefinitionArn"], "arn:aws:ecs:us-east-1:000000000000:task-definition/chat:1");
  EXPECT_EQ(first["cpu"], "1024");
  EXPECT_EQ(first["memory"], "2048");
  json container = first["containerDefinitions"][0];
  EXPECT_EQ(container["essential"], true);
  EXPECT_EQ(container["cpu"], 0);
  EXPECT_EQ(container["portMappings"][0], json({{"containerPort", 50051}, {"hostPort", 50051}, {"protocol", "tcp"}}));
  EXPECT_EQ(container["environment"], json::array());
  json second = world.call("ecs", "RegisterTaskDefinition", fargate())["taskDefinition"];
  EXPECT_EQ(second["revision"], 2);
  json newest = world.call("ecs", "DescribeTaskDefinition", {{"taskDefinition", "chat"}})["taskDefinition"];
  EXPECT_EQ(newest["revision"], 2);
  world.call("ecs", "DeregisterTaskDefinition", {{"taskDefinition", "chat:2"}});
  newest = world.call("ecs", "DescribeTaskDefinition", {{"taskDefinition", "chat"}})["taskDefinition"];
  EXPECT_EQ(newest["revision"], 1);
}

TEST(TaskDefinition, RefusesBadInputsInAwsWords) {
  TestWorld world;
  struct Case {
    json patch;
    std::string error;
  };
  const std::string pair = "ClientException: No Fargate configuration exists for given values.";
  const Case cases[] = {
      {{{"memory", "4096"}}, pair},
      {{{"memory", "1536"}}, pair},
      {{{"cpu", "300"}}, pair},
      {{{"cpu", "lots"}},
       "ClientException: Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the "
       "Amazon ECS Developer Guide."},
      {{{"cpu", nullptr}}, "ClientException: Fargate requires that 'cpu' be defined at the task level."},
      {{{"networkMode", "bridge"}}, "ClientException: Fargate only supports network mode \u2018awsvpc\u2019."},
      {{{"containerDefinitions", json::array({{{"image", "x"}}})}},
       "ClientException: Container.name should not be null or empty."},
      {{{"containerDefinitions", json::array({{{"name", "x"}}})}},
       "ClientException: Container.image should not be null or empty."},
      {{{"containerDefinitions",
         json::array({{{"name", "x"}, {"image", "y"}, {"logConfiguration", {{"logDriver", "awslogs"}}}}})}},
       "ClientException: Fargate requires task definition to have execution role ARN to support log driver awslogs."},
      {{{"cpu", nullptr}, {"memory", nullptr}, {"requiresCompatibilities", nullptr}},
       "ClientException: Invalid setting for container 'grpc'. At least one of 'memory' or 'memoryReservation' must be "
       "specified."},
  };
  for (const auto& c : cases) {
    json input = fargate();
    input.update(c.patch);
    EXPECT_EQ(world.error("ecs", "RegisterTaskDefinition", input), c.error) << c.patch;
  }
  EXPECT_EQ(world.error("ecs", "DescribeTaskDefinition", {{"taskDefinition", "nope"}}),
            "ClientException: Unable to describe task definition.");
}

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() {
    world.call("ecs", "CreateCluster", {{"clusterName", "demo"}});
    input = {{"cluster", "demo"}, {"serviceName", "chat"}, {"taskDefinition", "chat"}, {"desiredCount", 2},
             {"launchType", "FARGATE"}};
    input["networkConfiguration"]["awsvpcConfiguration"] = {{"subnets", {world.subnet('a')}},
                                                            {"securityGroups", {world.group()}}};
    input["loadBalancers"] = {{{"targetGroupArn", world.target_group()}, {"containerName", "grpc"},
                               {"containerPort", 50051}}};
    world.task_definition();
  }
  std::string create(const json& patch) {
    json changed = input;
    changed.update(patch);
    return world.error("ecs", "CreateService", changed);
  }
  TestWorld world;
  json input;
};

TEST_F(ServiceTest, NeedsATargetGroupBehindAListener) {
  EXPECT_EQ(create(json::object()), "InvalidParameterException: The target group with targetGroupArn " +
                                        world.target_group() + " does not have an associated load balancer.");
  world.listener();
  EXPECT_EQ(create(json::object()), "no error");
  EXPECT_EQ(create(json::object()), "InvalidParameterException: Creation of service was not idempotent.");
}

TEST_F(ServiceTest, RefusesBadInputsInAwsWords) {
  world.listener();
  json wrong_port = input["loadBalancers"];
  wrong_port[0]["containerPort"] = 1;
  json wrong_container = input["loadBalancers"];
  wrong_container[0]["containerName"] = "nope";
  struct Case {
    json patch;
    std::string error;
  };
  const Case cases[] = {
      {{{"cluster", "nope"}}, "ClusterNotFoundException: Cluster not found."},
      {{{"taskDefinition", "nope"}}, "ClientException: TaskDefinition not found."},
      {{{"loadBalancers", wrong_port}},
       "InvalidParameterException: The container grpc did not have a container port 1 defined."},
      {{{"loadBalancers", wrong_container}},
       "InvalidParameterException: The container nope does not exist in the task definition."},
      {{{"networkConfiguration", nullptr}},
       "InvalidParameterException: Network Configuration must be provided when networkMode 'awsvpc' is specified."},
      {{{"loadBalancers", json::array()}, {"healthCheckGracePeriodSeconds", 30}},
       "InvalidParameterException: Health check grace period is only valid for services configured to use load "
       "balancers"},
      {{{"deploymentConfiguration", {{"maximumPercent", 100}, {"minimumHealthyPercent", 100}}}},
       "InvalidParameterException: Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block "
       "deployments"},
  };
  for (const auto& c : cases) EXPECT_EQ(create(c.patch), c.error) << c.patch;
}

TEST_F(ServiceTest, DrainsWhenDeleted) {
  world.listener();
  world.call("ecs", "CreateService", input);
  json update{{"cluster", "demo"}, {"service", "chat"}};
  EXPECT_EQ(world.error("ecs", "DeleteService", update),
            "InvalidParameterException: The service cannot be stopped while it is scaled above 0.");
  EXPECT_EQ(world.error("ecs", "DeleteCluster", {{"cluster", "demo"}}),
            "ClusterContainsServicesException: The Cluster cannot be deleted while Services are active.");
  update["desiredCount"] = 0;
  EXPECT_EQ(world.call("ecs", "UpdateService", update)["service"]["desiredCount"], 0);
  EXPECT_EQ(world.call("ecs", "DeleteService", update)["service"]["status"], "DRAINING");
  EXPECT_EQ(world.error("ecs", "UpdateService", update), "ServiceNotActiveException: Service was not ACTIVE.");
  EXPECT_TRUE(world.call("ecs", "ListServices", {{"cluster", "demo"}})["serviceArns"].empty());
  json described = world.call("ecs", "DescribeServices", {{"cluster", "demo"}, {"services", {"chat", "nope"}}});
  EXPECT_EQ(described["services"].size(), 1u);
  EXPECT_EQ(described["failures"],
            json::array({{{"arn", "arn:aws:ecs:us-east-1:000000000000:service/demo/nope"}, {"reason", "MISSING"}}}));
}

TEST(Task, StopsWithTheCallersReason) {
  TestWorld world;
  world.call("ecs", "CreateCluster", json::object());
  std::string arn = "arn:aws:ecs:us-east-1:000000000000:task/default/0123";
  json task{{"taskArn", arn}, {"clusterArn", "arn:aws:ecs:us-east-1:000000000000:cluster/default"},
            {"desiredStatus", "RUNNING"}, {"lastStatus", "RUNNING"}, {"group", "service:chat"}};
  ASSERT_TRUE(world.store->put("ecs.task", arn, task.dump()));
  EXPECT_EQ(world.call("ecs", "ListTasks", json::object())["taskArns"], json::array({arn}));
  world.call("ecs", "StopTask", {{"task", "0123"}, {"reason", "because"}});
  json stored = json::parse(world.store->get("ecs.task", arn)->body);
  EXPECT_EQ(stored["desiredStatus"], "STOPPED");
  EXPECT_EQ(stored["weir"], json({{"stop_reason", "because"}, {"stop_code", "UserInitiated"}}));
  EXPECT_EQ(world.error("ecs", "StopTask", {{"task", "9"}}),
            "InvalidParameterException: The referenced task was not found.");
}

}  // namespace
}  // namespace weir::api
