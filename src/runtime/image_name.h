// Image names as Docker reads them: "chat" is "chat:latest" is "docker.io/library/chat:latest".
#pragma once

#include <string>

#include "base/result.h"

namespace weir::runtime {

struct ImageName {
  std::string host;    // "host:5000"; empty: none was given, or Docker's own registry
  std::string path;    // "team/chat", without "library/"
  std::string tag;     // "latest" when neither tag nor digest is given
  std::string digest;  // "sha256:…"; then the tag is empty

  // The one spelling under which the image is kept: equal names have equal text.
  std::string text() const;
  // The registry is this machine: "localhost" or 127.0.0.0/8, with or without port.
  bool host_is_local() const;
};

Result<ImageName> parse_image_name(const std::string& name);

}  // namespace weir::runtime
