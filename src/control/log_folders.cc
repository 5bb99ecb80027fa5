#include "control/log_folders.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "control/documents.h"

namespace weir::control {

namespace {
// Relative, and no part of it leads upwards.
bool stays_inside(const std::string& path) {
  if (path.starts_with('/') || path.find('\0') != std::string::npos) return false;
  for (const auto& part : std::filesystem::path(path)) {
    if (part == ".." || part == ".") return false;
  }
  return true;
}
}  // namespace

model::LogFiles log_files(const LogPlaces& places, const std::string& load_balancer_arn, const Json& attributes,
                          const std::string& log) {
  std::string bucket = text(attributes, (log + ".s3.bucket").c_str());
  std::string prefix = text(attributes, (log + ".s3.prefix").c_str());
  bool on = flag(attributes, (log + ".s3.enabled").c_str()) && !places.root.empty();
  bool fits = !bucket.empty() && bucket.find('/') == std::string::npos && stays_inside(bucket) && stays_inside(prefix);
  if (!on || !fits) return {};
  constexpr std::string_view kMark = "loadbalancer/";
  size_t at = load_balancer_arn.find(kMark);
  std::string name = at == std::string::npos ? load_balancer_arn : load_balancer_arn.substr(at + kMark.size());
  std::replace(name.begin(), name.end(), '/', '.');  // "app.NAME.ID"
  std::string folder = places.root + "/" + bucket + (prefix.empty() ? "" : "/" + prefix) + "/AWSLogs/" +
                       places.account + "/elasticloadbalancing/" + places.region;
  const char* kind = log == "connection_logs" ? "conn_log_" : log == "health_check_logs" ? "health_check_log_" : "";
  return {folder, kind + places.account + "_elasticloadbalancing_" + places.region + "_" + name};
}

Result<void> make_log_folder(const std::string& directory, const std::string& user) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return fail("log folder " + directory + ": " + error.message());
  if (user.empty() || geteuid() != 0) return {};
  passwd* entry = getpwnam(user.c_str());
  if (entry == nullptr) return fail("no user named '" + user + "'");
  if (chown(directory.c_str(), entry->pw_uid, entry->pw_gid) != 0) return fail_errno("chown " + directory, errno);
  // Folders of a day that another user's balancer has made belong to the next one too.
  for (const auto& below : std::filesystem::recursive_directory_iterator(directory, error)) {
    if (!below.is_directory(error)) continue;
    [[maybe_unused]] int done = lchown(below.path().c_str(), entry->pw_uid, entry->pw_gid);
  }
  for (std::string path = directory; path.size() > 1; path = path.substr(0, path.rfind('/'))) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) continue;
    bool passes = (info.st_mode & S_IXOTH) != 0 || info.st_uid == entry->pw_uid;
    if (!passes) return fail("user '" + user + "' cannot reach " + directory + ": " + path + " is closed to others");
    if (path.rfind('/') == 0) break;
  }
  return {};
}

}  // namespace weir::control
