#include "runtime/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>

#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno("pipe2", errno);
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// posix_spawn's attribute objects, freed on every path.
struct SpawnSetup {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;

  SpawnSetup() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  ~SpawnSetup() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }

  // `fd` becomes `number` in the child; also when both are the same number (dup2 then clears
  // close-on-exec, as posix_spawn_file_actions_adddup2 promises).
  void give(int fd, int number) { posix_spawn_file_actions_adddup2(&actions, fd, number); }
  void open(int number, const char* path, int flags) {
    posix_spawn_file_actions_addopen(&actions, number, path, flags, 0);
  }
};

struct Child {
  pid_t pid = -1;
  UniqueFd pidfd;
  UniqueFd in, out, err;  // our ends
};

Result<Child> spawn(const ProcessSpec& spec) {
  std::string program = find_program(spec.argv[0]);
  if (program.empty()) return fail(spec.argv[0] + ": no such program; install it and try again", ENOENT);
  // Above the numbers the child uses, so that giving one cannot overwrite another.
  std::vector<UniqueFd> passed;
  for (int fd : spec.pass_fds) {
    passed.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 32));
    if (!passed.back().valid()) return fail_errno("fcntl(F_DUPFD_CLOEXEC)", errno);
  }
  WEIR_TRY_ASSIGN(Pipe in, make_pipe());
  WEIR_TRY_ASSIGN(Pipe out, make_pipe());
  WEIR_TRY_ASSIGN(Pipe err, make_pipe());
  SpawnSetup setup;
  if (spec.input.empty()) {
    setup.open(0, "/dev/null", O_RDONLY);
  } else {
    setup.give(in.read.get(), 0);
  }
  if (spec.discard_output) {
    setup.open(1, "/dev/null", O_WRONLY);
    setup.open(2, "/dev/null", O_WRONLY);
  } else {
    setup.give(out.write.get(), 1);
    setup.give(err.write.get(), 2);
  }
  int next = 3;
  for (const UniqueFd& fd : passed) setup.give(fd.get(), next++);
  posix_spawn_file_actions_addclosefrom_np(&setup.actions, next);

  std::vector<std::string> environment = {std::string("PATH=") + kPath, "HOME=/root", "LC_ALL=C"};
  for (const auto& [name, value] : spec.environment) environment.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (const std::string& word : spec.argv) argv.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& word : environment) envp.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  Child child;
  int error =
      ::posix_spawn(&child.pid, program.c_str(), &setup.actions, &setup.attributes, argv.data(), envp.data());
  if (error != 0) return fail_errno("cannot run " + program, error);
  // Cannot be another process: it is our child and nobody else waits for it.
  child.pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  if (!spec.input.empty()) child.in = std::move(in.write);
  if (!spec.discard_output) {
    child.out = std::move(out.read);
    child.err = std::move(err.read);
  }
  return child;
}

void set_nonblocking(const UniqueFd& fd) {
  if (fd.valid()) ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
}

// Appends what is readable; closes the descriptor at its end.
void drain(UniqueFd& fd, std::string& text) {
  std::array<char, 8192> block;
  while (fd.valid()) {
    ssize_t n = ::read(fd.get(), block.data(), block.size());
    if (n > 0) {
      if (text.size() < kOutputLimit)
        text.append(block.data(), std::min<size_t>(n, kOutputLimit - text.size()));
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      return;
    } else {
      fd.reset();
    }
  }
}

void feed(UniqueFd& fd, const std::string& text, size_t& written) {
  while (fd.valid() && written < text.size()) {
    ssize_t n = ::write(fd.get(), text.data() + written, text.size() - written);
    if (n > 0) {
      written += static_cast<size_t>(n);
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      return;
    } else {
      break;  // the child does not want it
    }
  }
  fd.reset();
}

int reap(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Moves bytes until the child has ended; false when the time is over first.
bool converse(Child& child, const ProcessSpec& spec, ProcessResult& result) {
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  itimerspec when{};
  when.it_value.tv_sec = spec.timeout_ms / 1000;
  when.it_value.tv_nsec = (spec.timeout_ms % 1000) * 1'000'000L + 1;
  ::timerfd_settime(timer.get(), 0, &when, nullptr);
  set_nonblocking(child.in);
  set_nonblocking(child.out);
  set_nonblocking(child.err);
  size_t written = 0;
  for (;;) {
    std::array<pollfd, 5> fds = {{{child.pidfd.get(), POLLIN, 0},
                                  {timer.get(), POLLIN, 0},
                                  {child.in.get(), POLLOUT, 0},
                                  {child.out.get(), POLLIN, 0},
                                  {child.err.get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return false;
    if (fds[2].revents != 0) feed(child.in, spec.input, written);
    drain(child.out, result.out);
    drain(child.err, result.err);
    if (fds[0].revents != 0) return true;
    if (fds[1].revents != 0) return false;
  }
}

// SIGPIPE would end the whole process when a child closes its input early.
class SigpipeBlock {
 public:
  SigpipeBlock() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~SigpipeBlock() {
    timespec zero{};
    if (!sigismember(&before_, SIGPIPE)) {
      while (::sigtimedwait(&set_, nullptr, &zero) == SIGPIPE) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeBlock(const SigpipeBlock&) = delete;
  SigpipeBlock& operator=(const SigpipeBlock&) = delete;

 private:
  sigset_t set_;
  sigset_t before_;
};

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0 ? name : "";
  std::string path = kPath;
  size_t start = 0;
  while (start <= path.size()) {
    size_t end = std::min(path.find(':', start), path.size());
    std::string candidate = path.substr(start, end - start) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    start = end + 1;
  }
  return "";
}

Result<ProcessResult> run_process(const ProcessSpec& spec) {
  SigpipeBlock guard;
  WEIR_TRY_ASSIGN(Child child, spawn(spec));
  ProcessResult result;
  bool ended = child.pidfd.valid() && converse(child, spec, result);
  if (!ended) ::kill(-child.pid, SIGKILL);
  result.exit_code = reap(child.pid);
  if (!ended) {
    std::string limit = std::to_string(spec.timeout_ms);
    return fail(spec.argv[0] + " did not end within " + limit + " ms and was killed", ETIMEDOUT);
  }
  drain(child.out, result.out);
  drain(child.err, result.err);
  return result;
}

std::string error_line(const std::string& text) {
  size_t end = text.size();
  while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == '\r' || text[end - 1] == ' ')) --end;
  size_t start = end == 0 ? 0 : text.rfind('\n', end - 1);
  start = start == std::string::npos || end == 0 ? 0 : start + 1;
  std::string line = text.substr(start, end - start);
  // logrus: time="…" level=fatal msg="…"
  size_t message = line.find("msg=\"");
  if (line.starts_with("time=") && message != std::string::npos) {
    std::string plain;
    for (size_t i = message + 5; i < line.size() && line[i] != '"'; ++i) {
      if (line[i] == '\\' && i + 1 < line.size()) ++i;
      plain += line[i];
    }
    return plain;
  }
  return line;
}

Result<std::string> run_checked(const ProcessSpec& spec) {
  WEIR_TRY_ASSIGN(ProcessResult result, run_process(spec));
  if (result.exit_code == 0) return std::move(result.out);
  std::string reason = error_line(result.err);
  if (reason.empty()) reason = "exit code " + std::to_string(result.exit_code);
  std::string what = spec.argv[0];
  if (spec.argv.size() > 1) what += " " + spec.argv[1];
  return fail(what + ": " + reason, result.exit_code);
}

}  // namespace weir::runtime
