#include "runtime/netns.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

Result<void> on_new_thread(const std::function<Result<void>()>& work) {
  Result<void> result;
  try {
    std::thread([&] { result = work(); }).join();
  } catch (const std::system_error& error) {
    return fail_errno("cannot start a thread", error.code().value());
  }
  return result;
}

// iproute2 holds the same lock while it prepares the folder or adds a name.
Result<UniqueFd> lock_folder() {
  if (::mkdir(kNetnsFolder, 0755) != 0 && errno != EEXIST) return fail_errno(kNetnsFolder, errno);
  UniqueFd lock(::open(kNetnsFolder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock.valid()) return fail_errno(kNetnsFolder, errno);
  while (::flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return fail_errno(std::string("lock ") + kNetnsFolder, errno);
  }
  return lock;
}

// As iproute2 does: a shared mount, so that removing a name also removes it in other mount namespaces.
Result<void> share_folder() {
  if (::mount("", kNetnsFolder, "none", MS_SHARED | MS_REC, nullptr) == 0) return {};
  if (errno != EINVAL) return fail_errno(std::string("mount --make-shared ") + kNetnsFolder, errno);
  if (::mount(kNetnsFolder, kNetnsFolder, "none", MS_BIND | MS_REC, nullptr) != 0) {
    return fail_errno(std::string("mount --bind ") + kNetnsFolder, errno);
  }
  if (::mount("", kNetnsFolder, "none", MS_SHARED | MS_REC, nullptr) != 0) {
    return fail_errno(std::string("mount --make-shared ") + kNetnsFolder, errno);
  }
  return {};
}

Result<void> unmount_and_unlink(const std::string& path) {
  while (::umount2(path.c_str(), MNT_DETACH) == 0) {
  }
  if (errno != EINVAL && errno != ENOENT) return fail_errno("umount " + path, errno);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("unlink " + path, errno);
  return {};
}

}  // namespace

std::string netns_path(const std::string& name) { return std::string(kNetnsFolder) + "/" + name; }

bool netns_exists(const std::string& name) {
  struct statfs info;
  return ::statfs(netns_path(name).c_str(), &info) == 0 && info.f_type == NSFS_MAGIC;
}

Result<void> create_netns(const std::string& name) {
  if (netns_exists(name)) return {};
  WEIR_TRY_ASSIGN(UniqueFd lock, lock_folder());
  if (netns_exists(name)) return {};
  WEIR_TRY(share_folder());
  std::string path = netns_path(name);
  WEIR_TRY(unmount_and_unlink(path));
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file.valid()) return fail_errno("create " + path, errno);
  Result<void> made = on_new_thread([&]() -> Result<void> {
    if (::unshare(CLONE_NEWNET) != 0)
      return fail_errno("cannot make a network namespace (needs root)", errno);
    if (::mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr) != 0) {
      return fail_errno("cannot mount the network namespace at " + path, errno);
    }
    return {};
  });
  if (!made) ::unlink(path.c_str());
  return made;
}

Result<void> remove_netns(const std::string& name) {
  std::string path = netns_path(name);
  if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return {};
  return unmount_and_unlink(path);
}

Result<std::vector<std::string>> list_netns(const std::string& prefix) {
  std::vector<std::string> names;
  DIR* folder = ::opendir(kNetnsFolder);
  if (folder == nullptr) {
    if (errno == ENOENT) return names;
    return fail_errno(kNetnsFolder, errno);
  }
  while (const dirent* entry = ::readdir(folder)) {
    std::string name = entry->d_name;
    if (name.starts_with(prefix)) names.push_back(name);
  }
  ::closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

Result<void> in_netns(const std::string& path, const std::function<Result<void>()>& work) {
  UniqueFd ns(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!ns.valid()) return fail_errno("open network namespace " + path, errno);
  return on_new_thread([&]() -> Result<void> {
    if (::setns(ns.get(), CLONE_NEWNET) != 0) return fail_errno("join network namespace " + path, errno);
    return work();
  });
}

}  // namespace weir::runtime
