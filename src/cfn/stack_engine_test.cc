#include "cfn/stack_engine.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "cfn/fake_cloud.h"
#include "cfn/operations.h"

namespace weir::cfn {
namespace {

using nlohmann::json;

constexpr char kTemplate[] = R"yaml(
Parameters:
  Image: {Type: String, Default: one}
  Count: {Type: Number, Default: 2}
  Secret: {Type: String, NoEcho: true, Default: hush}
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}
  SubnetA: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.0.0.0/24}}
  SubnetB: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.0.1.0/24}}
  Sg:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: all
      VpcId: !Ref Vpc
      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: 443, ToPort: 443, CidrIp: 0.0.0.0/0}]
  Alb:
    Type: AWS::ElasticLoadBalancingV2::LoadBalancer
    Properties: {Subnets: [!Ref SubnetA, !Ref SubnetB], SecurityGroups: [!GetAtt Sg.GroupId]}
  Tg:
    Type: AWS::ElasticLoadBalancingV2::TargetGroup
    Properties:
      {VpcId: !Ref Vpc, TargetType: ip, Protocol: HTTP, ProtocolVersion: GRPC, Port: 50051, Matcher: {GrpcCode: "0"},
       TargetGroupAttributes: [{Key: deregistration_delay.timeout_seconds, Value: "60"}]}
  Https:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      {LoadBalancerArn: !Ref Alb, Port: 443, Protocol: HTTPS, DefaultActions: [{Type: forward, TargetGroupArn: !Ref Tg}]}
  Logs: {Type: AWS::Logs::LogGroup, Properties: {RetentionInDays: 7}}
  Cluster: {Type: AWS::ECS::Cluster}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions:
        - Name: grpc
          Image: !Ref Image
          Environment: [{Name: SECRET, Value: !Ref Secret}]
          LogConfiguration: {LogDriver: awslogs, Options: {awslogs-group: !Ref Logs, Upper-Key: x}}
  Service:
    Type: AWS::ECS::Service
    DependsOn: Https
    Properties: {Cluster: !Ref Cluster, TaskDefinition: !Ref Task, DesiredCount: !Ref Count, LaunchType: FARGATE}
Outputs:
  Endpoint: {Value: !Sub "${Alb.DNSName}:443"}
)yaml";

class ManualClock final : public Clock {
 public:
  TimePoint now() const override { return TimePoint(std::chrono::milliseconds(ms)); }
  int64_t unix_ms() const override { return ms; }
  int64_t ms = 1'763'850'000'000;
};

// A control plane of nothing but stacks; the engine can be replaced as by a restart.
class World {
 public:
  World() : random(7) {
    auto opened = store::Store::open(":memory:");
    if (!opened) ADD_FAILURE() << opened.error().message;
    else store = std::move(*opened);
    restart();
  }

  void restart() {
    engine = std::make_unique<StackEngine>(StackContext{*store, cloud.dispatcher, clock, random, "us-east-1",
                                                        "000000000000", [this] { point(); }});
    register_operations(cloud.dispatcher, *engine);
    cloud.crash_point = [this] { point(); };
  }
  // Throws at the crash_at-th point from now on; counts them all.
  void point() {
    if (crash_at > 0 && --crash_at == 0) throw Crash{};
    ++points;
  }
  json call(const char* operation, json input) {
    input["StackName"] = "web";
    return cloud.dispatcher.call("cloudformation", operation, input);
  }
  std::string create(const char* body = kTemplate, json more = json::object()) {
    more["TemplateBody"] = body;
    return id = call("CreateStack", more)["StackId"];
  }
  void update(const json& parameters) {
    call("UpdateStack", {{"UsePreviousTemplate", true}, {"Parameters", parameters}});
  }
  // Until nothing is left to do; a crash restarts the engine.
  std::string run() {
    for (int i = 0; i < 2000; ++i) {
      try {
        control::StepResult r = engine->step(id);
        EXPECT_NE(r.kind, control::StepResult::Kind::Failed) << r.error;
        if (r.kind == control::StepResult::Kind::Done) break;
        clock.ms += std::max<int64_t>(1, r.delay.count() / 1'000'000);
      } catch (const Crash&) {
        restart();
      }
    }
    return status();
  }
  std::string status() { return stack()["StackStatus"]; }
  json stack() {
    return cloud.dispatcher.call("cloudformation", "DescribeStacks", {{"StackName", id}})["Stacks"][0];
  }
  // Oldest first: "Logical STATUS reason".
  std::vector<std::string> events() {
    std::vector<std::string> out;
    json input = {{"StackName", id}};
    for (;;) {
      json page = cloud.dispatcher.call("cloudformation", "DescribeStackEvents", input);
      for (const json& e : page["StackEvents"]) {
        out.insert(
            out.begin(),
            e["LogicalResourceId"].get<std::string>() + " " + e["ResourceStatus"].get<std::string>() +
                (e.contains("ResourceStatusReason") ? " " + e["ResourceStatusReason"].get<std::string>() : ""));
      }
      if (!page.contains("NextToken")) return out;
      input["NextToken"] = page["NextToken"];
    }
  }
  std::string physical(const char* logical) {
    return call("DescribeStackResources",
                {{"LogicalResourceId", logical}})["StackResources"][0]["PhysicalResourceId"];
  }
  size_t index(const std::string& operation) {
    return static_cast<size_t>(std::find(cloud.calls.begin(), cloud.calls.end(), operation) -
                               cloud.calls.begin());
  }
  bool has_event(const std::string& event) {
    auto all = events();
    return std::find(all.begin(), all.end(), event) != all.end();
  }

  FakeCloud cloud;
  ManualClock clock;
  Random random;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<StackEngine> engine;
  std::string id;
  int crash_at = 0;
  int points = 0;
};

const std::map<std::string, int> kFull = {{"vpc", 1}, {"subnet", 2},   {"sg", 1},  {"lb", 1},
                                          {"tg", 1},  {"listener", 1}, {"log", 1}, {"cluster", 1},
                                          {"td", 1},  {"service", 1}};

json parameter(const char* key, const char* value) {
  return json::array({{{"ParameterKey", key}, {"ParameterValue", value}}});
}

TEST(StackEngine, CreatesInOrderOfDependencies) {
  World w;
  w.create();
  EXPECT_EQ(w.status(), "CREATE_IN_PROGRESS");
  EXPECT_EQ(w.run(), "CREATE_COMPLETE");
  EXPECT_EQ(w.cloud.inventory(), kFull);
  EXPECT_LT(w.index("CreateVpc"), w.index("CreateSubnet"));
  EXPECT_LT(w.index("CreateTargetGroup"), w.index("CreateListener"));
  EXPECT_LT(w.index("CreateListener"), w.index("CreateService"));
  EXPECT_EQ(w.stack()["Outputs"][0]["OutputValue"], "lb.local:443");
  const json& task = w.cloud.objects.at(w.physical("Task"));
  EXPECT_EQ(task["containerDefinitions"][0]["logConfiguration"]["options"]["Upper-Key"], "x");
}

TEST(StackEngine, WorksOnIndependentResourcesAtTheSameTime) {
  World w;
  w.cloud.balancer_polls = 50;
  w.create();
  for (int i = 0; i < 20; ++i) w.engine->step(w.id);
  EXPECT_TRUE(w.has_event("Cluster CREATE_COMPLETE"));
  EXPECT_TRUE(w.has_event("Task CREATE_COMPLETE"));
  EXPECT_FALSE(w.has_event("Alb CREATE_COMPLETE"));
  EXPECT_EQ(w.run(), "CREATE_COMPLETE");
}

TEST(StackEngine, TellsEventsInAwsOrder) {
  World w;
  w.create("Resources: {G: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: g}}}");
  w.run();
  EXPECT_EQ(w.events(),
            (std::vector<std::string>{"web CREATE_IN_PROGRESS User Initiated", "G CREATE_IN_PROGRESS",
                                      "G CREATE_IN_PROGRESS Resource creation Initiated", "G CREATE_COMPLETE",
                                      "web CREATE_COMPLETE"}));
}

TEST(StackEngine, UpdatesInPlace) {
  World w;
  w.create();
  w.run();
  std::string service = w.physical("Service");
  w.cloud.calls.clear();
  w.update(parameter("Count", "4"));
  EXPECT_EQ(w.run(), "UPDATE_COMPLETE");
  EXPECT_EQ(w.cloud.calls, std::vector<std::string>{"UpdateService"});
  EXPECT_EQ(w.cloud.objects.at(service)["desiredCount"], 4);
}

TEST(StackEngine, ReplacesTheTaskDefinitionBeforeTheServiceMovesAndDeletesTheOldOneAfterwards) {
  World w;
  w.create();
  w.run();
  std::string old = w.physical("Task");
  w.cloud.calls.clear();
  w.update(parameter("Image", "two"));
  EXPECT_EQ(w.run(), "UPDATE_COMPLETE");
  EXPECT_EQ(w.cloud.calls,
            (std::vector<std::string>{"RegisterTaskDefinition", "UpdateService", "DeregisterTaskDefinition"}));
  EXPECT_EQ(w.cloud.objects.at(old)["status"], "INACTIVE");
  EXPECT_EQ(w.cloud.objects.at(w.physical("Service"))["taskDefinition"], w.physical("Task"));
  EXPECT_EQ(w.cloud.inventory(), kFull);
}

TEST(StackEngine, RollsAFailedCreationBackAndNamesTheCause) {
  World w;
  w.cloud.fail["CreateService"] = {"InvalidParameterException", "no such thing", 400};
  w.create();
  EXPECT_EQ(w.run(), "ROLLBACK_COMPLETE");
  EXPECT_EQ(w.cloud.inventory(), (std::map<std::string, int>{}));
  bool named = false;
  for (const std::string& e : w.events()) {
    named =
        named || e.starts_with(
                     "Service CREATE_FAILED Resource handler returned message: \"no such thing (Service: Ecs, "
                     "Status Code: 400, Request ID: ");
  }
  EXPECT_TRUE(named);
  EXPECT_TRUE(
      w.has_event("web ROLLBACK_IN_PROGRESS The following resource(s) failed to create: [Service]. Rollback "
                  "requested by user."));
}

TEST(StackEngine, CancelsWhatIsUnderWayWhenAnotherFails) {
  World w;
  w.cloud.balancer_polls = 1000;
  w.cloud.fail["CreateCluster"] = {"ServerException", "no", 500};
  w.create();
  EXPECT_EQ(w.run(), "ROLLBACK_COMPLETE");
  EXPECT_EQ(w.cloud.inventory(), (std::map<std::string, int>{}));
}

TEST(StackEngine, RollsAFailedDeploymentBackToTheFormerTaskDefinition) {
  World w;
  w.cloud.deployments_fail = true;
  w.create();
  w.run();
  std::string old = w.physical("Task");
  w.update(parameter("Image", "bad"));
  EXPECT_EQ(w.run(), "UPDATE_ROLLBACK_COMPLETE");
  EXPECT_EQ(w.physical("Task"), old);
  EXPECT_EQ(w.cloud.objects.at(w.physical("Service"))["taskDefinition"], old);
  EXPECT_EQ(w.cloud.inventory(), kFull);
  EXPECT_TRUE(
      w.has_event("web UPDATE_ROLLBACK_IN_PROGRESS The following resource(s) failed to update: [Service]. "));
  EXPECT_EQ(w.stack()["Parameters"][0]["ParameterValue"], "one");
}

TEST(StackEngine, DeletesInReverseAndHonoursRetain) {
  World w;
  std::string body = kTemplate;
  body.replace(body.find("Logs: {Type"), 6, "Logs: {DeletionPolicy: Retain, ");
  body.erase(body.find("Retain, {") + 8, 1);
  w.create(body.c_str());
  ASSERT_EQ(w.run(), "CREATE_COMPLETE");
  w.cloud.calls.clear();
  w.call("DeleteStack", json::object());
  EXPECT_EQ(w.run(), "DELETE_COMPLETE");
  EXPECT_EQ(w.cloud.inventory(), (std::map<std::string, int>{{"log", 1}}));
  EXPECT_LT(w.index("DeleteService"), w.index("DeleteListener"));
  EXPECT_LT(w.index("DeleteListener"), w.index("DeleteLoadBalancer"));
  EXPECT_LT(w.index("DeleteSubnet"), w.index("DeleteVpc"));
  EXPECT_TRUE(w.has_event("Logs DELETE_SKIPPED"));
}

TEST(StackEngine, SaysWhichResourceCouldNotBeDeletedAndTriesAgainWhenAsked) {
  World w;
  w.create();
  w.run();
  w.cloud.fail["DeleteCluster"] = {"ServerException", "no", 500};
  w.call("DeleteStack", json::object());
  EXPECT_EQ(w.run(), "DELETE_FAILED");
  EXPECT_EQ(w.stack()["StackStatusReason"], "The following resource(s) failed to delete: [Cluster]. ");
  w.cloud.fail.clear();
  w.call("DeleteStack", json::object());
  EXPECT_EQ(w.run(), "DELETE_COMPLETE");
  EXPECT_EQ(w.cloud.inventory(), (std::map<std::string, int>{}));
}

TEST(StackEngine, ShowsNoSecret) {
  World w;
  w.create();
  w.run();
  EXPECT_EQ(w.stack()["Parameters"][2]["ParameterValue"], "****");
  EXPECT_EQ(w.call("DescribeStackEvents", json::object()).dump().find("hush"), std::string::npos);
  EXPECT_NE(w.cloud.objects.at(w.physical("Task")).dump().find("hush"), std::string::npos);
}

// Runs `scenario` once in peace, then once with a crash at every single point, and compares.
void survives(const std::function<void(World&)>& prepare, const std::function<void(World&)>& act,
              const std::string& end, const std::map<std::string, int>& inventory) {
  World calm;
  prepare(calm);
  act(calm);
  calm.points = 0;
  ASSERT_EQ(calm.run(), end);
  ASSERT_GT(calm.points, 5);
  for (int at = 1; at <= calm.points; ++at) {
    World w;
    prepare(w);
    act(w);
    w.crash_at = at;
    EXPECT_EQ(w.run(), end) << "crash at point " << at;
    EXPECT_EQ(w.cloud.inventory(), inventory) << "crash at point " << at;
  }
}

TEST(StackEngine, SurvivesACrashAtEveryPointOfACreation) {
  survives([](World&) {}, [](World& w) { w.create(); }, "CREATE_COMPLETE", kFull);
}

TEST(StackEngine, SurvivesACrashAtEveryPointOfAFailedCreation) {
  survives([](World& w) { w.cloud.fail["CreateService"] = {"InvalidParameterException", "no", 400}; },
           [](World& w) { w.create(); }, "ROLLBACK_COMPLETE", {});
}

TEST(StackEngine, SurvivesACrashAtEveryPointOfAReplacement) {
  auto prepare = [](World& w) {
    w.create();
    w.run();
  };
  survives(prepare, [](World& w) { w.update(parameter("Image", "two")); }, "UPDATE_COMPLETE", kFull);
}

TEST(StackEngine, SurvivesACrashAtEveryPointOfAnUpdateThatFails) {
  auto prepare = [](World& w) {
    w.cloud.deployments_fail = true;
    w.create();
    w.run();
  };
  survives(prepare, [](World& w) { w.update(parameter("Image", "bad")); }, "UPDATE_ROLLBACK_COMPLETE", kFull);
}

TEST(StackEngine, SurvivesACrashAtEveryPointOfADeletion) {
  auto prepare = [](World& w) {
    w.create();
    w.run();
  };
  survives(prepare, [](World& w) { w.call("DeleteStack", json::object()); }, "DELETE_COMPLETE", {});
}

std::string error_of(World& w, const char* operation, const json& input) {
  try {
    w.call(operation, input);
    return "no error";
  } catch (const api::ApiError& e) {
    return e.code + ": " + e.message;
  }
}

TEST(Operations, AnswerWithAwsErrors) {
  World w;
  EXPECT_EQ(error_of(w, "DescribeStacks", json::object()), "ValidationError: Stack with id web does not exist");
  EXPECT_EQ(error_of(w, "UpdateStack", {{"TemplateBody", kTemplate}}),
            "ValidationError: Stack with id web does not exist");
  EXPECT_EQ(error_of(w, "DeleteStack", json::object()), "no error");
  w.create();
  EXPECT_EQ(error_of(w, "CreateStack", {{"TemplateBody", kTemplate}}),
            "AlreadyExistsException: Stack [web] already exists");
  EXPECT_EQ(error_of(w, "UpdateStack", {{"TemplateBody", kTemplate}}),
            "ValidationError: Stack:" + w.id + " is in CREATE_IN_PROGRESS state and can not be updated.");
  w.run();
  EXPECT_EQ(error_of(w, "UpdateStack", {{"TemplateBody", kTemplate}}),
            "ValidationError: No updates are to be performed.");
  EXPECT_EQ(error_of(w, "UpdateStack", {{"TemplateBody", "Resources: {Vpc: {Type: AWS::Logs::LogGroup}}"}}),
            "ValidationError: Update of resource type is not permitted. The new template modifies resource "
            "type of the "
            "following resources: [Vpc]");
  w.call("DeleteStack", json::object());
  w.run();
  EXPECT_EQ(error_of(w, "DescribeStacks", json::object()), "ValidationError: Stack with id web does not exist");
  EXPECT_EQ(w.status(), "DELETE_COMPLETE");
}

TEST(Operations, AskForCapabilities) {
  World w;
  json input = {
      {"TemplateBody", "Resources: {R: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}}}}"}};
  EXPECT_EQ(error_of(w, "CreateStack", input),
            "InsufficientCapabilitiesException: Requires capabilities : [CAPABILITY_IAM]");
  input["Capabilities"] = json::array({"CAPABILITY_IAM"});
  EXPECT_EQ(error_of(w, "CreateStack", input), "no error");
}

TEST(Operations, ListEveryMistakeOfATemplate) {
  World w;
  json input = {{"TemplateBody", "Resources:\n  A: {Type: X}\n  B: {}\n"}};
  EXPECT_EQ(error_of(w, "ValidateTemplate", input),
            "ValidationError: Resource type X is not supported by Weir. (line 2, column 13)");
  input["WeirDiagnostics"] = true;
  EXPECT_EQ(
      w.call("ValidateTemplate", input)["WeirDiagnostics"],
      json::array({{{"Line", 2}, {"Column", 13}, {"Message", "Resource type X is not supported by Weir."}},
                   {{"Line", 3}, {"Column", 3}, {"Message", "Resource B needs a Type."}}}));
}

}  // namespace
}  // namespace weir::cfn
