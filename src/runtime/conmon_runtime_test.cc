// Real containers from a busybox image made on the spot: needs root and the container tools.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "runtime/cgroup.h"
#include "runtime/driver.h"
#include "runtime/files.h"
#include "runtime/proc.h"
#include "runtime/process.h"

namespace weir::runtime {
namespace {

using State = ContainerStatus::State;
constexpr int kLongMs = 60'000;

std::string message(const Result<void>& result) { return result ? "" : result.error().message; }

class ContainerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    archive() = testing::TempDir() + "weir-busybox-" + std::to_string(::getpid()) + ".tar";
    ProcessSpec make;
    make.argv = {"python3",       WEIR_SOURCE_DIR "/tools/make_image",
                 "--name",        "busybox",
                 "--output",      archive(),
                 "--file",        "/bin/busybox:/bin/busybox",
                 "--symlink",     "busybox:/bin/sh",
                 "--dir",         "/tmp:1777",
                 "--entrypoint",  R"(["/bin/busybox"])",
                 "--cmd",         R"(["true"])",
                 "--env",         "FROM=image",
                 "--stop-signal", "SIGUSR1"};
    Result<std::string> made = run_checked(make);
    ASSERT_TRUE(made) << made.error().message;
  }
  static void TearDownTestSuite() { ::unlink(archive().c_str()); }
  static std::string& archive() {
    static std::string path;
    return path;
  }

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    for (const char* name : {"conmon", "runc", "skopeo", "umoci", "/usr/bin/tini-static", "/bin/busybox"}) {
      if (find_program(name).empty()) GTEST_SKIP() << "needs " << name;
    }
    static std::atomic<int> counter = 0;
    options_.instance = "t" + std::to_string(::getpid()) + "x" + std::to_string(counter++);
    options_.state_dir = testing::TempDir() + "weir-" + options_.instance;
    ASSERT_TRUE(make_folders(options_.state_dir));
    driver_ = make_conmon_runtime(options_);
    Result<std::string> id = driver_->import_image(archive(), "");
    ASSERT_TRUE(id) << id.error().message;
  }
  void TearDown() override {
    if (driver_ == nullptr) return;
    std::vector<std::string> ids = driver_->list().value_or(std::vector<std::string>{});
    for (const std::string& id : ids) EXPECT_TRUE(driver_->remove(id));
    EXPECT_EQ(leftovers(), "");
    EXPECT_TRUE(remove_tree("/run/weir/" + options_.instance));
    ::unlink("/run/weir/groups.lock");
    ::rmdir("/run/weir");
    EXPECT_TRUE(remove_tree(options_.state_dir));
  }

  // What removal should have taken away: mounts, control groups, folders, supervisors.
  std::string leftovers() const {
    std::string found;
    if (read_file("/proc/self/mounts").value_or("").find(options_.state_dir + "/") != std::string::npos)
      found += "mount ";
    for (const std::string& group : cgroup_folders("/weir/" + options_.instance)) found += group + " ";
    for (const char* folder : {"/containers", "/oci", "/s"}) {
      for (const std::string& name : list_folder("/run/weir/" + options_.instance + folder))
        found += folder + ("/" + name) + " ";
    }
    for (const std::string& name : list_folder(options_.state_dir + "/containers")) found += name + " ";
    for (const std::string& name : list_folder("/proc")) {
      if (process_command_line(std::atoi(name.c_str())).find(options_.state_dir) != std::string::npos)
        found += "pid " + name + " ";
    }
    return found;
  }

  static ContainerSpec shell(const std::string& id, const std::string& script) {
    ContainerSpec spec;
    spec.container_id = id;
    spec.image = "busybox";
    spec.entry_point = {"/bin/sh", "-c"};
    spec.command = {script};
    return spec;
  }
  ContainerStatus run(const ContainerSpec& spec) {
    Result<void> started = driver_->start(spec);
    EXPECT_TRUE(started) << message(started);
    Result<ContainerStatus> end = driver_->wait(spec.container_id, kLongMs);
    EXPECT_TRUE(end) << (end ? "" : end.error().message);
    return end.value_or(ContainerStatus{});
  }
  // The log without its time stamps.
  std::string output(const std::string& id) const {
    std::string text = read_file(driver_->log_path(id)).value_or("no log"), plain;
    for (size_t at = 0; at < text.size();) {
      size_t end = std::min(text.find('\n', at), text.size());
      std::string line = text.substr(at, end - at);
      plain += line.substr(std::min(line.find(' ') + 1, line.size())) + "\n";
      at = end + 1;
    }
    return plain;
  }
  // Waits (bounded) until the container's log holds `text`.
  bool says(const std::string& id, const std::string& text) const {
    for (int i = 0; i < 1000; ++i) {
      if (output(id).find(text) != std::string::npos) return true;
      ::usleep(10'000);
    }
    return false;
  }

  LinuxOptions options_;
  std::unique_ptr<ContainerDriver> driver_;
};

TEST_F(ContainerTest, RunsWritesItsLogAndAnswersItsExitCode) {
  ContainerStatus end = run(shell("c1", "echo out; echo err >&2; printf 'no newline'; exit 7"));
  EXPECT_EQ(end.state, State::Exited);
  EXPECT_EQ(end.exit_code, 7);
  EXPECT_FALSE(end.oom_killed);
  std::string log = output("c1");
  EXPECT_NE(log.find("stdout F out\n"), std::string::npos) << log;
  EXPECT_NE(log.find("stderr F err\n"), std::string::npos) << log;
  EXPECT_NE(log.find("stdout P no newline\n"), std::string::npos) << log;
  EXPECT_EQ(*driver_->list(), std::vector<std::string>{"c1"});
  ASSERT_TRUE(driver_->remove("c1"));
  ASSERT_TRUE(driver_->remove("c1"));
  EXPECT_EQ(driver_->status("c1")->state, State::Missing);
  EXPECT_TRUE(path_exists(driver_->log_path("c1"))) << "the log outlives the container";
  ASSERT_TRUE(driver_->remove_log("c1"));
  EXPECT_FALSE(path_exists(driver_->log_path("c1")));
}

TEST_F(ContainerTest, TheImagesOwnCommandRunsWhenNothingElseIsSaid) {
  ContainerSpec spec;
  spec.container_id = "own";
  spec.image = "docker.io/library/busybox:latest";
  EXPECT_EQ(run(spec).exit_code, 0);
}

TEST_F(ContainerTest, ItsSurroundingsAreThoseOfATask) {
  ContainerSpec spec =
      shell("env",
            "id; echo $FROM $OWN $HOSTNAME; pwd; cat /proc/self/status | grep -e Cap -e NoNew; ulimit -n;"
            "cat /etc/hosts /etc/resolv.conf; hostname; ls /sys/fs/cgroup; touch /w && echo wrote; "
            "mount -t tmpfs x /tmp || echo no mount; unshare -U true || echo no unshare; ps | wc -l");
  // busybox without applets installed
  spec.command[0] =
      "for a in id cat grep ls touch mount unshare ps wc hostname; do busybox ln -s busybox /bin/$a; done; " +
      spec.command[0];
  spec.environment = {{"OWN", "task"}, {"FROM", "override"}};
  spec.working_directory = "/made/here";
  EXPECT_EQ(run(spec).exit_code, 0);
  std::string log = output("env");
  for (const char* part :
       {"uid=0", "override task env", "/made/here", "NoNewPrivs:\t1", "CapEff:\t00000000000405fb",
        "127.0.0.1\tlocalhost", "nameserver", "no mount", "no unshare", "wrote"}) {
    EXPECT_NE(log.find(part), std::string::npos) << part << " in\n" << log;
  }
}

TEST_F(ContainerTest, AReadOnlyRootAndAnotherUser) {
  ContainerSpec spec =
      shell("ro", "echo x > /x || echo refused; busybox id -u; busybox grep CapEff /proc/self/status");
  spec.read_only_root = true;
  spec.user = "1234:99";
  EXPECT_EQ(run(spec).exit_code, 0);
  std::string log = output("ro");
  EXPECT_NE(log.find("refused"), std::string::npos) << log;
  EXPECT_NE(log.find("F 1234\n"), std::string::npos) << log;
  EXPECT_NE(log.find("CapEff:\t0000000000000000"), std::string::npos) << log;
}

TEST_F(ContainerTest, TooMuchMemoryEndsItWith137AndSaysSo) {
  ContainerSpec spec = shell("oom", "exec busybox tail /dev/zero");
  spec.memory_bytes = 32 << 20;
  ContainerStatus end = run(spec);
  EXPECT_EQ(end.exit_code, 137);
  EXPECT_TRUE(end.oom_killed);
}

TEST_F(ContainerTest, LimitsReachTheControlGroup) {
  ContainerSpec spec = shell("limits", "exec busybox sleep 1000");
  spec.memory_bytes = 64 << 20;
  spec.cpu_units = 256;
  ASSERT_TRUE(driver_->start(spec));
  std::string values;
  for (const std::string& group : cgroup_folders("/weir/" + options_.instance + "/limits")) {
    for (const char* file : {"/cpu.max", "/cpu.cfs_quota_us", "/memory.max", "/memory.limit_in_bytes"}) {
      values += read_file(group + file).value_or("");
    }
  }
  EXPECT_NE(values.find("25000"), std::string::npos) << values;
  EXPECT_NE(values.find("67108864"), std::string::npos) << values;
}

TEST_F(ContainerTest, StopsAtItsSignalOrElseAtSigkill) {
  ASSERT_TRUE(driver_->start(
      shell("polite", "trap 'echo bye; exit 3' TERM; echo ready; while :; do busybox sleep 0.05; done")));
  ASSERT_TRUE(says("polite", "ready"));
  ASSERT_TRUE(driver_->kill("polite", "SIGTERM"));
  EXPECT_EQ(driver_->wait("polite", kLongMs)->exit_code, 3);
  ASSERT_TRUE(driver_->kill("polite", "SIGTERM")) << "it has ended: nothing to do";

  ASSERT_TRUE(
      driver_->start(shell("usr1", "trap 'exit 4' USR1; echo ready; while :; do busybox sleep 0.05; done")));
  ASSERT_TRUE(says("usr1", "ready"));
  ASSERT_TRUE(driver_->kill("usr1", "")) << "the image's STOPSIGNAL";
  EXPECT_EQ(driver_->wait("usr1", kLongMs)->exit_code, 4);

  ASSERT_TRUE(
      driver_->start(shell("stubborn", "trap '' TERM; echo ready; while :; do busybox sleep 0.05; done")));
  ASSERT_TRUE(says("stubborn", "ready"));
  ASSERT_TRUE(driver_->kill("stubborn", "SIGTERM"));
  EXPECT_EQ(driver_->wait("stubborn", 200)->state, State::Running);
  ASSERT_TRUE(driver_->kill("stubborn", "SIGKILL"));
  EXPECT_EQ(driver_->wait("stubborn", kLongMs)->exit_code, 137);
  EXPECT_FALSE(driver_->kill("nobody", "SIGTERM"));
  EXPECT_FALSE(driver_->kill("stubborn", "SIGNOPE"));
}

TEST_F(ContainerTest, AnInitProcessPassesSignalsToAProgramWithoutHandlers) {
  ContainerSpec spec = shell("init", "busybox ps; echo ready; exec busybox sleep 1000");
  spec.init_process = true;
  ASSERT_TRUE(driver_->start(spec));
  ASSERT_TRUE(says("init", "ready"));
  ASSERT_TRUE(driver_->kill("init", "SIGTERM"));
  EXPECT_EQ(driver_->wait("init", kLongMs)->exit_code, 143);
}

TEST_F(ContainerTest, StartingAgainChangesNothing) {
  ContainerSpec spec = shell("again", "echo once; exec busybox sleep 1000");
  ASSERT_TRUE(driver_->start(spec));
  int pid = driver_->status("again")->pid;
  ASSERT_TRUE(driver_->start(spec));
  EXPECT_EQ(driver_->status("again")->pid, pid);
  ContainerSpec brief = shell("brief", "exit 9");
  EXPECT_EQ(run(brief).exit_code, 9);
  ASSERT_TRUE(driver_->start(brief)) << "it was started; that it has ended is for status to say";
  EXPECT_EQ(driver_->status("brief")->exit_code, 9);
}

TEST_F(ContainerTest, MistakesAreNamedAndLeaveNothing) {
  ContainerSpec spec = shell("bad", "true");
  spec.entry_point = {"/not/there"};
  EXPECT_TRUE(message(driver_->start(spec)).starts_with("CannotStartContainerError: "))
      << message(driver_->start(spec));
  EXPECT_NE(message(driver_->start(spec)).find("/not/there"), std::string::npos);
  spec.image = "missing:1";
  EXPECT_TRUE(message(driver_->start(spec)).starts_with("CannotCreateContainerError: "));
  spec = shell("bad", "true");
  spec.user = "nobody-here";
  EXPECT_NE(message(driver_->start(spec)).find("nobody-here"), std::string::npos);
  spec = shell("bad", "true");
  spec.netns_path = "/run/netns/not-there";
  EXPECT_FALSE(driver_->start(spec));
  EXPECT_FALSE(driver_->start(shell("../bad", "true")));
  EXPECT_TRUE(driver_->list()->empty());
  EXPECT_EQ(leftovers(), "");
}

TEST_F(ContainerTest, ImagesAreFoundUnderTheirNamesOrTheErrorSaysWhatToDo) {
  EXPECT_EQ(*driver_->list_images(), std::vector<std::string>{"busybox:latest"});
  EXPECT_TRUE(driver_->ensure_image("docker.io/library/busybox"));
  std::string missing = message(driver_->ensure_image("registry.example/team/chat:v1"));
  EXPECT_TRUE(missing.starts_with("CannotPullContainerError: ")) << missing;
  EXPECT_NE(missing.find("weir image import"), std::string::npos) << missing;
  std::string refused = message(driver_->ensure_image("127.0.0.1:1/chat"));
  EXPECT_TRUE(refused.starts_with("CannotPullContainerError: ")) << refused;
  EXPECT_NE(refused.find("refused"), std::string::npos) << refused;
}

TEST_F(ContainerTest, ABrokenArchiveIsRefusedAndLeavesNothing) {
  std::vector<std::string> before = list_folder(options_.state_dir + "/images");
  std::string broken = options_.state_dir + "/broken.tar";
  std::string whole = *read_file(archive());
  ASSERT_TRUE(write_file(broken, whole.substr(0, whole.size() / 2), Sync::No));
  Result<std::string> cut = driver_->import_image(broken, "cut");
  ASSERT_FALSE(cut);
  EXPECT_TRUE(cut.error().message.starts_with("cannot import " + broken + ": ")) << cut.error().message;
  ASSERT_TRUE(write_file(broken, "no archive at all", Sync::No));
  EXPECT_FALSE(driver_->import_image(broken, "cut"));
  EXPECT_FALSE(driver_->import_image("/not/there.tar", "cut"));
  EXPECT_FALSE(driver_->import_image(options_.state_dir, "cut"));
  EXPECT_EQ(list_folder(options_.state_dir + "/images"), before);
  EXPECT_EQ(*driver_->list_images(), std::vector<std::string>{"busybox:latest"});
}

TEST_F(ContainerTest, OciLayoutsAndArchivesGiveTheSameImage) {
  std::string id = *driver_->import_image(archive(), "one");
  std::string layout = options_.state_dir + "/layout", oci = options_.state_dir + "/oci.tar";
  for (const std::string& target : {"oci:" + layout + ":x", "oci-archive:" + oci}) {
    ProcessSpec copy;
    copy.argv = {"skopeo", "--insecure-policy", "copy", "docker-archive:" + archive(), target};
    ASSERT_TRUE(run_checked(copy));
  }
  Result<std::string> two = driver_->import_image(layout, "two"), three = driver_->import_image(oci, "three");
  ASSERT_TRUE(two) << two.error().message;
  ASSERT_TRUE(three) << three.error().message;
  EXPECT_EQ(*two, id);
  EXPECT_EQ(*three, id);
  EXPECT_EQ(list_folder(options_.state_dir + "/images").size(), 2u) << "one folder and refs.json";
}

TEST_F(ContainerTest, AnImageWithoutANameStaysWhileAContainerUsesIt) {
  ASSERT_TRUE(driver_->start(shell("user", "exec busybox sleep 1000")));
  std::string other = options_.state_dir + "/other.tar";
  ProcessSpec make;
  make.argv = {"python3",  WEIR_SOURCE_DIR "/tools/make_image",
               "--name",   "busybox",
               "--output", other,
               "--file",   "/bin/busybox:/sh"};
  ASSERT_TRUE(run_checked(make));
  auto images = [this] { return list_folder(options_.state_dir + "/images").size() - 1; };
  ASSERT_TRUE(driver_->import_image(other, "busybox"));
  EXPECT_EQ(images(), 2u);
  ASSERT_TRUE(driver_->remove("user"));
  ASSERT_TRUE(driver_->import_image(other, "busybox"));
  EXPECT_EQ(images(), 1u);
}

TEST_F(ContainerTest, ContainersOutliveTheirCallerAndAreAdopted) {
  pid_t child = ::fork();
  if (child == 0) {
    bool good =
        make_conmon_runtime(options_)->start(shell("adopt", "echo up; busybox sleep 2; exit 6")).has_value();
    if (good) ::kill(::getpid(), SIGKILL);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  std::unique_ptr<ContainerDriver> fresh = make_conmon_runtime(options_);
  EXPECT_EQ(fresh->status("adopt")->state, State::Running);
  EXPECT_EQ(fresh->wait("adopt", kLongMs)->exit_code, 6);
}

TEST_F(ContainerTest, AStartCutShortAtAnyMomentIsMadeGood) {
  ASSERT_EQ(run(shell("warm", "true")).exit_code, 0);  // the OCI runtime is chosen
  for (int delay_ms : {1, 10, 20, 40, 60, 80, 110, 140, 180, 250}) {
    pid_t child = ::fork();
    if (child == 0) {
      (void)make_conmon_runtime(options_)
          ->start(shell("cut", "echo up; exec busybox sleep 1000"))
          .has_value();
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(delay_ms) * 1000);
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    std::unique_ptr<ContainerDriver> fresh = make_conmon_runtime(options_);
    Result<void> started = fresh->start(shell("cut", "echo up; exec busybox sleep 1000"));
    EXPECT_TRUE(started) << delay_ms << " ms: " << message(started);
    EXPECT_EQ(fresh->status("cut")->state, State::Running) << delay_ms;
    Result<void> removed = fresh->remove("cut");
    EXPECT_TRUE(removed) << delay_ms << " ms: " << message(removed);
    EXPECT_TRUE(driver_->remove("warm"));
    EXPECT_EQ(leftovers(), "") << delay_ms;
  }
}

TEST_F(ContainerTest, WithoutItsSupervisorItRunsOnAndItsEndIsCalledLost) {
  ASSERT_TRUE(driver_->start(shell("lost", "echo up; exec busybox sleep 1000")));
  ASSERT_TRUE(says("lost", "up"));
  int conmon = std::atoi(
      read_file("/run/weir/" + options_.instance + "/containers/lost/conmon.pid").value_or("0").c_str());
  ASSERT_GT(conmon, 1);
  ASSERT_EQ(::kill(conmon, SIGKILL), 0);
  EXPECT_EQ(driver_->wait("lost", 100)->state, State::Running);
  ASSERT_TRUE(driver_->kill("lost", "SIGKILL"));
  ContainerStatus end = *driver_->wait("lost", kLongMs);
  EXPECT_EQ(end.state, State::Exited);
  EXPECT_EQ(end.exit_code, kLostExitCode);
}

TEST_F(ContainerTest, AfterARebootItIsExited) {
  ASSERT_EQ(run(shell("old", "true")).exit_code, 0);
  std::string record = options_.state_dir + "/containers/old/container.json";
  std::string text = *read_file(record);
  text.replace(text.find(boot_id()), 4, "dead");
  ASSERT_TRUE(write_file(record, text, Sync::No));
  EXPECT_EQ(driver_->status("old")->state, State::Exited);
  EXPECT_EQ(driver_->status("old")->exit_code, kLostExitCode);
}

TEST_F(ContainerTest, AFullLogDiskHarmsTheLogAlone) {
  std::string logs = options_.state_dir + "/logs";
  ASSERT_TRUE(make_folders(logs));
  ASSERT_EQ(::mount("tmpfs", logs.c_str(), "tmpfs", 0, "size=64k"), 0);
  ContainerStatus end = run(
      shell("full",
            "i=0; while [ $i -lt 3000 ]; do echo line $i of many that do not fit; i=$((i+1)); done; exit 5"));
  EXPECT_EQ(end.exit_code, 5);
  EXPECT_EQ(::umount2(logs.c_str(), MNT_DETACH), 0);
}

TEST_F(ContainerTest, TwentyStartAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 20; ++i) {
    threads.emplace_back([this, &good, i] {
      std::string id = "many" + std::to_string(i);
      Result<void> started = driver_->start(shell(id, "exit " + std::to_string(i)));
      Result<ContainerStatus> end = driver_->wait(id, kLongMs);
      if (started && end && end->exit_code == i) ++good;
      EXPECT_TRUE(started) << message(started);
      if (i % 2 == 0) {
        EXPECT_TRUE(driver_->remove(id));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 20);
}

TEST_F(ContainerTest, ItsNetworkIsTheInterfaceItWasGiven) {
  std::unique_ptr<NetworkDriver> network = make_linux_network(options_);
  ASSERT_TRUE(network->ensure_fabric({"vpc-c", "10.0.0.0/16"}));
  Result<EniInfo> eni = network->ensure_eni({"eni-c", "vpc-c", "10.0.0.0/16", "10.0.3.7", 24, {}});
  EXPECT_TRUE(eni);
  ContainerSpec spec = shell("net", "busybox ip -4 -o address show dev eth0; busybox cat /etc/hosts");
  if (eni) spec.netns_path = eni->netns_path;
  EXPECT_EQ(run(spec).exit_code, 0);
  EXPECT_NE(output("net").find("inet 10.0.3.7/24"), std::string::npos) << output("net");
  EXPECT_NE(output("net").find("10.0.3.7\tnet"), std::string::npos) << output("net");
  EXPECT_TRUE(driver_->remove("net"));
  EXPECT_TRUE(network->remove_eni("eni-c"));
  EXPECT_TRUE(network->remove_fabric("vpc-c"));
}

}  // namespace
}  // namespace weir::runtime
