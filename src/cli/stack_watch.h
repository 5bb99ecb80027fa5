// Follows a stack's events until it comes to rest.
#pragma once

#include <functional>
#include <set>
#include <vector>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cli/api_client.h"

namespace weir::cli {

class StackWatch {
 public:
  // Events that exist already are not shown.
  StackWatch(const ApiClient& client, std::string stack);

  // The stack may also be named by its id: a deleted stack is found only so.
  void follow(std::string stack_id) { stack_ = std::move(stack_id); }

  enum class End { AtRest, Timeout, Interrupted };
  // Prints new events with the elapsed time until the stack's status ends in _COMPLETE or _FAILED.
  End run(int timeout_seconds, const std::function<bool()>& interrupted);
  // Status at the end, "" when the stack does not exist any more.
  const std::string& status() const { return status_; }
  const std::string& reason() const { return reason_; }
  // The first failures among the events shown: "LogicalId (Type): reason".
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  void show_new_events();
  void read_status();

  const ApiClient& client_;
  std::string stack_;
  std::string status_;
  std::string reason_;
  std::set<std::string> seen_;
  std::vector<std::string> failures_;
  double elapsed_ = 0;
};

// Whether a stack with this status is at rest.
bool at_rest(const std::string& status);

}  // namespace weir::cli
