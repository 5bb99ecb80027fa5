#include "runtime/container_user.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <optional>

#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

constexpr size_t kFileLimit = 1024 * 1024;

// The text of a file of the image; empty when there is none.
std::string image_file(const std::string& rootfs, const char* path) {
  UniqueFd root(::open(rootfs.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) return "";
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_IN_ROOT;
  UniqueFd file(static_cast<int>(::syscall(SYS_openat2, root.get(), path, &how, sizeof how)));
  std::string text;
  char block[4096];
  while (file.valid() && text.size() < kFileLimit) {
    ssize_t n = ::read(file.get(), block, sizeof block);
    if (n <= 0) break;
    text.append(block, static_cast<size_t>(n));
  }
  return text;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (start <= text.size()) {
    size_t end = std::min(text.find(separator, start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

std::optional<uint32_t> number(const std::string& text) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value > 0x7fffffff)
    return {};
  return value;
}

}  // namespace

Result<ContainerUser> resolve_user(const std::string& rootfs, const std::string& user) {
  ContainerUser result;
  size_t colon = user.find(':');
  std::string name = user.substr(0, colon);
  std::string group = colon == std::string::npos ? "" : user.substr(colon + 1);
  if (name.empty()) name = "0";
  std::optional<uint32_t> uid = number(name);
  bool known = uid.has_value();
  if (uid) result.uid = *uid;
  for (const std::string& line : split(image_file(rootfs, "etc/passwd"), '\n')) {
    std::vector<std::string> field = split(line, ':');
    if (field.size() < 6 || !number(field[2]) || !number(field[3])) continue;
    if (uid ? *uid != *number(field[2]) : field[0] != name) continue;
    name = field[0];
    result.uid = *number(field[2]);
    result.gid = *number(field[3]);
    if (!field[5].empty()) result.home = field[5];
    known = true;
    break;
  }
  if (!known) return fail("user \"" + name + "\" is not in the image's /etc/passwd");
  if (std::optional<uint32_t> gid = number(group)) result.gid = *gid;
  bool group_known = group.empty() || number(group).has_value();
  for (const std::string& line : split(image_file(rootfs, "etc/group"), '\n')) {
    std::vector<std::string> field = split(line, ':');
    if (field.size() < 4 || !number(field[2])) continue;
    if (!group_known && field[0] == group) {
      result.gid = *number(field[2]);
      group_known = true;
    }
    for (const std::string& member : split(field[3], ',')) {
      // With a group of one's own choice there are no others.
      if (group.empty() && member == name) result.additional_gids.push_back(*number(field[2]));
    }
  }
  if (!group_known) return fail("group \"" + group + "\" is not in the image's /etc/group");
  return result;
}

}  // namespace weir::runtime
