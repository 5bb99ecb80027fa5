// AWS::ECS. The API's member names begin in lower case; keys of maps (log options, labels) stay.
#include <nlohmann/json.hpp>

#include "cfn/provider_util.h"

namespace weir::cfn {

using nlohmann::json;

namespace {

json lowered(const ResourceCall& c, std::string_view type) {
  json properties = c.properties;
  properties.erase("Tags");
  return lower_camel(properties, provider_schema(*find_provider(type)));
}

void update_tags(const ResourceCall& c, const std::string& arn) {
  if (!changed(c, "Tags")) return;
  json removed = removed_tag_keys(c);
  if (!removed.empty()) c.api.call("ecs", "UntagResource", {{"resourceArn", arn}, {"tagKeys", removed}});
  json tags = json::array();
  for (const json& tag : tag_list(c.properties))
    tags.push_back({{"key", tag["Key"]}, {"value", tag["Value"]}});
  if (!tags.empty()) c.api.call("ecs", "TagResource", {{"resourceArn", arn}, {"tags", tags}});
}

json cluster_of(const ResourceCall& c, const std::string& name) {
  return describe_one(c, "ecs", "DescribeClusters", {{"clusters", {name}}, {"include", {"TAGS"}}},
                      "clusters");
}

json cluster_input(const ResourceCall& c) {
  json input = lowered(c, "AWS::ECS::Cluster");
  input.erase("clusterName");
  if (input.contains("clusterSettings")) {
    input["settings"] = input["clusterSettings"];
    input.erase("clusterSettings");
  }
  return input;
}

std::string create_cluster(const ResourceCall& c) {
  json input = cluster_input(c);
  input["clusterName"] = c.name;
  input["tags"] = lower_tags(c);
  return text_at(c.api.call("ecs", "CreateCluster", input)["cluster"], "clusterName");
}

std::string find_cluster(const ResourceCall& c) {
  json cluster = cluster_of(c, c.name);
  bool ours = cluster.is_object() && text_at(cluster, "status") == "ACTIVE" &&
              is_ours(c, cluster.value("tags", json::array()));
  return ours ? c.name : std::string();
}

void update_cluster(const ResourceCall& c) {
  json input = pick(cluster_input(c), {"settings", "configuration"});
  if (!input.empty() && any_changed(c, {"ClusterSettings", "Configuration"})) {
    input["cluster"] = c.physical_id;
    c.api.call("ecs", "UpdateCluster", input);
  }
  update_tags(c, text_at(cluster_of(c, c.physical_id), "clusterArn"));
}

json cluster_values(const ResourceCall& c) {
  return {{"Arn", text_at(cluster_of(c, c.physical_id), "clusterArn")}};
}

std::string family(const ResourceCall& c) {
  std::string own = text_at(c.properties, "Family");
  return own.empty() ? c.name : own;
}

std::string create_task_definition(const ResourceCall& c) {
  json input = lowered(c, "AWS::ECS::TaskDefinition");
  input["family"] = family(c);
  input["tags"] = lower_tags(c);
  return text_at(c.api.call("ecs", "RegisterTaskDefinition", input)["taskDefinition"], "taskDefinitionArn");
}

std::string find_task_definition(const ResourceCall& c) {
  for (const json& arn : describe(c, "ecs", "ListTaskDefinitions",
                                  {{"familyPrefix", family(c)}, {"status", "ACTIVE"}, {"sort", "DESC"}},
                                  "taskDefinitionArns")) {
    if (excluded(c, arn.get<std::string>())) continue;
    json out = c.api.call("ecs", "DescribeTaskDefinition", {{"taskDefinition", arn}, {"include", {"TAGS"}}});
    if (is_ours(c, out.value("tags", json::array()))) return arn.get<std::string>();
  }
  return {};
}

void remove_task_definition(const ResourceCall& c) {
  call_if_exists(c, "ecs", "DeregisterTaskDefinition", {{"taskDefinition", c.physical_id}});
}

std::string cluster_name(const ResourceCall& c) {
  std::string name = text_at(c.properties, "Cluster");
  return name.empty() ? "default" : name;
}

json service_of(const ResourceCall& c, const std::string& service) {
  return describe_one(c, "ecs", "DescribeServices",
                      {{"cluster", cluster_name(c)}, {"services", {service}}, {"include", {"TAGS"}}},
                      "services");
}

std::string create_service(const ResourceCall& c) {
  json input = lowered(c, "AWS::ECS::Service");
  input["serviceName"] = c.name;
  if (!input.contains("desiredCount") && input.value("schedulingStrategy", "REPLICA") == "REPLICA")
    input["desiredCount"] = 1;
  input["tags"] = lower_tags(c);
  return text_at(c.api.call("ecs", "CreateService", input)["service"], "serviceArn");
}

std::string find_service(const ResourceCall& c) {
  json service = service_of(c, c.name);
  bool ours = service.is_object() && text_at(service, "status") == "ACTIVE" &&
              is_ours(c, service.value("tags", json::array()));
  std::string arn = text_at(service, "serviceArn");
  return ours && !excluded(c, arn) ? arn : std::string();
}

void update_service(const ResourceCall& c) {
  json input = lowered(c, "AWS::ECS::Service");
  for (const char* fixed :
       {"serviceName", "launchType", "schedulingStrategy", "role", "cluster", "deploymentController"}) {
    input.erase(fixed);
  }
  input["cluster"] = cluster_name(c);
  input["service"] = c.physical_id;
  json before = c.old_properties;
  json now = c.properties;
  before.erase("Tags");
  now.erase("Tags");
  if (before != now) c.api.call("ecs", "UpdateService", input);
  update_tags(c, c.physical_id);
}

// Why the service's latest task ended, for the person who has to mend it.
std::string last_stop_reason(const ResourceCall& c) {
  if (!c.api.knows("ecs", "ListTasks") || !c.api.knows("ecs", "DescribeTasks")) return {};
  json wanted{{"cluster", cluster_name(c)}, {"serviceName", c.physical_id}, {"desiredStatus", "STOPPED"}};
  json arns = c.api.call("ecs", "ListTasks", wanted).value("taskArns", json::array());
  if (arns.empty()) return {};
  json tasks = c.api.call("ecs", "DescribeTasks", {{"cluster", cluster_name(c)}, {"tasks", arns}})
                   .value("tasks", json::array());
  const json* latest = nullptr;
  for (const json& t : tasks) {
    if (latest == nullptr || t.value("stoppedAt", 0.0) > latest->value("stoppedAt", 0.0)) latest = &t;
  }
  if (latest == nullptr) return {};
  std::string why = text_at(*latest, "stoppedReason");
  for (const json& container : latest->value("containers", json::array())) {
    if (container.contains("exitCode")) {
      why +=
          " (container " + text_at(container, "name") + ", exit code " + container["exitCode"].dump() + ")";
    }
    std::string reason = text_at(container, "reason");
    if (!reason.empty() && why.find(reason) == std::string::npos) why += " " + reason;
  }
  return why.empty() ? why : " The last task ended with: " + why;
}

// Steady: one deployment, of the task definition asked for, completed, with all tasks running.
Progress service_stabilized(const ResourceCall& c) {
  json service = service_of(c, c.physical_id);
  if (!service.is_object() || text_at(service, "status") != "ACTIVE") {
    return Progress::failed("Service " + c.physical_id + " is not active any more.");
  }
  std::string wanted = text_at(c.properties, "TaskDefinition");
  json deployments = service.value("deployments", json::array());
  for (const json& d : deployments) {
    bool asked_for = text_at(d, "taskDefinition") == wanted;
    if (!asked_for || text_at(d, "rolloutState") != "FAILED") continue;
    std::string why = text_at(d, "rolloutStateReason");
    for (const json& event : service.value("events", json::array())) {
      std::string message = text_at(event, "message");
      if (message.find("fail") == std::string::npos && message.find("unable") == std::string::npos &&
          message.find("unhealthy") == std::string::npos)
        continue;
      why += (why.empty() ? "" : " ") + message;
      break;
    }
    return Progress::failed(
        "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'." +
        (why.empty() ? "" : " " + why) + last_stop_reason(c));
  }
  // The circuit breaker may have rolled back, and the failed deployment be gone, before this look.
  if (wanted.find(':') != std::string::npos && wanted.starts_with("arn:") &&
      text_at(service, "taskDefinition") != wanted) {
    return Progress::failed(
        "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'." +
        last_stop_reason(c));
  }
  if (deployments.size() != 1) return Progress::waiting();
  const json& d = deployments[0];
  bool same = text_at(d, "taskDefinition") == text_at(service, "taskDefinition") &&
              (!d.contains("networkConfiguration") || !service.contains("networkConfiguration") ||
               d["networkConfiguration"] == service["networkConfiguration"]);
  bool steady = text_at(d, "rolloutState") == "COMPLETED" &&
                service.value("runningCount", json(0)) == service.value("desiredCount", json(0));
  return same && steady ? Progress::done() : Progress::waiting();
}

json service_values(const ResourceCall& c) {
  return {{"Name", c.physical_id.substr(c.physical_id.rfind('/') + 1)}, {"ServiceArn", c.physical_id}};
}

void remove_service(const ResourceCall& c) {
  json service = service_of(c, c.physical_id);
  if (!service.is_object() || text_at(service, "status") != "ACTIVE") return;
  call_if_exists(c, "ecs", "DeleteService",
                 {{"cluster", cluster_name(c)}, {"service", c.physical_id}, {"force", true}});
}

bool service_gone(const ResourceCall& c) {
  json service = service_of(c, c.physical_id);
  return !service.is_object() || text_at(service, "status") == "INACTIVE";
}

#define WEIR_CFN_PAIRS "[{Name*: string; Value*: string}]"
#define WEIR_CFN_CONTAINER                                                                                   \
  "{Name*: string; Image*: string; Cpu: integer; Memory: integer; MemoryReservation: integer; Essential: "   \
  "boolean;"                                                                                                 \
  " Links: [string]; PortMappings: [{ContainerPort: integer(0..65535); HostPort: integer(0..65535);"         \
  " Protocol: string(tcp|udp); Name: string; AppProtocol: string(grpc|http|http2); ContainerPortRange: "     \
  "string}];"                                                                                                \
  " EntryPoint: [string]; Command: [string]; Environment: [{Name: string; Value: string}];"                  \
  " -EnvironmentFiles; -Secrets;"                                                                            \
  " MountPoints: [{SourceVolume: string; ContainerPath: string; ReadOnly: boolean}];"                        \
  " VolumesFrom: [{SourceContainer: string; ReadOnly: boolean}]; LinuxParameters: {Capabilities: {Add: "     \
  "[string];"                                                                                                \
  " Drop: [string]}; InitProcessEnabled: boolean; SharedMemorySize: integer; MaxSwap: integer; Swappiness: " \
  "integer;"                                                                                                 \
  " Tmpfs: [{ContainerPath: string; Size*: integer; MountOptions: [string]}]; Devices: [{HostPath: string;"  \
  " ContainerPath: string; Permissions: [string]}]};"                                                        \
  " DependsOn: [{ContainerName: string; Condition: string(START|COMPLETE|SUCCESS|HEALTHY)}];"                \
  " StartTimeout: integer; StopTimeout: integer; VersionConsistency: string; Hostname: string; User: "       \
  "string;"                                                                                                  \
  " WorkingDirectory: string; DisableNetworking: boolean; Privileged: boolean; ReadonlyRootFilesystem: "     \
  "boolean;"                                                                                                 \
  " DnsServers: [string]; DnsSearchDomains: [string]; ExtraHosts: [{Hostname: string; IpAddress: string}];"  \
  " DockerSecurityOptions: [string]; Interactive: boolean; PseudoTerminal: boolean; DockerLabels: map;"      \
  " Ulimits: [{Name*: string; SoftLimit*: integer; HardLimit*: integer}];"                                   \
  " LogConfiguration: {LogDriver*: string; Options: map; SecretOptions: [{Name*: string; ValueFrom*: "       \
  "string}]};"                                                                                               \
  " -HealthCheck; -RestartPolicy; -SystemControls; -ResourceRequirements; -RepositoryCredentials;"           \
  " -FirelensConfiguration; -CredentialSpecs}"

constexpr std::string_view kTaskDefinition =
    "Family^: string; ContainerDefinitions*^: [" WEIR_CFN_CONTAINER
    "]; Cpu^: string; Memory^: string; NetworkMode^: string(awsvpc|bridge|host|none);"
    "RequiresCompatibilities^: [string(FARGATE|EC2|EXTERNAL|MANAGED_INSTANCES)]; ExecutionRoleArn^: string;"
    "TaskRoleArn^: string; PidMode^: string(task|host); IpcMode^: string(task|host|none);"
    "RuntimePlatform^: {CpuArchitecture: string(X86_64|ARM64); OperatingSystemFamily: string};"
    "EphemeralStorage^: {SizeInGiB: integer(20..200)}; EnableFaultInjection^: boolean;"
    "Volumes^: [{Name: string; Host: {SourcePath: string}; ConfiguredAtLaunch: boolean; "
    "-EFSVolumeConfiguration;"
    "  -DockerVolumeConfiguration; -FSxWindowsFileServerVolumeConfiguration}]; Tags: [Tag];"
    "-ProxyConfiguration; -PlacementConstraints; -InferenceAccelerators";

constexpr std::string_view kService =
    "ServiceName^: string; Cluster^: string; TaskDefinition*: string; DesiredCount: integer(0..5000);"
    "LaunchType^: string(FARGATE|EC2|EXTERNAL); PlatformVersion: string; SchedulingStrategy^: "
    "string(REPLICA|DAEMON);"
    "CapacityProviderStrategy: [{CapacityProvider: string; Weight: integer(0..1000); Base: "
    "integer(0..100000)}];"
    "LoadBalancers: [{TargetGroupArn: string; ContainerName: string; ContainerPort: integer(0..65535);"
    "  -LoadBalancerName; -AdvancedConfiguration}];"
    "NetworkConfiguration: {AwsvpcConfiguration: {Subnets*: [string]; SecurityGroups: [string];"
    "  AssignPublicIp: string(ENABLED|DISABLED)}}; HealthCheckGracePeriodSeconds: integer;"
    "DeploymentConfiguration: {MinimumHealthyPercent: integer(0..100); MaximumPercent: integer(100..200);"
    "  DeploymentCircuitBreaker: {Enable*: boolean; Rollback*: boolean; ThresholdConfiguration: {Type: "
    "string(COUNT|"
    "  BOUNDED_PERCENT|UNBOUNDED_PERCENT); Value: integer}}; Alarms: {AlarmNames*: [string]; Enable*: "
    "boolean;"
    "  Rollback*: boolean}; Strategy: string(ROLLING); -LifecycleHooks; -BakeTimeInMinutes};"
    "DeploymentController: {Type: string(ECS)}; EnableExecuteCommand: boolean; EnableECSManagedTags: boolean;"
    "PropagateTags: string(SERVICE|TASK_DEFINITION|NONE); AvailabilityZoneRebalancing: "
    "string(ENABLED|DISABLED);"
    "ForceNewDeployment: {EnableForceNewDeployment*: boolean; ForceNewDeploymentNonce: string};"
    "Tags: [Tag]; -Role; -ServiceRegistries; -ServiceConnectConfiguration; -PlacementConstraints; "
    "-PlacementStrategies;"
    "-VolumeConfigurations; -VpcLatticeConfigurations";

}  // namespace

const std::vector<Provider>& ecs_providers() {
  static const std::vector<Provider> kTable = {
      {.type = "AWS::ECS::Cluster",
       .service = "Ecs",
       .properties =
           "ClusterName^: string; ClusterSettings: " WEIR_CFN_PAIRS "; CapacityProviders: [string];"
           "DefaultCapacityProviderStrategy: [{CapacityProvider: string; Weight: integer; Base: integer}];"
           "Tags: [Tag]; -Configuration; -ServiceConnectDefaults",
       .attributes = "Arn",
       .name_property = "ClusterName",
       .create = create_cluster,
       .find = find_cluster,
       .update = update_cluster,
       .values = cluster_values,
       .remove =
           [](const ResourceCall& c) {
             call_if_exists(c, "ecs", "DeleteCluster", {{"cluster", c.physical_id}});
           }},
      {.type = "AWS::ECS::TaskDefinition",
       .service = "Ecs",
       .properties = kTaskDefinition,
       .attributes = "TaskDefinitionArn",
       .create = create_task_definition,
       .find = find_task_definition,
       .update = [](const ResourceCall& c) { update_tags(c, c.physical_id); },
       .values = [](const ResourceCall& c) { return json{{"TaskDefinitionArn", c.physical_id}}; },
       .remove = remove_task_definition},
      {.type = "AWS::ECS::Service",
       .service = "Ecs",
       .properties = kService,
       .attributes = "Name ServiceArn",
       .name_property = "ServiceName",
       .create = create_service,
       .find = find_service,
       .update = update_service,
       .stabilized = service_stabilized,
       .values = service_values,
       .remove = remove_service,
       .gone = service_gone},
  };
  return kTable;
}

}  // namespace weir::cfn
