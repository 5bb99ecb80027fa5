#include "runtime/bundle_files.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/mount.h>

#include <cerrno>
#include <vector>

#include "runtime/files.h"
#include "runtime/netns.h"

namespace weir::runtime {
namespace {

// The resolver of every VPC (docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html). As long
// as nobody serves it in the namespace there is no route to it and lookups fail at once.
constexpr const char* kResolver = "169.254.169.253";

// IPv4 addresses of the namespace other than loopback.
Result<std::vector<std::string>> addresses_in(const std::string& netns_path) {
  std::vector<std::string> found;
  if (netns_path.empty()) return found;
  WEIR_TRY(in_netns(netns_path, [&found]() -> Result<void> {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return fail_errno("getifaddrs", errno);
    for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
      if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET || (at->ifa_flags & IFF_LOOPBACK))
        continue;
      char text[INET_ADDRSTRLEN];
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, text, sizeof text);
      found.emplace_back(text);
    }
    ::freeifaddrs(list);
    return {};
  }));
  return found;
}

}  // namespace

Result<void> mount_root(const ContainerPaths& paths, const std::string& image_rootfs) {
  std::string upper = paths.folder + "/upper", work = paths.folder + "/work";
  for (const std::string& folder : {upper, work, paths.rootfs}) WEIR_TRY(make_folders(folder));
  for (const std::string& path : {image_rootfs, paths.folder}) {
    if (path.find_first_of(",:\\") != std::string::npos) {
      return fail("overlayfs cannot use \"" + path + "\": choose a state directory without , : and \\");
    }
  }
  std::string options = "lowerdir=" + image_rootfs + ",upperdir=" + upper + ",workdir=" + work;
  if (::mount("overlay", paths.rootfs.c_str(), "overlay", 0, options.c_str()) != 0) {
    int error = errno;
    if (error == EINVAL) {
      return fail(
          "cannot mount an overlay on " + paths.folder +
              ": its file system cannot hold one (is it an overlay itself?); choose another state directory",
          error);
    }
    return fail_errno("cannot mount an overlay at " + paths.rootfs, error);
  }
  return {};
}

Result<void> unmount_root(const ContainerPaths& paths) {
  while (::umount2(paths.rootfs.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
  }
  if (errno != EINVAL && errno != ENOENT) return fail_errno("unmount " + paths.rootfs, errno);
  return {};
}

std::string bundle_files_folder(const ContainerPaths& paths) { return paths.folder + "/etc"; }

Result<void> write_bundle_files(const ContainerPaths& paths, const std::string& hostname,
                                const std::string& netns_path) {
  std::string folder = bundle_files_folder(paths);
  WEIR_TRY(make_folders(folder));
  WEIR_TRY_ASSIGN(std::vector<std::string> addresses, addresses_in(netns_path));
  std::string hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
  for (const std::string& address : addresses) hosts += address + "\t" + hostname + "\n";
  WEIR_TRY(write_file(folder + "/hosts", hosts, Sync::No));
  WEIR_TRY(write_file(folder + "/hostname", hostname + "\n", Sync::No));
  std::string resolver = std::string("nameserver ") + kResolver + "\noptions timeout:1 attempts:1\n";
  return write_file(folder + "/resolv.conf", resolver, Sync::No);
}

}  // namespace weir::runtime
