#include "control/log_folders.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

namespace weir::control {
namespace {

using Json = nlohmann::json;

constexpr const char* kArn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/lb/00aa";
const LogPlaces kPlaces{"/state/s3", "000000000000", "us-east-1"};

Json attributes(const char* bucket, const char* prefix, const char* enabled = "true") {
  return {{"access_logs.s3.enabled", enabled}, {"access_logs.s3.bucket", bucket}, {"access_logs.s3.prefix", prefix}};
}

TEST(LogFolders, ABucketIsAFolderWithAlbSPathBeneath) {
  model::LogFiles files = log_files(kPlaces, kArn, attributes("my-logs", "team/a"), "access_logs");
  EXPECT_EQ(files.directory, "/state/s3/my-logs/team/a/AWSLogs/000000000000/elasticloadbalancing/us-east-1");
  EXPECT_EQ(files.prefix, "000000000000_elasticloadbalancing_us-east-1_app.lb.00aa");
  Json connection{{"connection_logs.s3.enabled", "true"}, {"connection_logs.s3.bucket", "b"}};
  files = log_files(kPlaces, kArn, connection, "connection_logs");
  EXPECT_EQ(files.directory, "/state/s3/b/AWSLogs/000000000000/elasticloadbalancing/us-east-1");
  EXPECT_EQ(files.prefix, "conn_log_000000000000_elasticloadbalancing_us-east-1_app.lb.00aa");
  Json health{{"health_check_logs.s3.enabled", "true"}, {"health_check_logs.s3.bucket", "b"}};
  files = log_files(kPlaces, kArn, health, "health_check_logs");
  EXPECT_EQ(files.prefix, "health_check_log_000000000000_elasticloadbalancing_us-east-1_app.lb.00aa");
}

TEST(LogFolders, WhatIsOffOrLeadsOutOfTheRootIsNotWritten) {
  EXPECT_EQ(log_files(kPlaces, kArn, attributes("b", "", "false"), "access_logs").directory, "");
  EXPECT_EQ(log_files(kPlaces, kArn, attributes("", ""), "access_logs").directory, "");
  for (const char* bad : {"..", "../b", "a/b", "/b", "."}) {
    EXPECT_EQ(log_files(kPlaces, kArn, attributes(bad, ""), "access_logs").directory, "") << bad;
  }
  for (const char* bad : {"..", "a/../../b", "/a", "a/.."}) {
    EXPECT_EQ(log_files(kPlaces, kArn, attributes("b", bad), "access_logs").directory, "") << bad;
  }
  EXPECT_EQ(log_files({}, kArn, attributes("b", ""), "access_logs").directory, "");
}

TEST(LogFolders, TheFolderBelongsToTheBalancersUser) {
  char name[] = "/tmp/weir-log-folders-XXXXXX";
  std::string root = mkdtemp(name);
  std::string folder = root + "/b/AWSLogs";
  if (geteuid() != 0) {
    EXPECT_TRUE(make_log_folder(folder, "nobody"));
  } else {
    auto made = make_log_folder(folder, "nobody");
    ASSERT_FALSE(made) << "the root is closed to others";
    EXPECT_NE(made.error().message.find("closed to others"), std::string::npos) << made.error().message;
    chmod(root.c_str(), 0755);
    EXPECT_TRUE(make_log_folder(folder, "nobody"));
    struct stat info {};
    ASSERT_EQ(stat(folder.c_str(), &info), 0);
    EXPECT_NE(info.st_uid, 0u);
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace weir::control
