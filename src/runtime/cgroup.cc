#include "runtime/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "runtime/files.h"
#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

constexpr const char* kRoot = "/sys/fs/cgroup";
constexpr const char* kLockFolder = "/run/weir";
constexpr const char* kLockName = "/groups.lock";
constexpr int kRemoveTries = 200;
constexpr int kRemoveStepMs = 5;

bool is_cgroup2(const char* path) {
  struct statfs info;
  return ::statfs(path, &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC;
}

// Mount points of the hierarchies.
std::vector<std::string> hierarchies() {
  if (is_cgroup2(kRoot)) return {kRoot};
  std::vector<std::string> found;
  for (const std::string& name : list_folder(kRoot)) {
    std::string path = std::string(kRoot) + "/" + name;
    std::error_code error;
    if (!std::filesystem::is_symlink(path, error)) found.push_back(path);
  }
  return found;
}

// The number after "KEY " at the start of a line; 0 when there is none.
long value_of(const std::string& text, const std::string& key) {
  size_t at = 0;
  while (at < text.size()) {
    if (text.compare(at, key.size() + 1, key + " ") == 0)
      return std::strtol(text.c_str() + at + key.size() + 1, nullptr, 10);
    size_t end = text.find('\n', at);
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return 0;
}

bool write_control(const std::string& path, const std::string& value) {
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file.valid() &&
         ::write(file.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

// Children first: rmdir of a group works only when it has no groups and no processes.
int remove_group(const std::string& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->is_directory(error)) {
      int inner = remove_group(at->path().string());
      if (inner != 0) return inner;
    }
  }
  return ::rmdir(folder.c_str()) == 0 || errno == ENOENT ? 0 : errno;
}

}  // namespace

CgroupMode cgroup_mode() {
  if (is_cgroup2(kRoot)) return CgroupMode::V2;
  if (!path_exists("/sys/fs/cgroup/memory")) return CgroupMode::None;
  return is_cgroup2("/sys/fs/cgroup/unified") ? CgroupMode::Hybrid : CgroupMode::V1;
}

const char* cgroup_mode_name(CgroupMode mode) {
  switch (mode) {
    case CgroupMode::V1:
      return "v1";
    case CgroupMode::Hybrid:
      return "hybrid (v1 with a v2 tree beside it)";
    case CgroupMode::V2:
      return "v2";
    case CgroupMode::None:
      break;
  }
  return "none";
}

std::vector<std::string> cgroup_folders(const std::string& path) {
  std::vector<std::string> found;
  for (const std::string& root : hierarchies()) {
    if (path_exists(root + path)) found.push_back(root + path);
  }
  return found;
}

long oom_kills(const std::string& path) {
  Result<std::string> v1 = read_file("/sys/fs/cgroup/memory" + path + "/memory.oom_control");
  if (v1) return value_of(*v1, "oom_kill");
  Result<std::string> v2 = read_file(kRoot + path + "/memory.events");
  return v2 ? value_of(*v2, "oom_kill") : 0;
}

void kill_cgroup(const std::string& path) {
  for (const std::string& folder : cgroup_folders(path)) {
    if (write_control(folder + "/cgroup.kill", "1")) continue;
    std::string text = read_file(folder + "/cgroup.procs").value_or("");
    const char* at = text.c_str();
    for (char* end = nullptr; *at != '\0'; at = end) {
      long pid = std::strtol(at, &end, 10);
      if (end == at) break;
      if (pid > 1) ::kill(static_cast<pid_t>(pid), SIGKILL);
    }
  }
}

Result<void> remove_cgroup(const std::string& path) {
  int error = 0;
  for (const std::string& folder : cgroup_folders(path)) {
    error = remove_group(folder);
    for (int i = 0; error == EBUSY && i < kRemoveTries; ++i) {
      ::poll(nullptr, 0, kRemoveStepMs);  // the kernel tells nobody when the last process has left a v1 group
      error = remove_group(folder);
    }
    if (error != 0) return fail_errno("remove control group " + folder, error);
  }
  return {};
}

void remove_empty_parents(const std::string& parent) {
  if (!make_folders(kLockFolder)) return;
  Result<FileLock> lock = FileLock::try_take(std::string(kLockFolder) + kLockName);
  if (!lock) return;
  std::vector<std::string> groups = {"/weir"};
  if (!parent.empty()) groups = {parent + kSupervisors, parent, "/weir"};
  for (const std::string& group : groups) {
    for (const std::string& folder : cgroup_folders(group)) ::rmdir(folder.c_str());
  }
}

Result<FileLock> lock_parent_groups() {
  WEIR_TRY(make_folders(kLockFolder));
  return FileLock::take_shared(std::string(kLockFolder) + kLockName);
}

void move_to_cgroup(const std::string& path, int pid) {
  std::vector<std::string> roots = {kRoot};
  if (cgroup_mode() != CgroupMode::V2) {
    roots = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"};
  }
  for (const std::string& root : roots) {
    if (!path_exists(root + "/cgroup.procs") || !make_folders(root + path)) continue;
    write_control(root + path + "/cgroup.procs", std::to_string(pid));
  }
}

bool swap_is_accounted() {
  if (cgroup_mode() == CgroupMode::V2) return path_exists("/proc/swaps");
  return path_exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes");
}

}  // namespace weir::runtime
