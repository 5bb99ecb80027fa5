#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/dispatcher.h"
#include "cfn/validate.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/server_start.h"
#include "cli/stack_watch.h"

namespace weir::cli {

using nlohmann::json;

namespace {

constexpr size_t kTemplateMax = 1 << 20;
constexpr useconds_t kIdleMicroseconds = 100'000;

Result<std::string> read_template_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail_errno("reading " + path, errno);
  std::stringstream text;
  text << in.rdbuf();
  std::string all = text.str();
  if (all.size() > kTemplateMax) return fail(path + " is larger than 1 MiB, the most a template may have");
  return all;
}

// Every mistake of the template, before anything is changed.
bool check_template(const UpOptions& up, const std::string& text, bool require_parameters) {
  cfn::ValidateOptions options;
  options.require_parameters = require_parameters;
  options.pseudo.stack_name = up.stack_name;
  auto valid = cfn::validate(text, up.parameters, options);
  if (valid) return true;
  for (const auto& diagnostic : valid.error()) {
    std::string place = diagnostic.line > 0
                            ? fmt::format("{}:{}:{}", up.template_path, diagnostic.line, diagnostic.column)
                            : up.template_path;
    note(fmt::format("{}: {} {}\n", place, paint(Color::Bad, "error:", false), diagnostic.message));
  }
  size_t count = valid.error().size();
  note(fmt::format("{} mistake{} in the template or its parameters; nothing was changed.\n", count,
                   count == 1 ? "" : "s"));
  return false;
}

// The stack's description, or null.
json find_stack(const ApiClient& client, const std::string& name) {
  try {
    return client.call("cloudformation", "DescribeStacks", {{"StackName", name}})["Stacks"][0];
  } catch (const api::ApiError& error) {
    if (error.code == "ValidationError") return json();
    throw;
  }
}

void apply_settings(const ApiClient& client, const UpOptions& up) {
  if (up.port_map.empty() && up.address.empty()) return;
  json settings = json::object();
  for (const auto& [from, to] : up.port_map) settings["PortMap"][std::to_string(from)] = to;
  if (!up.address.empty()) settings["Address"] = up.address;
  client.call("weir", "PutSettings", settings);
}

json parameters_of(const UpOptions& up, const json& stack) {
  json parameters = json::array();
  for (const auto& [name, value] : up.parameters) {
    parameters.push_back({{"ParameterKey", name}, {"ParameterValue", value}});
  }
  if (!stack.is_object()) return parameters;
  // What an update does not mention keeps its value, as `aws cloudformation deploy` does it.
  for (const auto& old : stack.value("Parameters", json::array())) {
    std::string name = old.value("ParameterKey", "");
    if (!up.parameters.contains(name)) parameters.push_back({{"ParameterKey", name}, {"UsePreviousValue", true}});
  }
  return parameters;
}

// Drops previous values of parameters that the new template does not have.
json known_parameters(const json& parameters, const std::string& text) {
  cfn::Template parsed;
  cfn::Diagnostics ignored;
  cfn::read_template(text, parsed, ignored);
  json kept = json::array();
  for (const auto& parameter : parameters) {
    std::string name = parameter.value("ParameterKey", "");
    if (parsed.parameter(name) != nullptr) kept.push_back(parameter);
  }
  return kept;
}

enum class Started { Working, Unchanged };

Started start_change(const ApiClient& client, const UpOptions& up, const std::string& text, const json& stack,
                     std::string& stack_id) {
  json input{{"StackName", up.stack_name}, {"TemplateBody", text},
             {"Parameters", known_parameters(parameters_of(up, stack), text)},
             {"Capabilities", {"CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"}}};
  if (up.keep_on_failure) input["DisableRollback"] = true;
  try {
    json answer = client.call("cloudformation", stack.is_null() ? "CreateStack" : "UpdateStack", input);
    stack_id = answer.value("StackId", up.stack_name);
    return Started::Working;
  } catch (const api::ApiError& error) {
    if (error.message.find("No updates are to be performed") == std::string::npos) throw;
    stack_id = stack.value("StackId", up.stack_name);
    return Started::Unchanged;
  }
}

// A stack whose creation was rolled back cannot be updated: it makes room for a new one.
json clear_failed_stack(const ApiClient& client, const UpOptions& up, json stack) {
  if (!stack.is_object()) return stack;
  std::string status = stack.value("StackStatus", "");
  bool dead = status == "ROLLBACK_COMPLETE" || status == "ROLLBACK_FAILED" || status == "CREATE_FAILED" ||
              status == "DELETE_FAILED";
  if (!dead) return stack;
  note(fmt::format("The stack {} is {} and is replaced.\n", up.stack_name, status));
  if (!delete_stack(client, up.stack_name, up.timeout_seconds)) {
    throw api::ApiError{"StackNotDeleted", fmt::format("The stack {} could not be deleted.", up.stack_name), 0};
  }
  return json();
}

int report_failure(const Options& options, const StackWatch& watch) {
  const std::string& name = options.up.stack_name;
  note(fmt::format("\n{} The stack {} is {}.\n", paint(Color::Bad, "Failed.", false), name,
                   watch.status().empty() ? "gone" : watch.status()));
  if (!watch.reason().empty()) note(fmt::format("  {}\n", watch.reason()));
  for (const auto& failure : watch.failures()) note(fmt::format("  {}\n", failure));
  note(fmt::format("Next: `weir logs {0}` shows what the containers wrote, `weir status {0}` the state; correct the "
                   "template and run `weir up` again, or `weir down {0}`.\n", name));
  if (options.common.json)
    print_json({{"StackName", name}, {"Status", watch.status()}, {"Failures", watch.failures()}});
  return kFailed;
}

void report_success(const Options& options, const ApiClient& client, const StackWatch* watch) {
  json status = client.call("weir", "DescribeStatus", {{"StackName", options.up.stack_name}});
  json stack = status["Stacks"][0];
  std::string ca_path = client.call("weir", "DescribeAuthority", json::object()).value("Path", "");
  if (options.common.json) {
    stack["AuthorityPath"] = ca_path;
    stack["Changed"] = watch != nullptr;
    print_json(stack);
    return;
  }
  if (watch == nullptr) note("No changes: the stack is as the template says.\n");
  print(fmt::format("\nStack {} is {}.\n", options.up.stack_name,
                    paint(Color::Good, stack.value("Status", ""))));
  Table outputs(2);
  for (const auto& output : stack.value("Outputs", json::array())) {
    outputs.row({output.value("OutputKey", ""), output.value("OutputValue", "")});
  }
  print(outputs.text());
  print(render_access(stack, ca_path));
}

// Keeps the stack until Ctrl-C, then asks and takes it down.
int stay(const Options& options, const ApiClient& client) {
  note("\nCtrl-C ends it (weir up --detach leaves it running).\n");
  while (!interrupted()) usleep(kIdleMicroseconds);
  if (standard_input_is_terminal()) {
    clear_interrupt();
    note(fmt::format("\nTake the stack {} down? [Y/n] ", options.up.stack_name));
    int answer = std::getchar();
    if (answer == 'n' || answer == 'N') {
      note(fmt::format("It keeps running; `weir down {}` ends it.\n", options.up.stack_name));
      return kOk;
    }
  }
  clear_interrupt();
  if (!delete_stack(client, options.up.stack_name, options.up.timeout_seconds)) return kFailed;
  finish_server(client, false);
  return kOk;
}

int interrupted_while_working(const Options& options) {
  note(fmt::format(
      "\nInterrupted. The stack {0} goes on changing; `weir status {0}` shows it, `weir down {0}` takes it "
      "down.\n",
      options.up.stack_name));
  return kInterrupted;
}

int follow_change(const Options& options, const ApiClient& client, const std::string& text, const json& stack) {
  const UpOptions& up = options.up;
  StackWatch watch(client, up.stack_name);
  std::string stack_id;
  bool changed = start_change(client, up, text, stack, stack_id) == Started::Working;
  if (changed) {
    watch.follow(stack_id);
    auto end = watch.run(up.timeout_seconds, interrupted);
    if (end == StackWatch::End::Interrupted) return interrupted_while_working(options);
    if (end == StackWatch::End::Timeout) {
      note(fmt::format("\nNot ready after {} s; it goes on. `weir status {}` shows it.\n", up.timeout_seconds,
                       up.stack_name));
      return kFailed;
    }
    bool good = watch.status() == "CREATE_COMPLETE" || watch.status() == "UPDATE_COMPLETE";
    if (!good) return report_failure(options, watch);
  }
  report_success(options, client, changed ? &watch : nullptr);
  bool stays = up.foreground || (!up.detach && standard_input_is_terminal() && !options.common.json);
  return stays ? stay(options, client) : kOk;
}

}  // namespace

int up(const Options& options) {
  auto text = read_template_file(options.up.template_path);
  if (!text) {
    note(fmt::format("weir up: {}\n", text.error().message));
    return kUsage;
  }
  // Parameters without a value may keep the one of an existing stack: only the control plane can tell.
  if (!check_template(options.up, *text, false)) return kUsage;
  auto client = ensure_server(options.common);
  if (!client) {
    note(fmt::format("weir up: {}\n", client.error().message));
    return kNoServer;
  }
  catch_interrupts();
  json stack = find_stack(*client, options.up.stack_name);
  if (stack.is_null() && !check_template(options.up, *text, true)) return kUsage;
  apply_settings(*client, options.up);
  stack = clear_failed_stack(*client, options.up, stack);
  return follow_change(options, *client, *text, stack);
}

}  // namespace weir::cli
