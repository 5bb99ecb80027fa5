#include "server/identity.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace weir::chat {
namespace {

constexpr size_t kMetadataMaxBytes = 256 * 1024;

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// GET of http://A.B.C.D[:PORT]/PATH; empty on any failure. HTTP/1.0, so the body ends at the close.
std::string http_get(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return "";
  url.remove_prefix(kScheme.size());
  size_t slash = url.find('/');
  std::string host(url.substr(0, slash));
  std::string path(slash == url.npos ? "/" : url.substr(slash));
  uint16_t port = 80;
  if (size_t colon = host.find(':'); colon != host.npos) {
    port = static_cast<uint16_t>(std::strtoul(host.c_str() + colon + 1, nullptr, 10));
    host.resize(colon);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) return "";
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";
  timeval second{.tv_sec = 1, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
  std::string answer;
  std::string request = "GET " + path + " HTTP/1.0\r\nHost: " + host + "\r\n\r\n";
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
    char part[4096];
    for (ssize_t n; answer.size() < kMetadataMaxBytes && (n = recv(fd, part, sizeof part, 0)) > 0;) {
      answer.append(part, static_cast<size_t>(n));
    }
  }
  close(fd);
  return answer;
}

// The last part of "TaskARN":"arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID".
std::string task_id_of(std::string_view answer) {
  size_t key = answer.find("\"TaskARN\"");
  if (key == answer.npos) return "";
  size_t open = answer.find('"', answer.find(':', key));
  size_t close = open == answer.npos ? open : answer.find('"', open + 1);
  if (close == answer.npos) return "";
  std::string_view arn = answer.substr(open + 1, close - open - 1);
  return std::string(arn.substr(arn.rfind('/') + 1));
}

}  // namespace

std::string task_identity() {
  if (std::string id = env("TASK_ID"); !id.empty()) return id;
  if (std::string uri = env("ECS_CONTAINER_METADATA_URI_V4"); !uri.empty()) {
    if (std::string id = task_id_of(http_get(uri + "/task")); !id.empty()) return id;
  }
  if (std::string id = env("HOSTNAME"); !id.empty()) return id;
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace weir::chat
