// The operations of the AWS API, by service and name. A handler is a function from a validated input
// document to an output document; it records intent in the store and returns at once. Wire formats are
// not its business: the HTTP front, the command line and CloudFormation call the same operations.
//
// Thread: the control thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json_fwd.hpp>

namespace weir::api {

// Thrown by handlers, caught by the wire layer and by CloudFormation. `code` and `message` are AWS's.
struct ApiError {
  std::string code;
  std::string message;
  int http_status = 400;
};

class Dispatcher {
 public:
  using Handler = std::function<nlohmann::json(const nlohmann::json& input)>;
  // For what has to be asked elsewhere first: calls `done` once, then or later. May throw ApiError before it returns.
  using Done = std::move_only_function<void(nlohmann::json output)>;
  using DeferredHandler = std::function<void(const nlohmann::json& input, Done done)>;

  // service: "ec2", "elbv2", "ecs", "acm", "logs", "iam", "cloudformation", "weir".
  void add(std::string service, std::string operation, Handler handler);
  void add_deferred(std::string service, std::string operation, DeferredHandler handler);
  // nullptr: it is no such operation.
  const DeferredHandler* deferred(std::string_view service, std::string_view operation) const;
  bool knows(std::string_view service, std::string_view operation) const;
  // Runs the operation; throws ApiError. Each handler makes its own store transaction.
  nlohmann::json call(std::string_view service, std::string_view operation, const nlohmann::json& input) const;

 private:
  std::map<std::pair<std::string, std::string>, Handler> handlers_;
  std::map<std::pair<std::string, std::string>, DeferredHandler> deferred_;
};

}  // namespace weir::api
