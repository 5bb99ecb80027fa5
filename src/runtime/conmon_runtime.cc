#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <mutex>

#include "runtime/bundle.h"
#include "runtime/bundle_files.h"
#include "runtime/cgroup.h"
#include "runtime/conmon.h"
#include "runtime/container_record.h"
#include "runtime/driver.h"
#include "runtime/files.h"
#include "runtime/image_store.h"
#include "runtime/oci_runtime.h"
#include "runtime/proc.h"
#include "runtime/process.h"
#include "runtime/signals.h"
#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

constexpr size_t kIdMax = 200;
constexpr size_t kHostnameMax = 63;
constexpr int kPullTimeoutMs = 30'000;
constexpr int kImportTimeoutMs = 300'000;
constexpr int kRemoveWaitMs = 5'000;
constexpr int kEndTries = 500;
constexpr int kEndStepMs = 10;

Result<void> check_container_id(const std::string& id) {
  bool good = !id.empty() && id.size() <= kIdMax && std::isalnum(static_cast<unsigned char>(id[0]));
  for (char c : id)
    good = good && (std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.');
  if (!good) return fail("\"" + id + "\" is not a container id");
  return {};
}

std::unexpected<Error> prefixed(const char* kind, const Error& error) {
  return fail(std::string(kind) + ": " + error.message, error.code);
}

// A program that is not in the image, or may not be executed: the container was made, its start failed.
const char* create_or_start(const Error& error) {
  return error.message.find("unable to start container process") != std::string::npos
             ? "CannotStartContainerError"
             : "CannotCreateContainerError";
}

int64_t nofile_hard_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_max > INT64_MAX ? INT64_MAX : static_cast<int64_t>(limit.rlim_max);
}

std::string hostname_for(const std::string& id) {
  std::string name;
  for (char c : id.substr(0, kHostnameMax)) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name;
}

UniqueFd make_timer(int timeout_ms) {
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  itimerspec when{};
  when.it_value.tv_sec = timeout_ms / 1000;
  when.it_value.tv_nsec = (timeout_ms % 1000) * 1'000'000L + 1;
  ::timerfd_settime(timer.get(), 0, &when, nullptr);
  return timer;
}

class ConmonRuntime final : public ContainerDriver {
 public:
  explicit ConmonRuntime(const LinuxOptions& options)
      : options_(options),
        images_(options.state_dir),
        containers_(options.state_dir + "/containers"),
        logs_(options.state_dir + "/logs"),
        run_(std::string("/run/weir/") + options.instance),
        cgroup_("/weir/" + options.instance) {}
  // With the last container gone, nothing of this instance stays under /run. A folder that still holds
  // something (living containers) refuses to go and keeps the others.
  ~ConmonRuntime() override {
    if (::rmdir((run_ + "/containers").c_str()) != 0 && errno != ENOENT) return;
    for (const char* folder : {"/oci", "/s"}) ::rmdir((run_ + folder).c_str());
    ::unlink((run_ + "/oci-runtime").c_str());
    ::rmdir(run_.c_str());
  }

  Result<void> ensure_image(const std::string& image) override;
  Result<std::string> import_image(const std::string& source, const std::string& name) override {
    return images_.import(source, name, kImportTimeoutMs);
  }
  Result<std::vector<std::string>> list_images() override { return images_.list(); }
  Result<void> start(const ContainerSpec& spec) override;
  Result<ContainerStatus> status(const std::string& container_id) override;
  Result<ContainerStatus> wait(const std::string& container_id, int timeout_ms) override;
  Result<void> kill(const std::string& container_id, const std::string& signal) override;
  Result<void> remove(const std::string& container_id) override;
  Result<std::vector<std::string>> list() override { return list_folder(containers_); }
  std::string log_path(const std::string& container_id) const override {
    return logs_ + "/" + container_id + ".log";
  }
  Result<void> remove_log(const std::string& container_id) override {
    WEIR_TRY(check_container_id(container_id));
    if (::unlink(log_path(container_id).c_str()) != 0 && errno != ENOENT) {
      return fail_errno("remove " + log_path(container_id), errno);
    }
    return {};
  }

 private:
  ContainerPaths paths(const std::string& id) const;
  Result<OciTool> tool();
  Result<bool> adopt(const std::string& id);
  Result<ContainerRecord> create(const ContainerSpec& spec, const OciTool& tool);
  Result<void> prepare(const ContainerSpec& spec, const Image& image, const ContainerPaths& at);
  Result<void> begin(const std::string& id, const OciTool& tool, ContainerRecord record);
  Result<void> clean_up(const std::string& id);
  static Result<void> end_supervisor(const ContainerPaths& at);
  bool conmon_lives(const std::string& id) const;
  ContainerStatus ended(const std::string& id, int exit_code) const;
  bool read_exit(const std::string& id, int* exit_code) const;

  LinuxOptions options_;
  ImageStore images_;
  std::string containers_;
  std::string logs_;
  std::string run_;
  std::string cgroup_;
  std::mutex tool_mutex_;
  std::string program_;  // guarded by tool_mutex_; empty until one was found to work
};

ContainerPaths ConmonRuntime::paths(const std::string& id) const {
  ContainerPaths at;
  at.folder = containers_ + "/" + id;
  at.rootfs = at.folder + "/rootfs";
  at.record = at.folder + "/container.json";
  at.run_folder = run_ + "/containers/" + id;
  at.exit_folder = at.run_folder + "/exit";
  at.exit_file = at.exit_folder + "/" + id;
  at.init_pid_file = at.run_folder + "/init.pid";
  at.conmon_pid_file = at.run_folder + "/conmon.pid";
  at.persist_folder = at.run_folder + "/persist";
  at.lock = at.run_folder + "/lock";
  at.cgroup = cgroup_ + "/" + id;
  return at;
}

Result<OciTool> ConmonRuntime::tool() {
  std::lock_guard lock(tool_mutex_);
  if (program_.empty()) {
    if (::geteuid() != 0) return fail("containers need root; run weir as root");
    WEIR_TRY(check_container_id(options_.instance));  // it becomes a part of paths
    WEIR_TRY(make_private_folder(run_));
    WEIR_TRY(make_folders(run_ + "/s"));
    WEIR_TRY_ASSIGN(program_, choose_oci_runtime(run_));
  }
  return OciTool{program_, run_ + "/oci", run_ + "/s"};
}

Result<void> ConmonRuntime::ensure_image(const std::string& image) {
  constexpr const char* kKind = "CannotPullContainerError";
  Result<ImageName> name = parse_image_name(image);
  if (!name) return prefixed(kKind, name.error());
  Result<Image> found = images_.find(*name);
  if (found) return {};
  if (found.error().code != ENOENT) return prefixed(kKind, found.error());
  if (!name->host.empty() && (name->host_is_local() || options_.pull_from_any_registry)) {
    Result<std::string> pulled = images_.import("docker://" + name->text(), name->text(), kPullTimeoutMs);
    if (!pulled) return prefixed(kKind, pulled.error());
    return {};
  }
  return fail(std::string(kKind) + ": there is no image " + name->text() +
                  " here; bring it in with `weir image import ARCHIVE --name " + name->text() + "`",
              ENOENT);
}

Result<void> ConmonRuntime::start(const ContainerSpec& spec) {
  WEIR_TRY(check_container_id(spec.container_id));
  Result<OciTool> oci = tool();
  if (!oci) return prefixed("CannotCreateContainerError", oci.error());
  WEIR_TRY_ASSIGN(bool running, adopt(spec.container_id));
  if (running) return {};
  Result<ContainerRecord> created = create(spec, *oci);
  if (!created) {
    (void)clean_up(spec.container_id).has_value();
    return prefixed(create_or_start(created.error()), created.error());
  }
  Result<void> begun = begin(spec.container_id, *oci, *created);
  if (!begun) {
    (void)clean_up(spec.container_id).has_value();
    return prefixed("CannotStartContainerError", begun.error());
  }
  return {};
}

// True when the container was started before (it may have ended since). What an interrupted start left
// is finished if it had come far enough, else removed.
Result<bool> ConmonRuntime::adopt(const std::string& id) {
  ContainerPaths at = paths(id);
  if (!path_exists(at.folder) && !path_exists(at.run_folder)) return false;
  Result<ContainerRecord> record = read_record(at.record);
  if (record && record->started) return true;
  WEIR_TRY_ASSIGN(OciTool oci, tool());
  int pid = 0;
  // Created but not noted as started: did the call to start it get through?
  if (record && oci.state(id, &pid) == "running") {
    record->started = true;
    WEIR_TRY(write_record(at.record, *record));
    return true;
  }
  WEIR_TRY(clean_up(id));
  return false;
}

Result<void> ConmonRuntime::prepare(const ContainerSpec& spec, const Image& image, const ContainerPaths& at) {
  WEIR_TRY(make_private_folder(containers_));  // environments hold secrets, images set-user-id programs
  for (const std::string& folder : {at.folder, at.exit_folder, at.persist_folder, logs_})
    WEIR_TRY(make_folders(folder));
  WEIR_TRY(mount_root(at, image.rootfs));
  BundleInput input;
  input.spec = &spec;
  input.image = &image;
  WEIR_TRY_ASSIGN(input.user, resolve_user(image.rootfs, spec.user.empty() ? image.user : spec.user));
  input.root = at.rootfs;
  input.files = bundle_files_folder(at);
  input.hostname = hostname_for(spec.container_id);
  input.cgroup_path = at.cgroup;
  input.init_program = kInitProgram;
  input.nofile_hard_limit = nofile_hard_limit();
  input.limit_swap = swap_is_accounted();
  WEIR_TRY(write_bundle_files(at, input.hostname, spec.netns_path));
  WEIR_TRY_ASSIGN(std::string config, bundle_config(input));
  return write_file(at.folder + "/config.json", config, Sync::No);
}

Result<ContainerRecord> ConmonRuntime::create(const ContainerSpec& spec, const OciTool& oci) {
  WEIR_TRY_ASSIGN(ImageName name, parse_image_name(spec.image));
  WEIR_TRY_ASSIGN(Image image, images_.find(name));
  if (spec.init_process && !path_exists(kInitProgram))
    return fail("initProcessEnabled needs the package tini");
  ContainerPaths at = paths(spec.container_id);
  WEIR_TRY(prepare(spec, image, at));
  ContainerRecord record;
  {
    WEIR_TRY_ASSIGN(FileLock groups, lock_parent_groups());
    WEIR_TRY_ASSIGN(FileLock lock, FileLock::take(at.lock));
    WEIR_TRY_ASSIGN(record.pid, oci.create(spec.container_id, at, log_path(spec.container_id), lock.fd()));
  }
  move_to_cgroup(cgroup_ + kSupervisors, std::atoi(read_file(at.conmon_pid_file).value_or("0").c_str()));
  record.start_time = process_start_time(record.pid);
  record.boot_id = boot_id();
  record.image_id = image.id;
  record.stop_signal = image.stop_signal;
  WEIR_TRY(write_record(at.record, record));
  return record;
}

Result<void> ConmonRuntime::begin(const std::string& id, const OciTool& oci, ContainerRecord record) {
  WEIR_TRY(oci.start(id));
  record.started = true;
  return write_record(paths(id).record, record);
}

bool ConmonRuntime::conmon_lives(const std::string& id) const {
  int pid = std::atoi(read_file(paths(id).conmon_pid_file).value_or("0").c_str());
  const std::string nul(1, '\0');
  return process_command_line(pid).find(nul + paths(id).folder + nul) != std::string::npos;
}

bool ConmonRuntime::read_exit(const std::string& id, int* exit_code) const {
  Result<std::string> text = read_file(paths(id).exit_file);
  if (!text || text->empty()) return false;
  *exit_code = std::atoi(text->c_str());
  return true;
}

ContainerStatus ConmonRuntime::ended(const std::string& id, int exit_code) const {
  ContainerStatus result;
  result.state = ContainerStatus::State::Exited;
  result.exit_code = exit_code;
  result.oom_killed = exit_code == 128 + SIGKILL && oom_kills(paths(id).cgroup) > 0;
  return result;
}

Result<ContainerStatus> ConmonRuntime::status(const std::string& id) {
  WEIR_TRY(check_container_id(id));
  ContainerPaths at = paths(id);
  ContainerStatus result;
  if (!path_exists(at.folder)) return result;
  Result<ContainerRecord> record = read_record(at.record);
  result.state = ContainerStatus::State::Created;
  if (!record || !record->started) return result;
  int code = kLostExitCode;
  if (record->boot_id != boot_id()) return ended(id, code);
  if (read_exit(id, &code)) return ended(id, code);
  bool alive = process_start_time(record->pid) == record->start_time && record->start_time != 0;
  // Its supervisor is about to write the exit code: still running, as far as anybody can know.
  if (alive || conmon_lives(id)) {
    result.state = ContainerStatus::State::Running;
    result.pid = record->pid;
    return result;
  }
  (void)read_exit(id, &code);  // the supervisor may have ended in between
  return ended(id, code);
}

Result<ContainerStatus> ConmonRuntime::wait(const std::string& id, int timeout_ms) {
  WEIR_TRY_ASSIGN(ContainerStatus now, status(id));
  if (now.state != ContainerStatus::State::Running || timeout_ms <= 0) return now;
  ContainerPaths at = paths(id);
  // conmon renames the exit file into its folder; without conmon only the end of the process itself tells.
  UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch.valid()) return fail_errno("inotify_init1", errno);
  if (::inotify_add_watch(watch.get(), at.exit_folder.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
    return fail_errno("watch " + at.exit_folder, errno);
  }
  UniqueFd timer = make_timer(timeout_ms);
  for (;;) {
    WEIR_TRY_ASSIGN(now, status(id));
    if (now.state != ContainerStatus::State::Running) return now;
    int conmon_pid = std::atoi(read_file(at.conmon_pid_file).value_or("0").c_str());
    bool supervised = conmon_lives(id);
    int pid = supervised ? conmon_pid : now.pid;
    UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    std::array<pollfd, 3> fds = {
        {{watch.get(), POLLIN, 0}, {timer.get(), POLLIN, 0}, {process.get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return fail_errno("poll", errno);
    char events[4096];
    while (::read(watch.get(), events, sizeof events) > 0) {
    }
    if (fds[1].revents != 0) return status(id);
  }
}

Result<void> ConmonRuntime::kill(const std::string& id, const std::string& signal) {
  WEIR_TRY(check_container_id(id));
  ContainerPaths at = paths(id);
  Result<ContainerRecord> record = read_record(at.record);
  if (!record && !path_exists(at.folder)) return fail("there is no container " + id, ENOENT);
  if (!record) return fail("container " + id + " was never created to its end; start or remove it");
  std::string name = !signal.empty() ? signal : record->stop_signal;
  WEIR_TRY_ASSIGN(int number, signal_number(name.empty() ? "SIGTERM" : name));
  UniqueFd process =
      record->boot_id == boot_id() ? open_process(record->pid, record->start_time) : UniqueFd();
  if (!process.valid()) return {};  // it has ended already
  if (::syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0) != 0 && errno != ESRCH) {
    return fail_errno("signal container " + id, errno);
  }
  return {};
}

Result<void> ConmonRuntime::remove(const std::string& id) {
  WEIR_TRY(check_container_id(id));
  ContainerPaths at = paths(id);
  if (!path_exists(at.folder) && !path_exists(at.run_folder)) return {};
  if (read_record(at.record)) {
    WEIR_TRY(kill(id, "SIGKILL"));
    // Let conmon read the last of the output and end by itself.
    WEIR_TRY(wait(id, kRemoveWaitMs));
  }
  return clean_up(id);
}

// Ends conmon and an OCI runtime it may just be running, also those an earlier process of ours has left:
// a child of it that is not yet conmon cannot be found by its name, but it holds the lock.
Result<void> ConmonRuntime::end_supervisor(const ContainerPaths& at) {
  if (!path_exists(at.run_folder)) return {};
  for (int i = 0; i < kEndTries; ++i) {
    int killed = kill_programs_with_word(at.folder);
    Result<FileLock> lock = FileLock::try_take(at.lock);
    if (lock && killed == 0) return {};
    if (!lock && lock.error().code != EWOULDBLOCK) return std::unexpected(lock.error());
    ::poll(nullptr, 0, kEndStepMs);
  }
  return fail("the supervisor of the container in " + at.folder + " does not end");
}

// The folder goes last: as long as anything is left the container is listed.
Result<void> ConmonRuntime::clean_up(const std::string& id) {
  ContainerPaths at = paths(id);
  WEIR_TRY_ASSIGN(OciTool oci, tool());
  WEIR_TRY(end_supervisor(at));
  WEIR_TRY(oci.remove(id));
  kill_cgroup(at.cgroup);
  WEIR_TRY(remove_cgroup(at.cgroup));
  WEIR_TRY(unmount_root(at));
  WEIR_TRY(remove_tree(oci.socket_folder + "/" + id));
  WEIR_TRY(remove_tree(at.run_folder));
  WEIR_TRY(remove_tree(at.folder));
  if (list_folder(containers_).empty()) remove_empty_parents(cgroup_);
  return {};
}

}  // namespace

std::unique_ptr<ContainerDriver> make_conmon_runtime(const LinuxOptions& options) {
  return std::make_unique<ConmonRuntime>(options);
}

}  // namespace weir::runtime
