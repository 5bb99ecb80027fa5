// The arguments of each command, parsed.
#pragma once

#include <expected>
#include <map>
#include <string>
#include <vector>

namespace weir::cli {

struct Common {
  std::string state_dir;
  bool json = false;  // --output json
};

struct UpOptions {
  std::string template_path;
  std::string stack_name;  // default: the template's folder or file name
  std::map<std::string, std::string> parameters;
  std::map<int, int> port_map;
  std::string address;
  bool detach = false;
  bool foreground = false;
  int timeout_seconds = 1800;
  bool keep_on_failure = false;
};

struct DownOptions {
  std::string stack_name;
  bool all = false;
  int timeout_seconds = 1800;
};

struct StatusOptions {
  std::string stack_name;
};

struct LogsOptions {
  std::string name;
  bool follow = false;
  int tail = 0;  // 0: everything
  bool frames = false;  // frame headers of a load balancer instead
  int connection = 0;   // of these; 0: all
  int stream = 0;
};

struct TopOptions {
  std::string admin;     // socket of a balancer without a control plane
  std::string balancer;  // name or ARN; empty: all
  std::string order = "rate";
  std::string filter;
  int limit = 0;         // 0: as many as the screen has lines; 100 with --once
  bool once = false;
};

struct ImageOptions {
  bool list = false;
  std::string source;
  std::string name;
};

struct CaOptions {
  bool path_only = false;
};

struct ServeOptions {
  std::string api_address = "127.0.0.1";
  int api_port = 4566;  // 0: only the unix socket
  std::string region = "us-east-1";
  std::map<int, int> port_map;
  std::string address;
  int workers = 0;      // of each load balancer; 0: one per processor, at most 4
  std::string lb_user;
  bool auto_started = false;  // ends with the last stack
};

struct Options {
  enum class Command { Help, Version, Up, Down, Status, Logs, Top, Image, Ca, Serve, Doctor, Lb };
  Command command = Command::Help;
  Common common;
  UpOptions up;
  DownOptions down;
  StatusOptions status;
  LogsOptions logs;
  TopOptions top;
  ImageOptions image;
  CaOptions ca;
  ServeOptions serve;
  std::string help;  // for Command::Help
};

// The text to print and the exit code when arguments do not parse.
struct UsageError {
  std::string message;
};

std::expected<Options, UsageError> parse_options(int argc, const char* const* argv);

// WEIR_STATE_DIR, else /var/lib/weir for root, else $XDG_STATE_HOME/weir or ~/.local/state/weir.
std::string default_state_dir();
// "my-app" from "examples/my app/template.yaml".
std::string stack_name_of(const std::string& template_path);

}  // namespace weir::cli
