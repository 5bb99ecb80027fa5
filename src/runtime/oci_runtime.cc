#include "runtime/oci_runtime.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include "runtime/bundle.h"
#include "runtime/cgroup.h"
#include "runtime/files.h"
#include "runtime/proc.h"
#include "runtime/process.h"

namespace weir::runtime {
namespace {

constexpr int kTrialTimeoutMs = 20'000;

// One container that prints a version and ends, with the same kind of bundle as every other.
Result<void> run_trial(const std::string& program, const std::string& folder, const std::string& name) {
  WEIR_TRY(make_folders(folder + "/rootfs"));
  WEIR_TRY_ASSIGN(std::string init, read_file(kInitProgram));
  WEIR_TRY(write_file(folder + "/rootfs/init", init, Sync::No));
  if (::chmod((folder + "/rootfs/init").c_str(), 0755) != 0) return fail("cannot prepare the trial");
  for (const char* file : {"hosts", "hostname", "resolv.conf"}) {
    WEIR_TRY(write_file(folder + "/" + file, "", Sync::No));
  }
  ContainerSpec spec;
  spec.entry_point = {"/init", "--version"};
  Image image;
  BundleInput input;
  input.spec = &spec;
  input.image = &image;
  input.root = folder + "/rootfs";
  input.files = folder;
  input.hostname = "trial";
  input.cgroup_path = "/weir/" + name;
  input.nofile_hard_limit = 64;
  WEIR_TRY_ASSIGN(std::string config, bundle_config(input));
  WEIR_TRY(write_file(folder + "/config.json", config, Sync::No));
  ProcessSpec run;
  run.argv = {program, "--root", folder + "/state", "run", "--bundle", folder, name};
  run.timeout_ms = kTrialTimeoutMs;
  WEIR_TRY_ASSIGN(FileLock groups, lock_parent_groups());
  Result<std::string> done = run_checked(run);
  ProcessSpec clean;
  clean.argv = {program, "--root", folder + "/state", "delete", "--force", name};
  if (!done) (void)run_process(clean).has_value();
  if (!done) return std::unexpected(done.error());
  return {};
}

// Changes when another program is installed or the machine is booted.
std::string fingerprint(const std::string& program) {
  struct stat info {};
  if (program.empty() || ::stat(program.c_str(), &info) != 0) return "";
  return program + " " + std::to_string(info.st_mtim.tv_sec) + " " + std::to_string(info.st_size) + " " +
         boot_id();
}

}  // namespace

std::vector<RuntimeTrial> try_oci_runtimes(const std::string& scratch) {
  static std::atomic<unsigned> counter = 0;
  std::vector<RuntimeTrial> trials;
  for (const char* name : {"runc", "crun"}) {
    std::string program = find_program(name);
    if (program.empty()) continue;
    std::string id = "trial-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    std::string folder = scratch + "/" + id;
    Result<void> worked = run_trial(program, folder, id);
    (void)remove_cgroup("/weir/" + id).has_value();
    (void)remove_tree(folder).has_value();
    trials.push_back({program, worked ? "" : worked.error().message});
    if (worked) break;
  }
  remove_empty_parents("");
  return trials;
}

Result<std::string> choose_oci_runtime(const std::string& scratch) {
  std::string memory = scratch + "/oci-runtime";
  std::string known = read_file(memory).value_or("");
  std::string program = known.substr(0, known.find(' '));
  if (!known.empty() && known == fingerprint(program)) return program;
  if (!path_exists(kInitProgram)) return fail("cannot try the OCI runtime: install the package tini");
  std::string problems;
  for (const RuntimeTrial& trial : try_oci_runtimes(scratch)) {
    if (trial.problem.empty()) {
      WEIR_TRY(write_file(memory, fingerprint(trial.program), Sync::No));
      return trial.program;
    }
    problems += (problems.empty() ? "" : "; ") + trial.problem;
  }
  if (problems.empty()) return fail("no OCI runtime found; install the package runc");
  return fail("no OCI runtime works here: " + problems);
}

}  // namespace weir::runtime
