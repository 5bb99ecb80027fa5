#include "runtime/image_name.h"

#include "runtime/ipv4.h"

namespace weir::runtime {
namespace {

constexpr size_t kNameMax = 1024;

bool only(const std::string& text, const char* more) {
  if (text.empty()) return false;
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!plain && std::string(more).find(c) == std::string::npos) return false;
  }
  return true;
}

constexpr const char* kUpper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-";

}  // namespace

std::string ImageName::text() const {
  std::string text = host.empty() ? path : host + "/" + path;
  return digest.empty() ? text + ":" + tag : text + "@" + digest;
}

bool ImageName::host_is_local() const {
  std::string name = host.substr(0, host.find(':'));
  return name == "localhost" || (name.starts_with("127.") && parse_ipv4(name));
}

Result<ImageName> parse_image_name(const std::string& name) {
  auto bad = [&name] {
    return fail("\"" + name + "\" is not an image name (NAME[:TAG] or HOST/NAME[:TAG])");
  };
  if (name.size() > kNameMax) return bad();
  ImageName result;
  std::string rest = name;
  if (size_t at = rest.find('@'); at != std::string::npos) {
    result.digest = rest.substr(at + 1);
    rest.resize(at);
    if (!result.digest.starts_with("sha256:") || result.digest.size() != 71 ||
        !only(result.digest.substr(7), "")) {
      return bad();
    }
  }
  // A colon after the last slash starts the tag; one before it belongs to the host's port.
  size_t slash = rest.rfind('/');
  size_t colon = rest.rfind(':');
  if (colon != std::string::npos && (slash == std::string::npos || colon > slash)) {
    result.tag = rest.substr(colon + 1);
    rest.resize(colon);
    if (!only(result.tag, kUpper)) return bad();
  }
  if (!result.digest.empty()) {
    result.tag.clear();
  } else if (result.tag.empty()) {
    result.tag = "latest";
  }
  size_t first = rest.find('/');
  std::string head = first == std::string::npos ? "" : rest.substr(0, first);
  if (head == "localhost" || head.find_first_of(".:") != std::string::npos) {
    result.host = head;
    rest = rest.substr(first + 1);
    if (!only(head, "-.:[]ABCDEFGHIJKLMNOPQRSTUVWXYZ")) return bad();
  }
  if (result.host == "docker.io" || result.host == "index.docker.io") result.host.clear();
  if (result.host.empty() && rest.starts_with("library/")) rest = rest.substr(8);
  result.path = rest;
  if (!only(result.path, "/._-") || result.path.front() == '/' || result.path.back() == '/' ||
      result.path.find("//") != std::string::npos) {
    return bad();
  }
  return result;
}

}  // namespace weir::runtime
