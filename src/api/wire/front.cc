#include "api/wire/front.h"

#include <nlohmann/json.hpp>

namespace weir::api {
namespace {

struct Target {
  std::string_view prefix;
  std::string_view service;
};
constexpr Target kTargets[] = {
    {"AmazonEC2ContainerServiceV20141113", "ecs"},
    {"Logs_20140328", "logs"},
    {"CertificateManager", "acm"},
    {"CloudFormation_20100515", "cloudformation"},
    {"ElasticLoadBalancing_v10", "elbv2"},
    {"AmazonEC2", "ec2"},
    {"AWSIdentityManagementV20100508", "iam"},
    {"AWSSecurityTokenServiceV20110615", "sts"},
    {"Weir", "weir"},
};

HttpResponse json_error(const ApiError& error) {
  HttpResponse response;
  response.status = error.http_status;
  response.content_type = "application/x-amz-json-1.1";
  response.body = nlohmann::json{{"__type", error.code}, {"message", error.message}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
  return response;
}

HttpResponse plain(int status, std::string text) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain";
  response.body = std::move(text);
  return response;
}

std::string_view host_of_origin(std::string_view origin) {
  size_t scheme = origin.find("://");
  return scheme == std::string_view::npos ? std::string_view{} : origin.substr(scheme + 3);
}

}  // namespace

std::string_view service_of_target(std::string_view prefix) {
  for (const auto& target : kTargets) {
    if (target.prefix == prefix) return target.service;
  }
  return {};
}

bool is_local_host(std::string_view host) {
  if (host.starts_with("[::1]")) return true;
  std::string_view name = host.substr(0, host.find(':'));
  if (name == "localhost" || name.ends_with(".localhost")) return true;
  return name.starts_with("127.") && name.find_first_not_of("0123456789.") == std::string_view::npos;
}

Front::Front(const Dispatcher& dispatcher, Random& random, Gate gate, Metrics metrics)
    : dispatcher_(dispatcher), random_(random), gate_(std::move(gate)), metrics_(std::move(metrics)) {}

void Front::handle(const HttpRequest& request, HttpServer::Respond respond) const {
  if (!request.local_socket) {
    std::string host = request.header("host");
    std::string origin = request.header("origin");
    if (!is_local_host(host)) {
      return respond(plain(403, "This API answers only to names of this machine, not to '" + host + "'.\n"));
    }
    if (!origin.empty() && host_of_origin(origin) != host) {
      return respond(plain(403, "Requests of web pages from '" + origin + "' are refused.\n"));
    }
  }
  if (request.method == "GET" && request.target == "/health") return respond(plain(200, "ok\n"));
  if (request.method == "GET" && request.target == "/metrics" && metrics_) {
    HttpResponse page = plain(200, metrics_());
    page.content_type = "text/plain; version=0.0.4; charset=utf-8";
    return respond(std::move(page));
  }
  if (request.method != "POST") return respond(plain(405, "The API takes POST requests.\n"));
  if (request.headers.contains("x-amz-target")) return handle_json(request, std::move(respond));
  respond(json_error({"MissingAction", "The request has no X-Amz-Target.", 400}));
}

HttpResponse Front::success(const nlohmann::json& output) const {
  HttpResponse response;
  response.content_type = "application/x-amz-json-1.1";
  response.body = output.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  response.headers.emplace_back("x-amzn-RequestId", random_.uuid());
  return response;
}

void Front::handle_json(const HttpRequest& request, HttpServer::Respond respond) const {
  std::string target = request.header("x-amz-target");
  size_t dot = target.rfind('.');
  std::string prefix = target.substr(0, dot);
  std::string operation = dot == std::string::npos ? "" : target.substr(dot + 1);
  std::string service(service_of_target(prefix));
  if (service.empty() || !dispatcher_.knows(service, operation)) {
    return respond(json_error({"UnknownOperationException", "The operation " + target + " is not known here.", 400}));
  }
  nlohmann::json input = nlohmann::json::object();
  if (!request.body.empty()) input = nlohmann::json::parse(request.body, nullptr, false);
  if (!input.is_object()) {
    return respond(json_error({"SerializationException", "The body is not a JSON object.", 400}));
  }
  try {
    if (const auto* deferred = dispatcher_.deferred(service, operation)) {
      auto answer = std::make_shared<HttpServer::Respond>(std::move(respond));
      respond = [answer](HttpResponse response) { (*answer)(std::move(response)); };
      return (*deferred)(input, [this, answer](nlohmann::json output) { (*answer)(success(output)); });
    }
    HttpResponse response = success(dispatcher_.call(service, operation, input));
    if (!gate_) return respond(std::move(response));
    gate_(service, operation, input,
          [respond = std::move(respond), response = std::move(response)]() mutable { respond(std::move(response)); });
  } catch (const ApiError& error) {
    respond(json_error(error));
  } catch (const std::exception& error) {
    respond(json_error({"InternalFailure", error.what(), 500}));
  }
}

}  // namespace weir::api
