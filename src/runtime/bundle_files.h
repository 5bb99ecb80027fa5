// What a bundle holds beside config.json: the merged root and the three files of /etc.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/container_record.h"

namespace weir::runtime {

// Overlay of an own writable layer on the image's root, mounted at paths.rootfs.
Result<void> mount_root(const ContainerPaths& paths, const std::string& image_rootfs);
// Idempotent.
Result<void> unmount_root(const ContainerPaths& paths);

std::string bundle_files_folder(const ContainerPaths& paths);
// hosts (with the namespace's addresses), hostname and resolv.conf.
Result<void> write_bundle_files(const ContainerPaths& paths, const std::string& hostname,
                                const std::string& netns_path);

}  // namespace weir::runtime
