#include "api/test_world.h"

#include <stdlib.h>

#include <filesystem>

#include <nlohmann/json.hpp>

#include "api/acm/local_ca.h"

namespace weir::api {

using nlohmann::json;

TestWorld::TestWorld() {
  char pattern[] = "/tmp/weir-api-test-XXXXXX";
  directory = mkdtemp(pattern);
  store = std::move(*store::Store::open(directory + "/state.db"));
  ca = std::move(*LocalCa::open(directory + "/ca", clock.unix_ms() / 1000));
  context = std::unique_ptr<Context>(new Context{.store = *store,
                                                 .clock = clock,
                                                 .random = random,
                                                 .state_dir = directory,
                                                 .ca = ca.get()});
  add_all_operations(dispatcher, *context);
}

TestWorld::~TestWorld() {
  store.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
}

json TestWorld::call(const char* service, const char* operation, const json& input) {
  try {
    return dispatcher.call(service, operation, input);
  } catch (const ApiError& error) {
    throw std::runtime_error(std::string(operation) + ": " + error.code + ": " + error.message);
  }
}

std::string TestWorld::error(const char* service, const char* operation, const json& input) {
  try {
    dispatcher.call(service, operation, input);
  } catch (const ApiError& error) {
    return error.code + ": " + error.message;
  }
  return "no error";
}

std::string TestWorld::vpc() {
  if (vpc_.empty()) vpc_ = call("ec2", "CreateVpc", {{"CidrBlock", "10.0.0.0/16"}})["Vpc"]["VpcId"];
  return vpc_;
}

std::string TestWorld::subnet(char zone) {
  std::string& id = zone == 'a' ? subnet_a_ : subnet_b_;
  if (id.empty()) {
    id = call("ec2", "CreateSubnet",
              {{"VpcId", vpc()},
               {"CidrBlock", zone == 'a' ? "10.0.0.0/24" : "10.0.1.0/24"},
               {"AvailabilityZone", std::string("us-east-1") + zone}})["Subnet"]["SubnetId"];
  }
  return id;
}

std::string TestWorld::group() {
  if (group_.empty()) {
    group_ = call("ec2", "CreateSecurityGroup",
                  {{"GroupName", "g"}, {"Description", "d"}, {"VpcId", vpc()}})["GroupId"];
  }
  return group_;
}

std::string TestWorld::balancer() {
  if (balancer_.empty()) {
    json subnets = {subnet('a'), subnet('b')};
    balancer_ = call("elbv2", "CreateLoadBalancer",
                     {{"Name", "demo"}, {"Subnets", subnets}})["LoadBalancers"][0]["LoadBalancerArn"];
  }
  return balancer_;
}

std::string TestWorld::target_group(const char* version) {
  std::string name = std::string("tg-") + version;
  return call("elbv2", "CreateTargetGroup",
              {{"Name", name}, {"Protocol", "HTTP"}, {"ProtocolVersion", version}, {"Port", 50051},
               {"VpcId", vpc()}, {"TargetType", "ip"}})["TargetGroups"][0]["TargetGroupArn"];
}

std::string TestWorld::certificate() {
  if (certificate_.empty()) {
    certificate_ = call("acm", "RequestCertificate", {{"DomainName", "chat.example.com"}})["CertificateArn"];
  }
  return certificate_;
}

std::string TestWorld::listener() {
  if (listener_.empty()) {
    json certificates = {{{"CertificateArn", certificate()}}};
    json actions = {{{"Type", "forward"}, {"TargetGroupArn", target_group()}}};
    listener_ = call("elbv2", "CreateListener",
                     {{"LoadBalancerArn", balancer()}, {"Protocol", "HTTPS"}, {"Port", 443},
                      {"Certificates", certificates}, {"DefaultActions", actions}})["Listeners"][0]["ListenerArn"];
  }
  return listener_;
}

std::string TestWorld::task_definition() {
  json container{{"name", "grpc"}, {"image", "chat:latest"}};
  container["portMappings"] = {{{"containerPort", 50051}}};
  json input{{"family", "chat"}, {"cpu", "256"}, {"memory", "512"}, {"networkMode", "awsvpc"}};
  input["requiresCompatibilities"] = {"FARGATE"};
  input["containerDefinitions"] = json::array({container});
  return call("ecs", "RegisterTaskDefinition", input)["taskDefinition"]["taskDefinitionArn"];
}

}  // namespace weir::api
