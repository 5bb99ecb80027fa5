// From HTTP to operations: finds service and operation of a request (AWS JSON 1.1 by X-Amz-Target), runs it
// through the dispatcher, writes the answer or the error as that protocol has it.
//
// Who may call: the unix socket is protected by its file mode. On TCP the API trusts its own machine, so a
// request that a web page of another origin could have caused is refused (Host must name this machine, and
// an Origin must be the API's own).
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "api/dispatcher.h"
#include "api/wire/http_server.h"
#include "base/random.h"

namespace weir::api {

class Front {
 public:
  // Runs after an operation succeeded, before its answer leaves: calls `done` when the answer may go.
  using Gate = std::function<void(std::string_view service, std::string_view operation, const nlohmann::json& input,
                                  std::move_only_function<void()> done)>;

  // What GET /metrics answers: Prometheus' text format.
  using Metrics = std::function<std::string()>;

  Front(const Dispatcher& dispatcher, Random& random, Gate gate = {}, Metrics metrics = {});
  void handle(const HttpRequest& request, HttpServer::Respond respond) const;

 private:
  void handle_json(const HttpRequest& request, HttpServer::Respond respond) const;
  HttpResponse success(const nlohmann::json& output) const;

  const Dispatcher& dispatcher_;
  Random& random_;
  Gate gate_;
  Metrics metrics_;
};

// The service whose target prefix this is ("AmazonEC2ContainerServiceV20141113" → "ecs"); "" unknown.
std::string_view service_of_target(std::string_view prefix);
// Whether a Host header names this machine: a loopback address, localhost or a name under .localhost.
bool is_local_host(std::string_view host);

}  // namespace weir::api
