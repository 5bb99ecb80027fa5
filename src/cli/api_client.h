// Calls operations of the control plane over its unix socket. Blocking, one connection per call.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace weir::cli {

class ApiClient {
 public:
  explicit ApiClient(std::string socket_path) : socket_path_(std::move(socket_path)) {}

  // Whether a control plane answers.
  bool alive() const;
  // The operation's output. An error of the operation throws api::ApiError; a control plane that does not
  // answer throws api::ApiError{"NoServer", …, 0}.
  nlohmann::json call(std::string_view service, std::string_view operation, const nlohmann::json& input) const;
  const std::string& socket_path() const { return socket_path_; }

 private:
  std::string socket_path_;
};

struct HttpReply {
  int status = 0;
  std::string body;
};
// One HTTP/1.1 request over a unix socket; an answer that takes longer than `timeout_seconds` is an error.
Result<HttpReply> http_over_unix(const std::string& socket_path, const std::string& request, int timeout_seconds);

std::string api_socket_path(const std::string& state_dir);

}  // namespace weir::cli
