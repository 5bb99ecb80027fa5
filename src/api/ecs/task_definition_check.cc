#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ecs/ecs.h"

namespace weir::api {
namespace {

constexpr size_t kContainersMax = 10;
constexpr size_t kFamilyMax = 255;

struct FargateSize {
  int64_t cpu;
  int64_t memory_min;
  int64_t memory_max;
  int64_t step;
};
// The first row takes 512, 1024 and 2048 only.
constexpr FargateSize kFargateSizes[] = {
    {256, 512, 2048, 512},      {512, 1024, 4096, 1024},    {1024, 2048, 8192, 1024},    {2048, 4096, 16384, 1024},
    {4096, 8192, 30720, 1024},  {8192, 16384, 61440, 4096}, {16384, 32768, 122880, 8192},
};

[[noreturn]] void raise_client(const std::string& message) { raise("ClientException", message); }

// "1024", "1 vCPU" or "1GB" as an integer of units; `unit` is "vCPU" or "GB", worth 1024.
std::string normal_units(const std::string& given, std::string_view unit, const char* member) {
  std::string number = given;
  bool scaled = false;
  if (number.size() > unit.size() && std::string_view(number).ends_with(unit)) {
    number.resize(number.size() - unit.size());
    scaled = true;
  }
  while (!number.empty() && number.back() == ' ') number.pop_back();
  if (!number.empty() && number[0] == '.') number.insert(0, "0");
  double value = 0;
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  bool whole = error == std::errc() && end == number.data() + number.size() && value > 0 && value < 1e7;
  int64_t units = whole ? static_cast<int64_t>(scaled ? value * 1024 : value) : 0;
  if (!whole || (!scaled && static_cast<double>(units) != value)) {
    raise_client(fmt::format("Invalid '{}' setting for task. For more information, see the Troubleshooting section of "
                             "the Amazon ECS Developer Guide.", member));
  }
  return std::to_string(units);
}

void check_fargate_size(const Json& definition) {
  int64_t cpu = integer(definition, "cpu", 0);
  int64_t memory = integer(definition, "memory", 0);
  for (const auto& size : kFargateSizes) {
    if (size.cpu != cpu) continue;
    bool fits = memory >= size.memory_min && memory <= size.memory_max && (memory - size.memory_min) % size.step == 0;
    if (cpu == 256 && memory == 1536) fits = false;
    if (fits) return;
  }
  raise_client("No Fargate configuration exists for given values.");
}

bool uses_awslogs(const Json& containers) {
  return std::any_of(containers.begin(), containers.end(), [](const Json& container) {
    return has(container, "logConfiguration") && text(container["logConfiguration"], "logDriver") == "awslogs";
  });
}

void check_fargate(const Json& input, Json& definition) {
  if (text(definition, "networkMode") != "awsvpc")
    raise_client("Fargate only supports network mode \u2018awsvpc\u2019.");
  if (!definition.contains("cpu")) raise_client("Fargate requires that 'cpu' be defined at the task level.");
  if (!definition.contains("memory")) raise_client("Fargate requires that 'memory' be defined at the task level.");
  check_fargate_size(definition);
  if (text(input, "pidMode") == "host") {
    raise_client("Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode "
                 "is 'task'.");
  }
  if (uses_awslogs(definition["containerDefinitions"]) && text(definition, "executionRoleArn").empty()) {
    raise_client("Fargate requires task definition to have execution role ARN to support log driver awslogs.");
  }
}

Json checked_port(const Json& mapping, std::set<std::string>& taken) {
  int64_t port = integer(mapping, "containerPort", 0);
  int64_t host = integer(mapping, "hostPort", port);
  if (port < 1 || port > 65535) raise_client(fmt::format("Invalid containerPort '{}'.", port));
  if (host != 0 && host != port) {
    raise_client("When networkMode=awsvpc, the host ports and container ports in port mappings must match.");
  }
  std::string protocol = text(mapping, "protocol", "tcp");
  if (protocol != "tcp" && protocol != "udp") raise_client(fmt::format("Invalid protocol '{}'.", protocol));
  if (!taken.insert(fmt::format("{}/{}", port, protocol)).second) {
    raise_client(fmt::format("Port {} is mapped more than once for protocol {}.", port, protocol));
  }
  Json normal = mapping;
  normal["containerPort"] = port;
  normal["hostPort"] = port;
  normal["protocol"] = protocol;
  return normal;
}

void check_health_command(const Json& container) {
  if (!has(container, "healthCheck")) return;
  Json command = array(container["healthCheck"], "command");
  if (command.empty() || (command[0] != "CMD" && command[0] != "CMD-SHELL" && command[0] != "NONE")) {
    raise_client("Health check command must start with CMD or CMD-SHELL.");
  }
}

void check_refused(const Json& container, const std::string& name) {
  if (boolean(container, "privileged", false)) {
    raise_client(fmt::format("Container '{}': privileged containers are not supported.", name));
  }
  for (const char* member : {"secrets", "environmentFiles", "volumesFrom", "links", "mountPoints"}) {
    if (!array(container, member).empty()) {
      raise("UnsupportedFeatureException", fmt::format("Container '{}': '{}' is not supported here.", name, member));
    }
  }
}

int64_t checked_bytes(const Json& container, const char* member, const std::string& name) {
  auto value = optional_integer(container, member);
  if (!value) return 0;
  if (*value < 6)
    raise_client(
        fmt::format("Invalid setting for container '{}'. '{}' must be at least 6 MiB.", name, member));
  return *value;
}

Json checked_container(const Json& container, bool task_memory, std::set<std::string>& ports) {
  std::string name = text(container, "name");
  if (name.empty()) raise_client("Container.name should not be null or empty.");
  bool valid = name.size() <= 255 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_';
  });
  if (!valid) raise_client(fmt::format("Invalid container name '{}': up to 255 letters, numbers, hyphens and "
                                       "underscores are allowed.", name));
  if (text(container, "image").empty()) raise_client("Container.image should not be null or empty.");
  int64_t memory = checked_bytes(container, "memory", name);
  int64_t reservation = checked_bytes(container, "memoryReservation", name);
  if (memory == 0 && reservation == 0 && !task_memory) {
    raise_client(fmt::format("Invalid setting for container '{}'. At least one of 'memory' or 'memoryReservation' must "
                             "be specified.", name));
  }
  if (memory != 0 && reservation > memory) {
    raise_client(
        fmt::format("Invalid setting for container '{}'. 'memoryReservation' must be less than 'memory'.", name));
  }
  check_health_command(container);
  check_refused(container, name);
  Json normal = container;
  Json mappings = Json::array();
  for (const auto& mapping : array(container, "portMappings")) mappings.push_back(checked_port(mapping, ports));
  normal["portMappings"] = mappings;
  normal["cpu"] = integer(container, "cpu", 0);
  if (memory != 0) normal["memory"] = memory;
  if (reservation != 0) normal["memoryReservation"] = reservation;
  normal["essential"] = boolean(container, "essential", true);
  for (const char* member : {"environment", "mountPoints", "volumesFrom", "systemControls"}) {
    normal[member] = array(container, member);
  }
  for (auto& variable : normal["environment"]) {
    variable = {{"name", text(variable, "name")}, {"value", text(variable, "value")}};
  }
  return normal;
}

void check_totals(const Json& definition) {
  int64_t cpu = 0;
  int64_t memory = 0;
  for (const auto& container : definition["containerDefinitions"]) {
    cpu += integer(container, "cpu", 0);
    memory += integer(container, "memoryReservation", integer(container, "memory", 0));
  }
  if (definition.contains("cpu") && cpu > integer(definition, "cpu", 0)) {
    raise_client("The sum of the cpu of all containers must not be larger than the cpu of the task.");
  }
  if (definition.contains("memory") && memory > integer(definition, "memory", 0)) {
    raise_client("The sum of the memory of all containers must not be larger than the memory of the task.");
  }
}

void check_dependencies(const Json& containers) {
  std::set<std::string> names;
  bool essential = false;
  for (const auto& container : containers) {
    if (!names.insert(text(container, "name")).second) {
      raise_client(fmt::format("Container name '{}' is used more than once.", text(container, "name")));
    }
    essential = essential || container["essential"] == true;
  }
  if (!essential) raise_client("At least one container in the task definition must be marked as essential.");
  for (const auto& container : containers) {
    for (const auto& dependency : array(container, "dependsOn")) {
      if (names.contains(text(dependency, "containerName"))) continue;
      raise_client(fmt::format("Container '{}' depends on container '{}', which does not exist.",
                               text(container, "name"), text(dependency, "containerName")));
    }
  }
}

void check_family(const std::string& family) {
  if (family.empty()) raise_client("Family should not be null or empty.");
  bool valid = family.size() <= kFamilyMax && std::all_of(family.begin(), family.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_';
  });
  if (!valid) raise_client("Family contains invalid characters.");
}

}  // namespace

Json checked_task_definition(const Json& input) {
  Json definition{{"family", text(input, "family")},
                  {"networkMode", text(input, "networkMode", "bridge")},
                  {"volumes", array(input, "volumes")},
                  {"placementConstraints", array(input, "placementConstraints")}};
  check_family(text(definition, "family"));
  for (const char* member : {"executionRoleArn", "taskRoleArn", "pidMode", "ipcMode", "runtimePlatform",
                             "ephemeralStorage", "enableFaultInjection"}) {
    if (has(input, member)) definition[member] = input[member];
  }
  if (has(input, "cpu")) definition["cpu"] = normal_units(text(input, "cpu"), "vCPU", "cpu");
  if (has(input, "memory")) definition["memory"] = normal_units(text(input, "memory"), "GB", "memory");
  Json containers = array(input, "containerDefinitions");
  if (containers.empty()) raise_client("Container list cannot be empty.");
  if (containers.size() > kContainersMax) raise_client("A task definition can have at most 10 containers.");
  std::set<std::string> ports;
  definition["containerDefinitions"] = Json::array();
  for (const auto& container : containers) {
    definition["containerDefinitions"].push_back(checked_container(container, definition.contains("memory"), ports));
  }
  check_dependencies(definition["containerDefinitions"]);
  check_totals(definition);
  Json compatibilities = array(input, "requiresCompatibilities");
  for (const auto& item : compatibilities) {
    if (item == "FARGATE") check_fargate(input, definition);
  }
  if (definition["networkMode"] != "awsvpc") {
    raise("UnsupportedFeatureException",
          fmt::format("Network mode '{}' is not supported here; use 'awsvpc'.", text(definition, "networkMode")));
  }
  if (!definition["volumes"].empty()) raise("UnsupportedFeatureException", "Volumes are not supported here.");
  if (!compatibilities.empty()) definition["requiresCompatibilities"] = compatibilities;
  return definition;
}

}  // namespace weir::api
