// The operations that providers call, over objects in memory. Records calls, fails and crashes on request.
// For tests; include from .cc files only.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "api/dispatcher.h"

namespace weir::cfn {

// Stands for kill -9.
struct Crash {};

class FakeCloud {
 public:
  using json = nlohmann::json;

  FakeCloud() {
    ec2();
    elbv2();
    ecs();
    others();
  }

  api::Dispatcher dispatcher;
  std::vector<std::string> calls;             // changing operations, in order
  std::map<std::string, api::ApiError> fail;  // operation → what it answers
  std::map<std::string, json> objects;        // physical id → description
  int balancer_polls = 0;                     // until a load balancer is active
  bool deployments_fail = false;              // of task definitions whose image is "bad"
  std::function<void()> crash_point = [] {};  // before and after the effect of each changing call

  size_t count(const std::string& prefix) const {
    size_t n = 0;
    for (const auto& [id, object] : objects) n += id.starts_with(prefix) ? 1 : 0;
    return n;
  }
  // What there is, without ids: for comparing outcomes.
  std::map<std::string, int> inventory() const {
    std::map<std::string, int> out;
    for (const auto& [id, object] : objects) {
      if (object.value("status", "") != "INACTIVE") ++out[object["kind"].get<std::string>()];
    }
    return out;
  }

 private:
  void on(const char* service, const char* operation, std::function<json(const json&)> handler) {
    dispatcher.add(service, operation, std::move(handler));
  }
  void change(const char* service, const char* operation, std::function<json(const json&)> handler) {
    std::string name = operation;
    dispatcher.add(service, operation, [this, name, handler](const json& input) {
      crash_point();
      calls.push_back(name);
      if (auto found = fail.find(name); found != fail.end()) throw found->second;
      json out = handler(input);
      crash_point();
      return out;
    });
  }
  json& get(const std::string& id) {
    auto found = objects.find(id);
    if (found == objects.end()) throw api::ApiError{"NotFoundException", id + " does not exist", 400};
    return found->second;
  }
  std::string make(const char* kind, const std::string& prefix, json object) {
    std::string id = prefix + std::to_string(++next_);
    object["kind"] = kind;
    objects[id] = std::move(object);
    return id;
  }
  json all(const char* kind, const char* id_member, const json& only = {}) {
    json out = json::array();
    for (auto& [id, object] : objects) {
      if (object["kind"] != kind) continue;
      if (only.is_array() && std::find(only.begin(), only.end(), json(id)) == only.end()) continue;
      json copy = object;
      copy[id_member] = id;
      out.push_back(std::move(copy));
    }
    return out;
  }
  static json tags_of(const json& input) {
    return input.contains("TagSpecifications") ? input["TagSpecifications"][0]["Tags"] : json::array();
  }

  void ec2();
  void elbv2();
  void ecs();
  void others();
  int next_ = 0;
};

inline void FakeCloud::ec2() {
  change("ec2", "CreateVpc", [this](const json& in) {
    return json{
        {"Vpc",
         {{"VpcId", make("vpc", "vpc-",
                         {{"State", "available"}, {"CidrBlock", in["CidrBlock"]}, {"Tags", tags_of(in)}})}}}};
  });
  on("ec2", "DescribeVpcs",
     [this](const json& in) { return json{{"Vpcs", all("vpc", "VpcId", in.value("VpcIds", json()))}}; });
  change("ec2", "ModifyVpcAttribute", [](const json&) { return json::object(); });
  change("ec2", "DeleteVpc", [this](const json& in) {
    get(in["VpcId"]);
    if (count("subnet-") + count("sg-") > 0) throw api::ApiError{"DependencyViolation", "in use", 400};
    objects.erase(in["VpcId"].get<std::string>());
    return json::object();
  });
  change("ec2", "CreateSubnet", [this](const json& in) {
    return json{
        {"Subnet", {{"SubnetId", make("subnet", "subnet-", {{"VpcId", in["VpcId"]}, {"Tags", tags_of(in)}})}}}};
  });
  on("ec2", "DescribeSubnets", [this](const json& in) {
    return json{{"Subnets", all("subnet", "SubnetId", in.value("SubnetIds", json()))}};
  });
  change("ec2", "DeleteSubnet", [this](const json& in) {
    get(in["SubnetId"]);
    objects.erase(in["SubnetId"].get<std::string>());
    return json::object();
  });
  change("ec2", "CreateSecurityGroup", [this](const json& in) {
    return json{
        {"GroupId",
         make("sg", "sg-", {{"VpcId", in["VpcId"]}, {"GroupName", in["GroupName"]}, {"Tags", tags_of(in)}})}};
  });
  on("ec2", "DescribeSecurityGroups", [this](const json& in) {
    return json{{"SecurityGroups", all("sg", "GroupId", in.value("GroupIds", json()))}};
  });
  change("ec2", "AuthorizeSecurityGroupIngress", [](const json&) { return json::object(); });
  change("ec2", "RevokeSecurityGroupIngress", [](const json&) { return json::object(); });
  change("ec2", "DeleteSecurityGroup", [this](const json& in) {
    get(in["GroupId"]);
    objects.erase(in["GroupId"].get<std::string>());
    return json::object();
  });
}

inline void FakeCloud::elbv2() {
  change("elbv2", "CreateLoadBalancer", [this](const json& in) {
    json object = in;
    object["LoadBalancerName"] = in["Name"];
    object["DNSName"] = "lb.local";
    object["polls"] = balancer_polls;
    return json{{"LoadBalancers", {{{"LoadBalancerArn", make("lb", "arn:lb:loadbalancer/app/x/", object)}}}}};
  });
  on("elbv2", "DescribeLoadBalancers", [this](const json& in) {
    json out = json::array();
    json found_all = all("lb", "LoadBalancerArn", in.value("LoadBalancerArns", json()));
    for (json& b : found_all) {
      if (in.contains("Names") && b["LoadBalancerName"] != in["Names"][0]) continue;
      json& stored = objects[b["LoadBalancerArn"].get<std::string>()];
      int polls = stored["polls"];
      if (polls > 0) stored["polls"] = polls - 1;
      b["State"] = {{"Code", polls > 0 ? "provisioning" : "active"}};
      out.push_back(b);
    }
    return json{{"LoadBalancers", out}};
  });
  on("elbv2", "DescribeTags", [this](const json& in) {
    return json{{"TagDescriptions", {{{"Tags", get(in["ResourceArns"][0]).value("Tags", json::array())}}}}};
  });
  auto erase = [this](const char* member) {
    return [this, member](const json& in) {
      get(in[member]);
      objects.erase(in[member].get<std::string>());
      return json::object();
    };
  };
  change("elbv2", "DeleteLoadBalancer", erase("LoadBalancerArn"));
  change("elbv2", "CreateTargetGroup", [this](const json& in) {
    json object = in;
    object["TargetGroupName"] = in["Name"];
    return json{{"TargetGroups", {{{"TargetGroupArn", make("tg", "arn:tg:targetgroup/x/", object)}}}}};
  });
  on("elbv2", "DescribeTargetGroups", [this](const json& in) {
    json out = json::array();
    for (const json& g : all("tg", "TargetGroupArn", in.value("TargetGroupArns", json()))) {
      if (!in.contains("Names") || g["TargetGroupName"] == in["Names"][0]) out.push_back(g);
    }
    return json{{"TargetGroups", out}};
  });
  change("elbv2", "ModifyTargetGroup", [this](const json& in) {
    get(in["TargetGroupArn"]).update(in);
    return json::object();
  });
  change("elbv2", "ModifyTargetGroupAttributes", [](const json&) { return json::object(); });
  change("elbv2", "DeleteTargetGroup", erase("TargetGroupArn"));
  change("elbv2", "CreateListener", [this](const json& in) {
    return json{{"Listeners", {{{"ListenerArn", make("listener", "arn:listener:", in)}}}}};
  });
  on("elbv2", "DescribeListeners",
     [this](const json&) { return json{{"Listeners", all("listener", "ListenerArn")}}; });
  change("elbv2", "DeleteListener", erase("ListenerArn"));
}

inline void FakeCloud::ecs() {
  change("ecs", "CreateCluster", [this](const json& in) {
    objects["cluster:" + in["clusterName"].get<std::string>()] = {{"kind", "cluster"},
                                                                  {"status", "ACTIVE"},
                                                                  {"tags", in["tags"]},
                                                                  {"clusterArn", "arn:cluster"},
                                                                  {"clusterName", in["clusterName"]}};
    return json{{"cluster", {{"clusterName", in["clusterName"]}}}};
  });
  on("ecs", "DescribeClusters", [this](const json& in) {
    auto found = objects.find("cluster:" + in["clusters"][0].get<std::string>());
    return json{{"clusters", found == objects.end() ? json::array() : json::array({found->second})}};
  });
  change("ecs", "DeleteCluster", [this](const json& in) {
    get("cluster:" + in["cluster"].get<std::string>());
    objects.erase("cluster:" + in["cluster"].get<std::string>());
    return json::object();
  });
  change("ecs", "RegisterTaskDefinition", [this](const json& in) {
    json object = in;
    object["status"] = "ACTIVE";
    return json{{"taskDefinition", {{"taskDefinitionArn", make("td", "arn:td:", object)}}}};
  });
  on("ecs", "ListTaskDefinitions", [this](const json& in) {
    json out = json::array();
    for (const json& t : all("td", "arn")) {
      if (t["family"] == in["familyPrefix"] && t["status"] == "ACTIVE") out.push_back(t["arn"]);
    }
    return json{{"taskDefinitionArns", out}};
  });
  on("ecs", "DescribeTaskDefinition",
     [this](const json& in) { return json{{"tags", get(in["taskDefinition"])["tags"]}}; });
  change("ecs", "DeregisterTaskDefinition", [this](const json& in) {
    get(in["taskDefinition"])["status"] = "INACTIVE";
    return json::object();
  });
  change("ecs", "CreateService", [this](const json& in) {
    json object = in;
    object["status"] = "ACTIVE";
    object["polls"] = 2;
    return json{{"service", {{"serviceArn", make("service", "arn:service/c/", object)}}}};
  });
  on("ecs", "DescribeServices", [this](const json& in) {
    json out = json::array();
    json found_all = all("service", "serviceArn");
    for (json& s : found_all) {
      if (s["serviceArn"] != in["services"][0] && s["serviceName"] != in["services"][0]) continue;
      json& stored = objects[s["serviceArn"].get<std::string>()];
      int polls = stored["polls"];
      if (polls > 0) stored["polls"] = polls - 1;
      bool bad = deployments_fail && get(s["taskDefinition"]).dump().find("\"bad\"") != std::string::npos;
      const char* state = polls > 0 ? "IN_PROGRESS" : bad ? "FAILED" : "COMPLETED";
      s["runningCount"] = polls > 0 || bad ? json(0) : s["desiredCount"];
      s["deployments"] = {{{"taskDefinition", s["taskDefinition"]}, {"rolloutState", state}}};
      s["events"] = {
          {{"message", "(service s) (deployment ecs-svc/1) deployment failed: tasks failed to start."}}};
      out.push_back(s);
    }
    return json{{"services", out}};
  });
  change("ecs", "UpdateService", [this](const json& in) {
    json& service = get(in["service"]);
    for (const char* key : {"taskDefinition", "desiredCount"}) {
      if (in.contains(key)) service[key] = in[key];
    }
    service["polls"] = 2;
    return json::object();
  });
  change("ecs", "DeleteService", [this](const json& in) {
    get(in["service"])["status"] = "INACTIVE";
    return json::object();
  });
}

inline void FakeCloud::others() {
  change("logs", "CreateLogGroup", [this](const json& in) {
    std::string id = "log:" + in["logGroupName"].get<std::string>();
    if (objects.contains(id)) throw api::ApiError{"ResourceAlreadyExistsException", "exists", 400};
    objects[id] = {
        {"kind", "log"}, {"logGroupName", in["logGroupName"]}, {"tags", in["tags"]}, {"arn", "arn:log"}};
    return json::object();
  });
  on("logs", "DescribeLogGroups", [this](const json&) { return json{{"logGroups", all("log", "id")}}; });
  on("logs", "ListTagsLogGroup", [this](const json& in) {
    return json{{"tags", get("log:" + in["logGroupName"].get<std::string>())["tags"]}};
  });
  change("logs", "PutRetentionPolicy", [](const json&) { return json::object(); });
  change("logs", "DeleteLogGroup", [this](const json& in) {
    get("log:" + in["logGroupName"].get<std::string>());
    objects.erase("log:" + in["logGroupName"].get<std::string>());
    return json::object();
  });
}

}  // namespace weir::cfn
