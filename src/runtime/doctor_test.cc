#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/driver.h"
#include "runtime/files.h"
#include "runtime/netns.h"

namespace weir::runtime {
namespace {

TEST(Doctor, TriesEverythingAndLeavesNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  LinuxOptions options;
  options.instance = "doctor";
  options.state_dir = testing::TempDir() + "weir-doctor-test-" + std::to_string(::getpid());
  std::vector<DoctorLine> lines = doctor(options);
  bool ran_container = false;
  for (const DoctorLine& line : lines) {
    EXPECT_FALSE(line.what.empty());
    EXPECT_FALSE(line.detail.empty()) << line.what;
    EXPECT_NE(line.level, DoctorLine::Level::Missing) << line.what << ": " << line.detail;
    ran_container = ran_container || line.detail == "ran a container";
    RecordProperty(line.what, line.detail);
  }
  EXPECT_TRUE(ran_container);
  EXPECT_TRUE(list_folder(options.state_dir).empty());
  EXPECT_TRUE(list_netns("weir-doctor-" + std::to_string(::getpid()))->empty());
  EXPECT_EQ(::rmdir(options.state_dir.c_str()), 0);
}

}  // namespace
}  // namespace weir::runtime
