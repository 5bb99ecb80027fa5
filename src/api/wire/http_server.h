// A small HTTP/1.1 server on the loop, for the control API: one request at a time per connection,
// keep-alive, bounded in every direction. Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "net/loop.h"

namespace weir::api {

struct HttpRequest {
  std::string method;
  std::string target;                          // path and query
  std::map<std::string, std::string> headers;  // lower-case names; repeated ones joined by ", "
  std::string body;
  bool local_socket = false;                   // came by the unix socket
  std::string header(const std::string& name) const;  // "" when absent
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

struct HttpLimits {
  size_t header_bytes = 32 * 1024;
  size_t body_bytes = 8 * 1024 * 1024;
  size_t connections = 256;
  Duration request_time = std::chrono::seconds(30);  // from the first byte of a request to its last
  Duration idle_time = std::chrono::seconds(75);     // between requests, and for an answer to be read
};

class HttpServer {
 public:
  using Respond = std::move_only_function<void(HttpResponse)>;
  // Called with each whole request; `respond` is called once, now or later, on the loop's thread. It may
  // outlive the connection (the answer is dropped) but not the server.
  using Handler = std::function<void(const HttpRequest& request, Respond respond)>;

  HttpServer(net::Loop& loop, HttpLimits limits, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Takes over a listening, non-blocking socket.
  void serve(int listen_fd, bool local_socket);
  size_t connections() const;

  struct Impl;  // for the parts of the implementation

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::api
