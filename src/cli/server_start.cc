#include "cli/server_start.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

namespace weir::cli {
namespace {

constexpr int kStartTries = 300;  // of 50 ms
constexpr useconds_t kTryMicroseconds = 50'000;
constexpr size_t kLogShown = 2000;

std::string end_of_log(const std::string& path, int64_t from) {
  std::ifstream in(path, std::ios::binary);
  in.seekg(from);
  std::stringstream text;
  text << in.rdbuf();
  std::string all = text.str();
  return all.size() > kLogShown ? all.substr(all.size() - kLogShown) : all;
}

int64_t size_of(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? status.st_size : 0;
}

// In the child: nothing of the terminal stays.
[[noreturn]] void become_server(const std::string& program, const std::string& state_dir, int log_fd) {
  setsid();
  int null_fd = open("/dev/null", O_RDONLY);
  dup2(null_fd, 0);
  dup2(log_fd, 1);
  dup2(log_fd, 2);
  if (chdir("/") != 0) _exit(127);
  const char* arguments[] = {program.c_str(), "serve", "--state-dir", state_dir.c_str(), "--auto", nullptr};
  execv(program.c_str(), const_cast<char* const*>(arguments));
  _exit(127);
}

Result<pid_t> start(const std::string& state_dir, const std::string& log_path) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(log_path).parent_path(), error);
  if (error) {
    return fail(fmt::format("cannot create {}: {}; run as root, or choose another --state-dir", state_dir,
                            error.message()), error.value());
  }
  std::string program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (error) return fail("cannot find this program: " + error.message());
  int log_fd = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (log_fd < 0) return fail_errno("opening " + log_path, errno);
  pid_t pid = fork();
  if (pid == 0) become_server(program, state_dir, log_fd);
  int error_number = errno;
  close(log_fd);
  if (pid < 0) return fail_errno("starting weir serve", error_number);
  return pid;
}

}  // namespace

std::string server_log_path(const std::string& state_dir) { return state_dir + "/logs/serve.log"; }

Result<ApiClient> existing_server(const Common& common) {
  ApiClient client(api_socket_path(common.state_dir));
  if (client.alive()) return client;
  std::error_code ignored;
  bool has_state = std::filesystem::exists(std::filesystem::path(common.state_dir) / "state.db", ignored);
  if (!has_state) return fail(fmt::format("no control plane answers on {}", client.socket_path()));
  return ensure_server(common);  // it died or was killed: the new one takes over what runs
}

Result<ApiClient> ensure_server(const Common& common) {
  std::error_code ignored;
  std::string state_dir = std::filesystem::absolute(common.state_dir, ignored).string();
  ApiClient client(api_socket_path(state_dir));
  if (client.alive()) return client;
  std::string log_path = server_log_path(state_dir);
  int64_t log_start = size_of(log_path);
  WEIR_TRY_ASSIGN(pid_t pid, start(state_dir, log_path));
  for (int i = 0; i < kStartTries; ++i) {
    if (client.alive()) return client;
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) == pid) {
      // Another one may have won the race for the lock and be about to answer.
      usleep(4 * kTryMicroseconds);
      if (client.alive()) return client;
      return fail(fmt::format("the control plane could not start:\n{}", end_of_log(log_path, log_start)));
    }
    usleep(kTryMicroseconds);
  }
  return fail(fmt::format("the control plane (pid {}) does not answer; see {}", pid, log_path));
}

}  // namespace weir::cli
