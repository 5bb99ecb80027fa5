// Everything is tried, not looked up: a kernel may have a feature and still refuse it here.
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/bundle_files.h"
#include "runtime/cgroup.h"
#include "runtime/driver.h"
#include "runtime/files.h"
#include "runtime/firewall.h"
#include "runtime/netns.h"
#include "runtime/oci_runtime.h"
#include "runtime/process.h"

namespace weir::runtime {
namespace {

using Level = DoctorLine::Level;
constexpr rlim_t kNofileWanted = 65535;  // what ContainerSpec asks for by default
constexpr uint64_t kFreeBytesWanted = 1ull << 30;

DoctorLine verdict(const std::string& what, const Result<void>& tried, const std::string& good,
                   const std::string& so) {
  if (tried) return {Level::Ok, what, good};
  return {Level::Missing, what, tried.error().message + "; " + so};
}

DoctorLine root_line() {
  if (::geteuid() == 0) return {Level::Ok, "root", "yes"};
  return {Level::Missing, "root", "no; networks and containers need it: run weir as root"};
}

// First line of what `PROGRAM --version` prints.
DoctorLine program_line(const std::string& program, const std::string& package,
                        const std::string& consequence) {
  ProcessSpec spec;
  spec.argv = {program, "--version"};
  Result<std::string> text = run_checked(spec);
  if (!text)
    return {Level::Missing, program, "not usable: " + consequence + "; install the package " + package};
  return {Level::Ok, program, text->substr(0, text->find('\n'))};
}

// A namespace of our own, with a security group in it.
void network_lines(std::vector<DoctorLine>& lines) {
  std::string name = "weir-doctor-" + std::to_string(::getpid());
  Result<void> made = create_netns(name);
  lines.push_back(verdict("network namespaces", made, "yes", "tasks cannot have addresses of their own"));
  if (!made) return;
  Result<void> loaded = load_firewall(netns_path(name), {});
  lines.push_back(verdict("nftables in a namespace", loaded, "yes", "security groups cannot be enforced"));
  (void)remove_netns(name).has_value();
}

DoctorLine overlay_line(const LinuxOptions& options) {
  ContainerPaths paths;
  paths.folder = options.state_dir + "/doctor-" + std::to_string(::getpid());
  paths.rootfs = paths.folder + "/rootfs";
  Result<void> mounted = make_folders(paths.folder + "/lower");
  if (mounted) mounted = mount_root(paths, paths.folder + "/lower");
  if (mounted) mounted = unmount_root(paths);
  (void)remove_tree(paths.folder).has_value();
  return verdict("overlay in " + options.state_dir, mounted, "yes", "containers cannot be made");
}

DoctorLine cgroup_line() {
  CgroupMode mode = cgroup_mode();
  std::string name = cgroup_mode_name(mode);
  if (mode == CgroupMode::None)
    return {Level::Missing, "control groups", "none: cpu and memory limits cannot be set"};
  if (!swap_is_accounted()) {
    return {Level::Warning, "control groups",
            name + "; swap is not accounted: a memory limit does not include it"};
  }
  return {Level::Ok, "control groups", name};
}

void oci_lines(const LinuxOptions& options, std::vector<DoctorLine>& lines) {
  std::string scratch = options.state_dir + "/doctor-oci-" + std::to_string(::getpid());
  bool works = false;
  for (const RuntimeTrial& trial : try_oci_runtimes(scratch)) {
    works = works || trial.problem.empty();
    Level level = trial.problem.empty() ? Level::Ok : Level::Warning;
    lines.push_back(
        {level, "OCI runtime " + trial.program, trial.problem.empty() ? "ran a container" : trial.problem});
  }
  (void)remove_tree(scratch).has_value();
  if (!works)
    lines.push_back({Level::Missing, "OCI runtime", "none works; install the packages runc and tini"});
}

DoctorLine nofile_line() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  std::string number = std::to_string(limit.rlim_max);
  if (limit.rlim_max >= kNofileWanted) return {Level::Ok, "open files (hard limit)", number};
  return {Level::Warning, "open files (hard limit)",
          number + ": tasks cannot have more; raise it with `ulimit -Hn`"};
}

DoctorLine disk_line(const LinuxOptions& options) {
  struct statvfs info {};
  if (::statvfs(options.state_dir.c_str(), &info) != 0) {
    return {Level::Missing, "state directory",
            options.state_dir + " cannot be used; choose another with --state-dir"};
  }
  uint64_t free_bytes = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  std::string detail = options.state_dir + ", " + std::to_string(free_bytes >> 20) + " MiB free";
  if (free_bytes < kFreeBytesWanted)
    return {Level::Warning, "state directory", detail + ": images may not fit"};
  return {Level::Ok, "state directory", detail};
}

}  // namespace

std::vector<DoctorLine> doctor(const LinuxOptions& options) {
  std::vector<DoctorLine> lines = {root_line()};
  (void)make_folders(options.state_dir).has_value();
  lines.push_back(disk_line(options));
  lines.push_back(program_line("nft", "nftables", "security groups cannot be enforced"));
  lines.push_back(program_line("conmon", "conmon", "containers cannot be supervised"));
  lines.push_back(program_line("skopeo", "skopeo", "images cannot be imported"));
  lines.push_back(program_line("umoci", "umoci", "images cannot be unpacked"));
  lines.push_back(program_line(kInitProgram, "tini", "initProcessEnabled cannot be honoured"));
  lines.push_back(cgroup_line());
  lines.push_back(nofile_line());
  if (::geteuid() != 0) return lines;
  network_lines(lines);
  lines.push_back(overlay_line(options));
  oci_lines(options, lines);
  return lines;
}

}  // namespace weir::runtime
