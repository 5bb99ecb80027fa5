#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/dispatcher.h"
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/server_start.h"
#include "cli/stack_watch.h"

namespace weir::cli {

using nlohmann::json;

namespace {

constexpr int kRemainsTries = 300;  // of 100 ms
constexpr useconds_t kTryMicroseconds = 100'000;

std::vector<std::string> all_stacks(const ApiClient& client) {
  std::vector<std::string> names;
  json answer = client.call("cloudformation", "DescribeStacks", json::object());
  for (const auto& stack : answer.value("Stacks", json::array())) names.push_back(stack.value("StackName", ""));
  return names;
}

}  // namespace

bool delete_stack(const ApiClient& client, const std::string& stack_name, int timeout_seconds) {
  // By id: a deleted stack is found only so.
  json stack = client.call("cloudformation", "DescribeStacks", {{"StackName", stack_name}})["Stacks"][0];
  std::string id = stack.value("StackId", stack_name);
  StackWatch watch(client, id);
  client.call("cloudformation", "DeleteStack", {{"StackName", id}});
  auto end = watch.run(timeout_seconds, interrupted);
  if (end == StackWatch::End::Interrupted) {
    note(fmt::format("\nInterrupted. The deletion of {0} goes on; `weir status {0}` shows it.\n", stack_name));
    return false;
  }
  if (end == StackWatch::End::Timeout) {
    note(fmt::format(
        "\nThe stack {0} is still being deleted after {1} s; `weir status {0}` shows what is left.\n",
        stack_name, timeout_seconds));
    return false;
  }
  if (watch.status().empty() || watch.status() == "DELETE_COMPLETE") return true;
  note(fmt::format("\n{} The stack {} is {}.\n", paint(Color::Bad, "Failed.", false), stack_name, watch.status()));
  for (const auto& failure : watch.failures()) note(fmt::format("  {}\n", failure));
  note(fmt::format("Next: remove what still uses these resources, then run `weir down {}` again.\n", stack_name));
  return false;
}

// The control plane holds the lock until nothing of it is left.
bool has_ended(const std::string& lock_path) {
  int fd = open(lock_path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return true;
  bool free = flock(fd, LOCK_EX | LOCK_NB) == 0;
  close(fd);
  return free;
}

void finish_server(const ApiClient& client, bool also_when_not_auto) {
  for (int i = 0; i < kRemainsTries && !interrupted(); ++i) {
    json remains = client.call("weir", "DescribeRemains", json::object());
    if (remains.value("Stacks", 0) > 0) return;
    if (remains.value("Going", 0) == 0) break;
    usleep(kTryMicroseconds);
  }
  json answer = client.call("weir", "Shutdown", {{"Force", also_when_not_auto}});
  if (!answer.value("Stopping", false)) return;
  std::string lock_path = std::filesystem::path(client.socket_path()).parent_path() / "serve.lock";
  for (int i = 0; i < kRemainsTries && !has_ended(lock_path); ++i) usleep(kTryMicroseconds);
}

int down(const Options& options) {
  auto client = existing_server(options.common);
  if (!client && options.down.all) return kOk;  // nothing runs, nothing is to be stopped
  if (!client) client = ensure_server(options.common);
  if (!client) {
    note(fmt::format("weir down: {}\n", client.error().message));
    return kNoServer;
  }
  catch_interrupts();
  std::vector<std::string> names{options.down.stack_name};
  if (options.down.all) names = all_stacks(*client);
  for (const auto& name : names) {
    try {
      if (!delete_stack(*client, name, options.down.timeout_seconds)) return interrupted() ? kInterrupted : kFailed;
    } catch (const api::ApiError& error) {
      if (error.code != "ValidationError" || options.down.all) throw;
      note(fmt::format("weir down: {}\n", error.message));
      finish_server(*client, false);
      return kFailed;
    }
    if (options.common.json) {
      print_json({{"StackName", name}, {"Status", "DELETE_COMPLETE"}});
    } else {
      print(fmt::format("Stack {} is gone.\n", name));
    }
  }
  finish_server(*client, options.down.all);
  return kOk;
}

}  // namespace weir::cli
