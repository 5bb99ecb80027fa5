// Real processes: a shell script stands for the balancer.
#include "control/balancer_process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace weir::control {
namespace {

class BalancerProcessTest : public testing::Test {
 protected:
  BalancerProcessTest() {
    char name[] = "/tmp/weir-process-XXXXXX";
    folder_ = mkdtemp(name);
    spec_.arn = "arn";
    spec_.lock_path = folder_ + "/lb.lock";
    spec_.log_path = folder_ + "/lb.log";
    spec_.command = {"/bin/sh", "-c", "echo up; exec sleep 60"};
  }
  ~BalancerProcessTest() override {
    if (process_.pid != 0) {
      processes_->kill(process_, SIGKILL);
      ended();
      processes_->release(process_);
    }
    std::filesystem::remove_all(folder_);
  }
  bool ended() {
    pollfd wait{process_.pidfd, POLLIN, 0};
    return poll(&wait, 1, 10'000) == 1;
  }

  std::string folder_;
  BalancerSpec spec_;
  std::unique_ptr<BalancerProcesses> processes_ = make_balancer_processes();
  BalancerProcess process_;
};

TEST_F(BalancerProcessTest, AnotherControlPlaneFindsTheLivingProcess) {
  EXPECT_EQ(processes_->find(spec_)->pid, 0);
  auto started = processes_->start(spec_);
  ASSERT_TRUE(started) << started.error().message;
  process_ = *started;
  EXPECT_TRUE(processes_->alive(process_));
  auto other = make_balancer_processes();
  auto found = other->find(spec_);
  for (int i = 0; i < 5000 && !found; ++i) {  // between fork and exec it is not yet itself
    usleep(1000);
    found = other->find(spec_);
  }
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->pid, process_.pid);
  close(found->pidfd);
  EXPECT_FALSE(other->start(spec_));  // never two
}

TEST_F(BalancerProcessTest, ADeadProcessIsNotFoundWhateverItsLockFileSays) {
  process_ = *processes_->start(spec_);
  processes_->kill(process_, SIGKILL);
  ASSERT_TRUE(ended());
  EXPECT_FALSE(processes_->alive(process_));
  processes_->release(process_);
  EXPECT_EQ(process_.pid, 0);
  std::ofstream(spec_.lock_path) << getpid();  // a pid of another program
  EXPECT_EQ(processes_->find(spec_)->pid, 0);
}

TEST_F(BalancerProcessTest, AMissingProgramEndsAtOnceAndSaysSoInTheLog) {
  spec_.command = {"/absent/weir", "lb"};
  process_ = *processes_->start(spec_);
  ASSERT_TRUE(ended());
  std::ifstream log(spec_.log_path);
  std::string line;
  std::getline(log, line);
  EXPECT_EQ(line, "exec failed in the new process");
}

}  // namespace
}  // namespace weir::control
