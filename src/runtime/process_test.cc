#include "runtime/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

ProcessSpec shell(const std::string& script) {
  ProcessSpec spec;
  spec.argv = {"sh", "-c", script};
  return spec;
}

TEST(RunProcess, GivesInputAndTakesBothOutputsAndTheExitCode) {
  ProcessSpec spec = shell("cat; echo problem >&2; exit 7");
  spec.input = std::string(300'000, 'x');
  Result<ProcessResult> result = run_process(spec);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 7);
  EXPECT_EQ(result->out, std::string(kOutputLimit, 'x')) << "the rest is read and thrown away";
  EXPECT_EQ(result->err, "problem\n");
}

TEST(RunProcess, AChildThatDoesNotReadItsInputDoesNotEndUs) {
  ProcessSpec spec = shell("exec <&-; exit 3");
  spec.input = std::string(300'000, 'x');
  EXPECT_EQ(run_process(spec)->exit_code, 3);
}

TEST(RunProcess, ADeathBySignalIs128PlusItsNumber) {
  EXPECT_EQ(run_process(shell("kill -9 $$"))->exit_code, 137);
}

TEST(RunProcess, KillsTheWholeGroupWhenTheTimeIsOver) {
  ProcessSpec spec = shell("sleep 60 & sleep 60");
  spec.timeout_ms = 100;
  Result<ProcessResult> result = run_process(spec);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ETIMEDOUT);
}

TEST(RunProcess, AMissingProgramIsNamed) {
  ProcessSpec spec;
  spec.argv = {"no-such-program-here"};
  Result<ProcessResult> result = run_process(spec);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ENOENT);
  EXPECT_NE(result.error().message.find("no-such-program-here"), std::string::npos);
}

TEST(RunProcess, NothingButTheStandardStreamsIsInherited) {
  UniqueFd leak(::open("/dev/null", O_RDONLY));  // not close-on-exec
  ASSERT_TRUE(leak.valid());
  Result<ProcessResult> result = run_process(shell("ls /proc/self/fd"));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->out, "0\n1\n2\n3\n") << "3 is the folder ls reads";
}

TEST(RunProcess, PassesOneDescriptorAsNumberThree) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  UniqueFd reader(fds[0]), writer(fds[1]);
  ProcessSpec spec = shell("echo hello >&3");
  spec.pass_fds = {writer.get()};
  EXPECT_EQ(run_process(spec)->exit_code, 0);
  char text[16];
  EXPECT_EQ(::read(reader.get(), text, sizeof text), 6);
}

TEST(ErrorLine, IsTheLastLineWithoutLogDecoration) {
  EXPECT_EQ(error_line("one\ntwo\n\n"), "two");
  EXPECT_EQ(error_line(""), "");
  EXPECT_EQ(error_line("time=\"2026-01-01\" level=fatal msg=\"cannot \\\"read\\\" it\"\n"),
            "cannot \"read\" it");
}

}  // namespace
}  // namespace weir::runtime
