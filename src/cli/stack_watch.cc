#include "cli/stack_watch.h"

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/dispatcher.h"
#include "base/clock.h"
#include "cli/output.h"

namespace weir::cli {

using nlohmann::json;

namespace {

constexpr useconds_t kPollMicroseconds = 200'000;
constexpr size_t kFailuresMax = 5;

json events_of(const ApiClient& client, const std::string& stack) {
  try {
    return client.call("cloudformation", "DescribeStackEvents", {{"StackName", stack}})
        .value("StackEvents", json::array());
  } catch (const api::ApiError& error) {
    if (error.code == "ValidationError") return json::array();
    throw;
  }
}

}  // namespace

bool at_rest(const std::string& status) {
  return (status.ends_with("_COMPLETE") || status.ends_with("_FAILED")) && !status.ends_with("_IN_PROGRESS");
}

StackWatch::StackWatch(const ApiClient& client, std::string stack) : client_(client), stack_(std::move(stack)) {
  for (const auto& event : events_of(client_, stack_)) seen_.insert(event.value("EventId", ""));
}

void StackWatch::show_new_events() {
  json events = events_of(client_, stack_);
  for (auto at = events.rbegin(); at != events.rend(); ++at) {
    if (!seen_.insert(at->value("EventId", "")).second) continue;
    std::string status = at->value("ResourceStatus", "");
    std::string reason = at->value("ResourceStatusReason", "");
    std::string name = at->value("LogicalResourceId", "");
    std::string type = at->value("ResourceType", "");
    note(fmt::format("{:>7.1f}s  {:<28} {} {}\n", elapsed_, paint(color_of_status(status), status, false), name,
                     paint(Color::Dim, type, false)));
    if (!reason.empty()) note(fmt::format("          {}\n", reason));
    bool failed = status.ends_with("_FAILED") && reason.find("cancelled") == std::string::npos;
    if (failed && failures_.size() < kFailuresMax) failures_.push_back(fmt::format("{} ({}): {}", name, type, reason));
  }
}

void StackWatch::read_status() {
  try {
    json stack = client_.call("cloudformation", "DescribeStacks", {{"StackName", stack_}})["Stacks"][0];
    status_ = stack.value("StackStatus", "");
    reason_ = stack.value("StackStatusReason", "");
  } catch (const api::ApiError& error) {
    if (error.code != "ValidationError") throw;
    status_.clear();
  }
}

StackWatch::End StackWatch::run(int timeout_seconds, const std::function<bool()>& interrupted) {
  SystemClock clock;
  TimePoint start = clock.now();
  while (true) {
    elapsed_ = std::chrono::duration<double>(clock.now() - start).count();
    read_status();
    show_new_events();
    if (status_.empty() || at_rest(status_)) return End::AtRest;
    if (interrupted()) return End::Interrupted;
    if (elapsed_ > timeout_seconds) return End::Timeout;
    usleep(kPollMicroseconds);
  }
}

}  // namespace weir::cli
