#include "control/balancer_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>

#include "control/pidfd.h"

namespace weir::control {

namespace {

constexpr int kLockFd = 3;

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

struct ChildPlan {
  int lock_fd;
  int log_fd;
  int null_fd;
  int netns_fd;  // -1: stay
  std::vector<char*> argv;
};

// Runs in the child between fork and exec: only async-signal-safe calls.
[[noreturn]] void become_balancer(const ChildPlan& plan) {
  auto die = [&](const char* what) {
    [[maybe_unused]] ssize_t a = write(plan.log_fd, what, strlen(what));
    [[maybe_unused]] ssize_t b = write(plan.log_fd, " failed in the new process\n", 27);
    _exit(127);
  };
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGQUIT}) ::signal(signal, SIG_DFL);
  char digits[16];
  auto end = std::to_chars(digits, digits + sizeof digits, getpid()).ptr;
  if (ftruncate(plan.lock_fd, 0) != 0 || pwrite(plan.lock_fd, digits, static_cast<size_t>(end - digits), 0) < 0) {
    die("writing the lock file");
  }
  if (plan.netns_fd >= 0 && setns(plan.netns_fd, CLONE_NEWNET) != 0) die("setns");
  // All descriptors of the plan are above kLockFd, so no dup2 hits another one of them.
  if (dup2(plan.null_fd, 0) < 0 || dup2(plan.log_fd, 1) < 0 || dup2(plan.log_fd, 2) < 0) die("dup2");
  if (dup2(plan.lock_fd, kLockFd) < 0) die("dup2");
  close_range(kLockFd + 1, ~0u, CLOSE_RANGE_CLOEXEC);
  execvp(plan.argv[0], plan.argv.data());
  die("exec");
  _exit(127);
}

// A descriptor above those that the child's dup2 calls replace.
int lift(int fd) {
  if (fd < 0 || fd > 8) return fd;
  int high = fcntl(fd, F_DUPFD_CLOEXEC, 9);
  close(fd);
  return high;
}

// Whether the process has the lock file open where balancers have it. Without this, a child that another
// thread has just forked (it holds copies of our descriptors until its exec) would pass for a balancer.
bool holds(int pid, int lock_fd) {
  struct stat theirs {};
  struct stat ours {};
  std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(kLockFd);
  return stat(path.c_str(), &theirs) == 0 && fstat(lock_fd, &ours) == 0 && theirs.st_dev == ours.st_dev &&
         theirs.st_ino == ours.st_ino;
}

class RealProcesses final : public BalancerProcesses {
 public:
  Result<BalancerProcess> start(const BalancerSpec& spec) override {
    Fd lock(lift(open(spec.lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)));
    if (lock.get() < 0) return fail_errno("open " + spec.lock_path, errno);
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return fail_errno("lock " + spec.lock_path, errno);
    Fd log(lift(open(spec.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640)));
    if (log.get() < 0) return fail_errno("open " + spec.log_path, errno);
    Fd null(lift(open("/dev/null", O_RDONLY | O_CLOEXEC)));
    if (null.get() < 0) return fail_errno("open /dev/null", errno);
    Fd netns(spec.netns_path.empty() ? -1 : lift(open(spec.netns_path.c_str(), O_RDONLY | O_CLOEXEC)));
    if (!spec.netns_path.empty() && netns.get() < 0) return fail_errno("open " + spec.netns_path, errno);
    ChildPlan plan{lock.get(), log.get(), null.get(), netns.get(), {}};
    for (const std::string& argument : spec.command) plan.argv.push_back(const_cast<char*>(argument.c_str()));
    if (plan.argv.empty()) return fail("no command for load balancers is configured");
    plan.argv.push_back(nullptr);
    pid_t pid = fork();
    if (pid < 0) return fail_errno("fork", errno);
    if (pid == 0) become_balancer(plan);
    int pidfd = pidfd_open(pid, 0);  // not reaped yet, so the pid is this child
    if (pidfd < 0) {
      int code = errno;
      ::kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
      return fail_errno("pidfd_open", code);
    }
    return BalancerProcess{pid, pidfd};
  }

  Result<BalancerProcess> find(const BalancerSpec& spec) override {
    Fd lock(open(spec.lock_path.c_str(), O_RDWR | O_CLOEXEC));
    if (lock.get() < 0) {
      if (errno == ENOENT) return BalancerProcess{};
      return fail_errno("open " + spec.lock_path, errno);
    }
    if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return BalancerProcess{};  // closing unlocks
    if (errno != EWOULDBLOCK) return fail_errno("lock " + spec.lock_path, errno);
    char digits[16] = {};
    ssize_t n = pread(lock.get(), digits, sizeof digits - 1, 0);
    int pid = 0;
    if (n > 0) std::from_chars(digits, digits + n, pid);
    int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
    if (pidfd < 0 || !holds(pid, lock.get())) {
      if (pidfd >= 0) close(pidfd);
      return fail("the balancer that holds " + spec.lock_path + " is just starting or ending", EAGAIN);
    }
    if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0) {  // it ended meanwhile: the pid may be anybody's
      close(pidfd);
      return BalancerProcess{};
    }
    return BalancerProcess{pid, pidfd};
  }

  bool alive(const BalancerProcess& process) override {
    pollfd wait{process.pidfd, POLLIN, 0};
    return process.pidfd >= 0 && poll(&wait, 1, 0) == 0;
  }

  void kill(const BalancerProcess& process, int signal) override {
    if (process.pidfd >= 0) pidfd_send_signal(process.pidfd, signal, nullptr, 0);
  }

  void release(BalancerProcess& process) override {
    if (process.pidfd >= 0) {
      siginfo_t info{};
      waitid(P_PIDFD, static_cast<id_t>(process.pidfd), &info, WEXITED | WNOHANG);  // ECHILD when adopted
      close(process.pidfd);
    }
    process = {};
  }
};

}  // namespace

std::unique_ptr<BalancerProcesses> make_balancer_processes() { return std::make_unique<RealProcesses>(); }

}  // namespace weir::control
