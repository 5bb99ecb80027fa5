#include "runtime/bundle.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace weir::runtime {
namespace {

using nlohmann::json;

constexpr int64_t kPidsMax = 32768;
constexpr int64_t kCpuPeriodUs = 100'000;
constexpr int64_t kCpuQuotaMinUs = 1'000;  // the kernel takes no less
constexpr const char* kInitPath = "/dev/init";

// Docker's default set without NET_RAW (a task could forge its address), MKNOD, AUDIT_WRITE, SETFCAP.
const char* const kCapabilities[] = {"CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FOWNER",           "CAP_FSETID",
                                     "CAP_KILL",    "CAP_SETGID",       "CAP_NET_BIND_SERVICE", "CAP_SETUID",
                                     "CAP_SETPCAP", "CAP_SYS_CHROOT"};

const char* const kMaskedPaths[] = {"/proc/acpi",
                                    "/proc/asound",
                                    "/proc/kcore",
                                    "/proc/keys",
                                    "/proc/latency_stats",
                                    "/proc/timer_list",
                                    "/proc/timer_stats",
                                    "/proc/sched_debug",
                                    "/proc/scsi",
                                    "/sys/firmware",
                                    "/sys/devices/virtual/powercap"};
const char* const kReadonlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                      "/proc/sysrq-trigger"};

// What no service needs, and what attacks on the kernel begin with. The OCI runtime skips the names its
// seccomp library does not know.
const char* const kDeniedCalls[] = {"acct",
                                    "add_key",
                                    "bpf",
                                    "clock_adjtime",
                                    "clock_settime",
                                    "create_module",
                                    "delete_module",
                                    "finit_module",
                                    "fsconfig",
                                    "fsmount",
                                    "fsopen",
                                    "fspick",
                                    "get_kernel_syms",
                                    "init_module",
                                    "ioperm",
                                    "iopl",
                                    "kexec_file_load",
                                    "kexec_load",
                                    "keyctl",
                                    "lookup_dcookie",
                                    "mount",
                                    "mount_setattr",
                                    "move_mount",
                                    "nfsservctl",
                                    "open_by_handle_at",
                                    "open_tree",
                                    "perf_event_open",
                                    "pivot_root",
                                    "quotactl",
                                    "quotactl_fd",
                                    "reboot",
                                    "request_key",
                                    "setns",
                                    "settimeofday",
                                    "stime",
                                    "swapoff",
                                    "swapon",
                                    "sysfs",
                                    "umount",
                                    "umount2",
                                    "unshare",
                                    "uselib",
                                    "userfaultfd",
                                    "vm86",
                                    "vm86old"};
constexpr uint64_t kNewNamespaces = 0x7E020000;  // CLONE_NEW{CGROUP,UTS,IPC,USER,PID,NET} and CLONE_NEWNS
constexpr int kEperm = 1;
constexpr int kEnosys = 38;

json seccomp() {
  json calls = json::array();
  calls.push_back({{"names", kDeniedCalls}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", kEperm}});
  for (uint64_t bit = 1; bit != 0 && bit <= kNewNamespaces; bit <<= 1) {
    if ((kNewNamespaces & bit) == 0) continue;
    json flag = {{"index", 0}, {"value", bit}, {"valueTwo", bit}, {"op", "SCMP_CMP_MASKED_EQ"}};
    json call = {{"names", json::array({"clone"})}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", kEperm}};
    call["args"] = json::array({flag});
    calls.push_back(call);
  }
  // Its flags lie in memory, where a filter cannot look; libraries fall back to clone.
  calls.push_back({{"names", json::array({"clone3"})}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", kEnosys}});
  return {{"defaultAction", "SCMP_ACT_ALLOW"}, {"syscalls", calls}};
}

json mount(const char* destination, const char* type, const std::string& source,
           std::vector<std::string> options) {
  return {{"destination", destination}, {"type", type}, {"source", source}, {"options", std::move(options)}};
}

json mounts(const BundleInput& input) {
  json list = json::array();
  list.push_back(mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}));
  list.push_back(mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
  list.push_back(mount("/dev/pts", "devpts", "devpts",
                       {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}));
  list.push_back(
      mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}));
  list.push_back(mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
  list.push_back(mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}));
  list.push_back(
      mount("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}));
  for (const char* name : {"hosts", "hostname", "resolv.conf"}) {
    std::string destination = std::string("/etc/") + name;
    list.push_back(mount(destination.c_str(), "bind", input.files + "/" + name, {"rbind", "rprivate"}));
  }
  if (input.spec->init_process) {
    list.push_back(mount(kInitPath, "bind", input.init_program, {"bind", "rprivate", "ro"}));
  }
  return list;
}

json resources(const BundleInput& input) {
  const ContainerSpec& spec = *input.spec;
  const json deny_all = {{"allow", false}, {"access", "rwm"}};
  json result = {{"devices", json::array({deny_all})}, {"pids", {{"limit", kPidsMax}}}};
  if (spec.memory_bytes > 0) {
    result["memory"]["limit"] = spec.memory_bytes;
    if (input.limit_swap) result["memory"]["swap"] = spec.memory_bytes;  // memory and swap together
  }
  if (spec.cpu_units > 0) {
    result["cpu"]["shares"] = std::max<int64_t>(2, spec.cpu_units);
    result["cpu"]["quota"] = std::max(kCpuQuotaMinUs, spec.cpu_units * kCpuPeriodUs / 1024);
    result["cpu"]["period"] = kCpuPeriodUs;
  }
  return result;
}

json linux_part(const BundleInput& input) {
  json namespaces = json::array();
  for (const char* type : {"pid", "mount", "ipc", "uts", "cgroup"}) namespaces.push_back({{"type", type}});
  json network = {{"type", "network"}};
  if (!input.spec->netns_path.empty()) network["path"] = input.spec->netns_path;
  namespaces.push_back(network);
  return {{"namespaces", namespaces},         {"resources", resources(input)},
          {"cgroupsPath", input.cgroup_path}, {"maskedPaths", kMaskedPaths},
          {"readonlyPaths", kReadonlyPaths},  {"seccomp", seccomp()},
          {"rootfsPropagation", "rprivate"}};
}

json capabilities(const ContainerUser& user) {
  json set = kCapabilities;
  // As the kernel does at exec: another user than root has the bounding set only.
  json own = user.uid == 0 ? set : json::array();
  return {{"bounding", set}, {"effective", own}, {"permitted", own}};
}

void set_variable(std::vector<std::string>& list, const std::string& assignment) {
  std::string key = assignment.substr(0, assignment.find('=') + 1);
  auto found = std::find_if(list.begin(), list.end(),
                            [&key](const std::string& item) { return item.starts_with(key); });
  if (found != list.end()) {
    *found = assignment;
  } else {
    list.push_back(assignment);
  }
}

}  // namespace

Result<std::vector<std::string>> merged_command(const ContainerSpec& spec, const Image& image) {
  std::vector<std::string> words = spec.entry_point.empty() ? image.entry_point : spec.entry_point;
  const std::vector<std::string> none;
  const std::vector<std::string>& own = spec.entry_point.empty() ? image.command : none;
  const std::vector<std::string>& rest = spec.command.empty() ? own : spec.command;
  words.insert(words.end(), rest.begin(), rest.end());
  if (words.empty()) {
    return fail("neither the image nor the container definition says what to run; set command or entryPoint");
  }
  return words;
}

std::vector<std::string> merged_environment(const ContainerSpec& spec, const Image& image,
                                            const ContainerUser& user, const std::string& hostname) {
  std::vector<std::string> list = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                   "HOSTNAME=" + hostname, "HOME=" + user.home};
  for (const std::string& item : image.environment) {
    if (item.find('=') != std::string::npos) set_variable(list, item);
  }
  for (const auto& [name, value] : spec.environment) set_variable(list, name + "=" + value);
  return list;
}

Result<std::string> bundle_config(const BundleInput& input) {
  const ContainerSpec& spec = *input.spec;
  const Image& image = *input.image;
  WEIR_TRY_ASSIGN(std::vector<std::string> words, merged_command(spec, image));
  if (spec.init_process) words.insert(words.begin(), {kInitPath, "--"});
  int64_t nofile = std::min(spec.nofile > 0 ? spec.nofile : input.nofile_hard_limit, input.nofile_hard_limit);
  std::string folder = !spec.working_directory.empty() ? spec.working_directory : image.working_directory;
  json user = {{"uid", input.user.uid}, {"gid", input.user.gid}};
  if (!input.user.additional_gids.empty()) user["additionalGids"] = input.user.additional_gids;
  const json open_files = {{"type", "RLIMIT_NOFILE"}, {"soft", nofile}, {"hard", nofile}};
  json process = {{"terminal", false},
                  {"user", user},
                  {"args", words},
                  {"env", merged_environment(spec, image, input.user, input.hostname)},
                  {"cwd", folder.empty() ? "/" : folder},
                  {"capabilities", capabilities(input.user)},
                  {"noNewPrivileges", true},
                  {"rlimits", json::array({open_files})}};
  json config = {{"ociVersion", "1.0.2"},
                 {"process", process},
                 {"root", {{"path", input.root}, {"readonly", spec.read_only_root}}},
                 {"hostname", input.hostname},
                 {"mounts", mounts(input)},
                 {"linux", linux_part(input)}};
  // What is not UTF-8 (an environment value, say) becomes a replacement character instead of a throw.
  return config.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace weir::runtime
