#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/dispatcher.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/server_start.h"

namespace weir::cli {

using nlohmann::json;

namespace {

constexpr size_t kEventsShown = 5;

std::string number(const json& value, const char* key) {
  auto found = value.find(key);
  return found == value.end() || found->is_null() ? "" : found->is_string() ? found->get<std::string>() : found->dump();
}

std::string painted(const std::string& status) { return paint(color_of_status(status), status); }

std::string endpoints_text(const json& listener) {
  std::string text;
  for (const auto& endpoint : listener.value("Endpoints", json::array())) {
    text += fmt::format("{}{}:{}", text.empty() ? "" : ", ", number(endpoint, "Address"), number(endpoint, "Port"));
  }
  return text.empty() ? paint(Color::Warn, "not open") : text;
}

std::string render_balancer(const json& balancer) {
  std::string out = fmt::format("  Load balancer {}  {}  {}\n", balancer.value("Name", ""),
                                painted(balancer.value("State", "")), balancer.value("DNSName", ""));
  if (std::string reason = balancer.value("Reason", ""); !reason.empty()) out += fmt::format("    {}\n", reason);
  Table listeners(4);
  for (const auto& listener : balancer.value("Listeners", json::array())) {
    listeners.row({fmt::format("{}:{}", listener.value("Protocol", ""), number(listener, "Port")), "at",
                   endpoints_text(listener)});
  }
  out += listeners.text();
  for (const auto& group : balancer.value("TargetGroups", json::array())) {
    out += fmt::format("    Target group {} ({})\n", group.value("Name", ""), group.value("ProtocolVersion", ""));
    Table targets(6);
    for (const auto& target : group.value("Targets", json::array())) {
      std::string why = target.value("Reason", "");
      if (target.contains("Description")) why += (why.empty() ? "" : ": ") + target.value("Description", "");
      targets.row({fmt::format("{}:{}", target.value("Id", ""), number(target, "Port")),
                   painted(target.value("State", "")), why});
    }
    out += group.value("Targets", json::array()).empty() ? "      no targets\n" : targets.text();
  }
  return out;
}

std::string render_service(const json& service) {
  std::string out = fmt::format("  Service {} in {}  {}  {} of {} running, {} pending  {}\n", service.value("Name", ""),
                                service.value("Cluster", ""), painted(service.value("Status", "")),
                                number(service, "Running"), number(service, "Desired"), number(service, "Pending"),
                                service.value("TaskDefinition", ""));
  Table deployments(4);
  for (const auto& deployment : service.value("Deployments", json::array())) {
    std::string definition = deployment.value("taskDefinition", "");
    deployments.row({fmt::format("deployment {}", deployment.value("status", "")),
                     definition.substr(definition.rfind('/') + 1),
                     painted(deployment.value("rolloutState", "")), deployment.value("rolloutStateReason", "")});
  }
  out += deployments.text();
  Table tasks(4);
  for (const auto& task : service.value("Tasks", json::array())) {
    tasks.row({"task " + task.value("Id", "").substr(0, 12), painted(task.value("LastStatus", "")),
               task.value("Address", ""), task.value("TaskDefinition", ""), task.value("StoppedReason", "")});
  }
  out += tasks.text();
  size_t shown = 0;
  for (const auto& event : service.value("Events", json::array())) {
    if (++shown > kEventsShown) break;
    out += paint(Color::Dim, "    " + event.value("message", "")) + "\n";
  }
  return out;
}

}  // namespace

std::string render_status(const json& status) {
  std::string out;
  for (const auto& stack : status.value("Stacks", json::array())) {
    out += fmt::format("Stack {}  {}\n", paint(Color::Bold, stack.value("Name", "")),
                       painted(stack.value("Status", "")));
    if (std::string reason = stack.value("Reason", ""); !reason.empty()) out += fmt::format("  {}\n", reason);
    for (const auto& balancer : stack.value("LoadBalancers", json::array())) out += render_balancer(balancer);
    for (const auto& service : stack.value("Services", json::array())) out += render_service(service);
  }
  json balancers = status.value("LoadBalancers", json::array());
  json services = status.value("Services", json::array());
  if (!balancers.empty() || !services.empty()) out += "Outside of stacks\n";
  for (const auto& balancer : balancers) out += render_balancer(balancer);
  for (const auto& service : services) out += render_service(service);
  return out.empty() ? "Nothing runs here. `weir up TEMPLATE` creates a stack.\n" : out;
}

std::string render_access(const json& stack, const std::string& ca_path) {
  std::string out;
  for (const auto& balancer : stack.value("LoadBalancers", json::array())) {
    for (const auto& listener : balancer.value("Listeners", json::array())) {
      for (const auto& endpoint : listener.value("Endpoints", json::array())) {
        std::string address = fmt::format("{}:{}", number(endpoint, "Address"), number(endpoint, "Port"));
        out += fmt::format("\nListener {}:{} of {} accepts on {}\n", listener.value("Protocol", ""),
                           number(listener, "Port"), balancer.value("Name", ""), paint(Color::Bold, address));
        if (listener.value("Protocol", "") != "HTTPS") continue;
        out += fmt::format("  CA file    {}\n  authority  localhost, {}, or the names of the certificate\n", ca_path,
                           balancer.value("DNSName", ""));
        out += fmt::format("  try        grpcurl -cacert {} -authority localhost {} list\n", ca_path, address);
      }
    }
  }
  return out;
}

int status(const Options& options) {
  auto client = existing_server(options.common);
  if (!client) {
    if (options.common.json) print_json({{"Stacks", json::array()}, {"Running", false}});
    note(fmt::format("weir status: {}. `weir up TEMPLATE` or `weir serve` starts one; nothing runs under a control "
                     "plane that is down except tasks and balancers it left.\n", client.error().message));
    return kNoServer;
  }
  json input = json::object();
  if (!options.status.stack_name.empty()) input["StackName"] = options.status.stack_name;
  json answer = client->call("weir", "DescribeStatus", input);
  if (options.common.json) {
    print_json(answer);
  } else {
    print(render_status(answer));
  }
  return kOk;
}

}  // namespace weir::cli
