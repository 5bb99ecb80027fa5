#include "runtime/conmon.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "runtime/files.h"
#include "runtime/process.h"
#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

using nlohmann::json;

constexpr int kCreateTimeoutMs = 60'000;
constexpr int kCommandTimeoutMs = 30'000;
// conmon then begins the file anew.
constexpr const char* kLogSizeMax = "67108864";

// The one line conmon writes when the OCI runtime has ended: {"data": PID} or {"data": -1, "message": …}.
// Empty when conmon closed the pipe without a word; waits at most kCreateTimeoutMs between two parts.
std::string read_report(int fd) {
  std::string text;
  char block[4096];
  while (text.find('\n') == std::string::npos && text.size() < 65536) {
    pollfd ready{fd, POLLIN, 0};
    int polled = ::poll(&ready, 1, kCreateTimeoutMs);
    if (polled < 0 && errno == EINTR) continue;
    ssize_t n = polled > 0 ? ::read(fd, block, sizeof block) : 0;
    if (n <= 0) break;
    text.append(block, static_cast<size_t>(n));
  }
  return text;
}

// "runc create failed: unable to start container process: exec: …" without the first part.
std::string plain_message(std::string text) {
  text = error_line(text);
  for (const char* prefix : {"runc create failed: ", "crun: "}) {
    if (text.starts_with(prefix)) text = text.substr(std::string(prefix).size());
  }
  return text;
}

}  // namespace

Result<int> OciTool::create(const std::string& id, const ContainerPaths& paths, const std::string& log,
                            int lock) const {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno("pipe2", errno);
  UniqueFd reader(fds[0]), writer(fds[1]);
  ProcessSpec conmon;
  conmon.argv = {"conmon",
                 "--api-version",
                 "1",
                 "-c",
                 id,
                 "-u",
                 id,
                 "-n",
                 id,
                 "-r",
                 program,
                 "--runtime-arg=--root=" + root,
                 "-b",
                 paths.folder,
                 "-p",
                 paths.init_pid_file,
                 "-P",
                 paths.conmon_pid_file,
                 "-l",
                 "k8s-file:" + log,
                 "--log-size-max",
                 kLogSizeMax,
                 "--exit-dir",
                 paths.exit_folder,
                 "--persist-dir",
                 paths.persist_folder,
                 "--socket-dir-path",
                 socket_folder,
                 "--no-sync-log"};
  conmon.environment = {{"_OCI_SYNCPIPE", "3"}};
  conmon.pass_fds = {writer.get(), lock};
  conmon.timeout_ms = kCommandTimeoutMs;
  WEIR_TRY_ASSIGN(ProcessResult result, run_process(conmon));
  writer.reset();
  if (result.exit_code != 0) return fail("conmon: " + error_line(result.err), result.exit_code);
  std::string report = read_report(reader.get());
  json value = json::parse(report, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object() || !value.contains("data") || !value["data"].is_number_integer()) {
    return fail("conmon ended without a report; see " + log);
  }
  int pid = value["data"].get<int>();
  if (pid > 0) return pid;
  bool told = value.contains("message") && value["message"].is_string();
  std::string reason = told ? plain_message(value["message"].get<std::string>()) : "no reason given";
  return fail(reason);
}

Result<void> OciTool::start(const std::string& id) const {
  ProcessSpec run;
  run.argv = {program, "--root", root, "start", id};
  run.timeout_ms = kCommandTimeoutMs;
  Result<std::string> done = run_checked(run);
  if (!done) return std::unexpected(done.error());
  return {};
}

std::string OciTool::state(const std::string& id, int* pid) const {
  ProcessSpec run;
  run.argv = {program, "--root", root, "state", id};
  run.timeout_ms = kCommandTimeoutMs;
  json value = json::parse(run_checked(run).value_or(""), nullptr, /*allow_exceptions=*/false);
  if (!value.is_object() || !value.contains("status") || !value["status"].is_string()) return "";
  if (pid != nullptr) *pid = value.value("pid", 0);
  return value["status"].get<std::string>();
}

Result<void> OciTool::remove(const std::string& id) const {
  if (!path_exists(root + "/" + id)) return {};
  ProcessSpec run;
  run.argv = {program, "--root", root, "delete", "--force", id};
  run.timeout_ms = kCommandTimeoutMs;
  Result<std::string> done = run_checked(run);
  // What it could not read (its state file cut short by a full disk) it cannot delete: the caller ends
  // the processes by their group, and the rest is this folder.
  if (!done || path_exists(root + "/" + id)) return remove_tree(root + "/" + id);
  return {};
}

}  // namespace weir::runtime
