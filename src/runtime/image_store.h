// Unpacked container images under STATE_DIR/images.
//
//   refs.json        name -> image id; replaced as a whole
//   SHA256/          one image, named by the digest of its config: rootfs/ (read only) and config.json
//   .tmp-PID-N/      an import in progress; those of dead processes are removed by the next import
//
// skopeo brings images in from anywhere, umoci unpacks them. Thread-safe, also between processes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "runtime/image_name.h"

namespace weir::runtime {

struct Image {
  std::string id;      // "sha256:…"
  std::string rootfs;  // folder
  // From the image's config.
  std::vector<std::string> entry_point;
  std::vector<std::string> command;
  std::vector<std::string> environment;  // "NAME=VALUE"
  std::string working_directory;
  std::string user;
  std::string stop_signal;
};

class ImageStore {
 public:
  explicit ImageStore(const std::string& state_dir) : folder_(state_dir + "/images") {}

  // Error code ENOENT when no image has that name.
  Result<Image> find(const ImageName& name) const;
  // `source` as for ContainerDriver::import_image. An empty name: the archive's own first name.
  // Returns the image's id. Nothing stays behind when it fails.
  Result<std::string> import(const std::string& source, const std::string& name, int timeout_ms);
  // Names, sorted.
  Result<std::vector<std::string>> list() const;

 private:
  // The image as an OCI layout in work/oci.
  static Result<void> fetch(const std::string& work, const std::string& source, int timeout_ms);
  // Both under the store's lock. set_reference() also removes the images that have no name any more and
  // no container.
  Result<std::string> unpack(const std::string& work);
  Result<void> set_reference(const std::string& name, const std::string& id);
  void remove_dead_imports() const;

  std::string folder_;
};

}  // namespace weir::runtime
