#include "cli/api_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/dispatcher.h"

namespace weir::cli {

namespace http = boost::beast::http;

namespace {

constexpr int kCallSeconds = 60;
constexpr size_t kAnswerMax = 64 * 1024 * 1024;

struct Socket {
  int fd = -1;
  ~Socket() {
    if (fd >= 0) close(fd);
  }
};

Result<void> connect_socket(Socket& socket, const std::string& path, int timeout_seconds) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail("the path " + path + " is too long for a socket");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  socket.fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket.fd < 0) return fail_errno("socket", errno);
  timeval timeout{timeout_seconds, 0};
  setsockopt(socket.fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(socket.fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  if (connect(socket.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno("connecting to " + path, errno);
  }
  return {};
}

Result<void> send_all(int fd, const std::string& bytes) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    ssize_t count = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("sending a request", errno);
    sent += static_cast<size_t>(count);
  }
  return {};
}

// Operation prefixes as the HTTP front knows them.
std::string_view target_prefix(std::string_view service) {
  if (service == "cloudformation") return "CloudFormation_20100515";
  if (service == "elbv2") return "ElasticLoadBalancing_v10";
  if (service == "ecs") return "AmazonEC2ContainerServiceV20141113";
  if (service == "ec2") return "AmazonEC2";
  if (service == "logs") return "Logs_20140328";
  if (service == "acm") return "CertificateManager";
  return "Weir";
}

}  // namespace

std::string api_socket_path(const std::string& state_dir) { return state_dir + "/api.sock"; }

Result<HttpReply> http_over_unix(const std::string& socket_path, const std::string& request, int timeout_seconds) {
  Socket socket;
  WEIR_TRY(connect_socket(socket, socket_path, timeout_seconds));
  WEIR_TRY(send_all(socket.fd, request));
  http::response_parser<http::string_body> parser;
  parser.eager(true);
  parser.body_limit(kAnswerMax);
  std::string pending;
  char buffer[65536];
  while (!parser.is_done()) {
    ssize_t got = recv(socket.fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("waiting for the control plane", errno);
    if (got == 0) return fail("the control plane closed the connection", ECONNRESET);
    pending.append(buffer, static_cast<size_t>(got));
    size_t used = 1;
    while (used != 0 && !pending.empty() && !parser.is_done()) {
      boost::system::error_code error;
      used = parser.put(boost::asio::buffer(pending), error);
      if (error && error != http::error::need_more) return fail("the answer is not HTTP: " + error.message());
      pending.erase(0, used);
    }
  }
  return HttpReply{static_cast<int>(parser.get().result_int()), std::move(parser.get().body())};
}

bool ApiClient::alive() const {
  auto reply = http_over_unix(socket_path_, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 5);
  return reply && reply->status == 200;
}

nlohmann::json ApiClient::call(std::string_view service, std::string_view operation,
                               const nlohmann::json& input) const {
  std::string body = input.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string request = fmt::format(
      "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {}.{}\r\n"
      "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
      target_prefix(service), operation, body.size(), body);
  auto reply = http_over_unix(socket_path_, request, kCallSeconds);
  if (!reply) throw api::ApiError{"NoServer", reply.error().message, 0};
  nlohmann::json answer = nlohmann::json::parse(reply->body, nullptr, false);
  if (reply->status == 200 && answer.is_object()) return answer;
  if (!answer.is_object()) throw api::ApiError{"NoServer", "The answer is not JSON: " + reply->body.substr(0, 200), 0};
  throw api::ApiError{answer.value("__type", "InternalFailure"), answer.value("message", ""), reply->status};
}

}  // namespace weir::cli
