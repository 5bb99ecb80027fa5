#include "api/dispatcher.h"

#include <nlohmann/json.hpp>

namespace weir::api {

void Dispatcher::add(std::string service, std::string operation, Handler handler) {
  handlers_[{std::move(service), std::move(operation)}] = std::move(handler);
}

void Dispatcher::add_deferred(std::string service, std::string operation, DeferredHandler handler) {
  deferred_[{std::move(service), std::move(operation)}] = std::move(handler);
}

const Dispatcher::DeferredHandler* Dispatcher::deferred(std::string_view service, std::string_view operation) const {
  auto found = deferred_.find({std::string(service), std::string(operation)});
  return found == deferred_.end() ? nullptr : &found->second;
}

bool Dispatcher::knows(std::string_view service, std::string_view operation) const {
  return handlers_.contains({std::string(service), std::string(operation)}) ||
         deferred(service, operation) != nullptr;
}

nlohmann::json Dispatcher::call(std::string_view service, std::string_view operation,
                                const nlohmann::json& input) const {
  auto found = handlers_.find({std::string(service), std::string(operation)});
  if (found == handlers_.end()) {
    throw ApiError{"InvalidAction",
                   "The action " + std::string(operation) + " is not valid for this web service.", 400};
  }
  return found->second(input);
}

}  // namespace weir::api
