#include "cli/options.h"

#include <unistd.h>

#include <cctype>
#include <charconv>
#include <cstdlib>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace weir::cli {
namespace {

struct Raw {
  std::vector<std::string> parameters;
  std::vector<std::string> port_map;
  std::string output = "text";
};

bool parse_port(std::string_view text, int& port) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

std::expected<std::map<int, int>, UsageError> parse_port_map(const std::vector<std::string>& entries) {
  std::map<int, int> ports;
  for (const auto& entry : entries) {
    size_t equals = entry.find('=');
    int from = 0;
    int to = 0;
    bool valid = equals != std::string::npos && parse_port(std::string_view(entry).substr(0, equals), from) &&
                 parse_port(std::string_view(entry).substr(equals + 1), to);
    if (!valid)
      return std::unexpected(
          UsageError{fmt::format("--map {}: give LISTENER=LOCAL, such as 443=8443", entry)});
    ports[from] = to;
  }
  return ports;
}

std::expected<std::map<std::string, std::string>, UsageError> parse_parameters(
    const std::vector<std::string>& entries) {
  std::map<std::string, std::string> parameters;
  for (const auto& entry : entries) {
    size_t equals = entry.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return std::unexpected(UsageError{fmt::format("--parameters {}: give NAME=VALUE", entry)});
    }
    parameters[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return parameters;
}

void add_common(CLI::App* command, Options& options, Raw& raw) {
  command->add_option("--state-dir", options.common.state_dir, "Where Weir keeps its state");
  command->add_option("--output", raw.output, "text or json")->check(CLI::IsMember({"text", "json", "file"}));
}

void add_stack_commands(CLI::App& app, Options& options, Raw& raw) {
  auto* up = app.add_subcommand("up", "Create or update a stack from a CloudFormation template");
  add_common(up, options, raw);
  up->add_option("template", options.up.template_path, "The template (YAML or JSON)")->required();
  up->add_option("--stack-name", options.up.stack_name, "Name of the stack (default: from the template's path)");
  up->add_option("--parameters,-p", raw.parameters, "NAME=VALUE …");
  up->add_option("--map", raw.port_map, "LISTENER=LOCAL: accept a listener's port on another port of this machine");
  up->add_option("--address", options.up.address,
                 "Local address of new load balancers (default: one of 127.0.0.x each)");
  up->add_option("--timeout", options.up.timeout_seconds, "Seconds to wait")->check(CLI::Range(1, 86400));
  auto* detach = up->add_flag("--detach,-d", options.up.detach, "Leave the stack running and return");
  up->add_flag("--foreground", options.up.foreground, "Stay until Ctrl-C, also without a terminal")->excludes(detach);
  up->add_flag("--keep-on-failure", options.up.keep_on_failure, "Do not roll back a stack that fails");

  auto* down = app.add_subcommand("down", "Delete a stack, drained");
  add_common(down, options, raw);
  down->add_option("stack", options.down.stack_name, "Name of the stack");
  down->add_flag("--all", options.down.all, "Delete every stack and stop the control plane");
  down->add_option("--timeout", options.down.timeout_seconds, "Seconds to wait")->check(CLI::Range(1, 86400));

  auto* status = app.add_subcommand("status", "Load balancers, target health, services and tasks");
  add_common(status, options, raw);
  status->add_option("stack", options.status.stack_name, "Name of the stack (default: everything)");

  auto* logs = app.add_subcommand("logs", "What containers wrote");
  add_common(logs, options, raw);
  logs->add_option("name", options.logs.name,
                   "A stack, a service, or the beginning of a task's id; with --frames a load balancer")->required();
  logs->add_flag("--follow,-f", options.logs.follow, "Go on as more is written");
  logs->add_option("--tail", options.logs.tail, "Only the last N lines")->check(CLI::Range(1, 5000));
  auto* frames = logs->add_flag("--frames", options.logs.frames, "The latest HTTP/2 frame headers of a load balancer");
  logs->add_option("--connection", options.logs.connection, "Of one connection (c12: 12)")->needs(frames);
  logs->add_option("--stream", options.logs.stream, "Of one stream")->needs(frames);

  auto* top = app.add_subcommand("top", "Open streams, live: who talks, how fast, and who is waited for");
  add_common(top, options, raw);
  top->add_option("load-balancer", options.top.balancer, "Name of a load balancer (default: all)");
  top->add_option("--sort", options.top.order, "rate, bytes, messages, age, idle or blocked")
      ->check(CLI::IsMember({"rate", "bytes", "messages", "age", "idle", "blocked"}));
  top->add_option("--filter", options.top.filter, "Only streams with this in method, client or target");
  top->add_option("--limit", options.top.limit, "As many streams at most")->check(CLI::Range(1, 1000));
  top->add_flag("--once", options.top.once, "Print once and end");
  top->add_option("--admin", options.top.admin, "The socket of a `weir lb --admin PATH`");
}

void add_machine_commands(CLI::App& app, Options& options, Raw& raw) {
  auto* image = app.add_subcommand("image", "Container images of this machine");
  image->require_subcommand(1);
  auto* import = image->add_subcommand("import", "Bring an image in");
  add_common(import, options, raw);
  import->add_option("source", options.image.source,
                     "docker-archive:PATH, oci:PATH, oci-archive:PATH or docker://HOST/NAME:TAG")->required();
  import->add_option("--name", options.image.name, "Name in task definitions, such as chat:latest");
  add_common(image->add_subcommand("list", "Images that are here"), options, raw);

  auto* ca = app.add_subcommand("ca", "The certificate of the local authority (PEM)");
  add_common(ca, options, raw);
  ca->add_flag("--path", options.ca.path_only, "Its path instead of its text");

  auto* serve = app.add_subcommand("serve", "The control plane (other commands start it when needed)");
  add_common(serve, options, raw);
  serve->add_option("--api-address", options.serve.api_address, "Where the AWS API listens");
  serve->add_option("--port,--api-port", options.serve.api_port, "0: only the unix socket")
      ->check(CLI::Range(0, 65535));
  serve->add_option("--region", options.serve.region, "Name of the region");
  serve->add_option("--map", raw.port_map, "LISTENER=LOCAL ports for new load balancers");
  serve->add_option("--address", options.serve.address, "Local address of new load balancers");
  serve->add_option("--workers", options.serve.workers, "Threads of each load balancer")->check(CLI::Range(1, 64));
  serve->add_option("--lb-user", options.serve.lb_user, "User that load balancers run as");
  serve->add_flag("--auto", options.serve.auto_started, "Started by another command: ends with the last stack");

  add_common(app.add_subcommand("doctor", "What this machine can do, and what is missing"), options, raw);
  app.add_subcommand("lb", "A load balancer's process (weir lb --help)");
  app.add_subcommand("version", "The version");
}

Options::Command command_of(const CLI::App& app) {
  using Command = Options::Command;
  static const std::map<std::string, Command> commands{
      {"up", Command::Up},     {"down", Command::Down}, {"status", Command::Status}, {"logs", Command::Logs},
      {"top", Command::Top},
      {"image", Command::Image}, {"ca", Command::Ca},   {"serve", Command::Serve},   {"doctor", Command::Doctor},
      {"lb", Command::Lb},     {"version", Command::Version}};
  for (const auto* chosen : app.get_subcommands()) {
    auto found = commands.find(chosen->get_name());
    if (found != commands.end()) return found->second;
  }
  return Command::Help;
}

std::expected<void, UsageError> finish(const CLI::App& app, Options& options, const Raw& raw) {
  options.common.json = raw.output == "json";
  if (raw.output == "file") options.ca.path_only = true;
  if (options.common.state_dir.empty()) options.common.state_dir = default_state_dir();
  auto ports = parse_port_map(raw.port_map);
  if (!ports) return std::unexpected(ports.error());
  options.up.port_map = options.serve.port_map = *ports;
  auto parameters = parse_parameters(raw.parameters);
  if (!parameters) return std::unexpected(parameters.error());
  options.up.parameters = *parameters;
  if (options.command == Options::Command::Up && options.up.stack_name.empty()) {
    options.up.stack_name = stack_name_of(options.up.template_path);
  }
  if (options.command == Options::Command::Image) {
    options.image.list = app.get_subcommand("image")->got_subcommand("list");
  }
  if (options.command == Options::Command::Down && options.down.stack_name.empty() && !options.down.all) {
    return std::unexpected(UsageError{"weir down: name the stack, or give --all"});
  }
  return {};
}

}  // namespace

std::string default_state_dir() {
  if (const char* given = std::getenv("WEIR_STATE_DIR"); given != nullptr && *given != '\0') return given;
  if (geteuid() == 0) return "/var/lib/weir";
  if (const char* xdg = std::getenv("XDG_STATE_HOME"); xdg != nullptr && *xdg != '\0')
    return std::string(xdg) + "/weir";
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "/tmp") + "/.local/state/weir";
}

std::string stack_name_of(const std::string& template_path) {
  std::error_code ignored;
  std::filesystem::path path = std::filesystem::absolute(template_path, ignored);
  std::string stem = path.stem().string();
  std::string source = stem == "template" ? path.parent_path().filename().string() : stem;
  std::string name;
  for (unsigned char c : source) {
    if (std::isalnum(c)) {
      name += static_cast<char>(c);
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  if (name.empty() || std::isalpha(static_cast<unsigned char>(name[0])) == 0) name = "stack-" + name;
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.substr(0, 128);
}

std::expected<Options, UsageError> parse_options(int argc, const char* const* argv) {
  Options options;
  Raw raw;
  if (argc >= 2 && std::string_view(argv[1]) == "lb") {
    options.command = Options::Command::Lb;  // its arguments are its own
    return options;
  }
  CLI::App app{"Weir runs the architecture \"gRPC on AWS: load balancer and containers\" on this machine.", "weir"};
  app.require_subcommand(0, 1);
  bool version = false;
  app.add_flag("--version", version, "The version");
  add_stack_commands(app, options, raw);
  add_machine_commands(app, options, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    options.help = app.help();
    return options;
  } catch (const CLI::ParseError& error) {
    return std::unexpected(UsageError{fmt::format("weir: {}\nweir --help shows the commands.", error.what())});
  }
  options.command = version ? Options::Command::Version : command_of(app);
  if (options.command == Options::Command::Help) options.help = app.help();
  if (auto finished = finish(app, options, raw); !finished) return std::unexpected(finished.error());
  return options;
}

}  // namespace weir::cli
