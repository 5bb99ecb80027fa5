#include <unistd.h>

#include <ctime>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/server_start.h"

namespace weir::cli {

using nlohmann::json;

namespace {

constexpr useconds_t kPollMicroseconds = 250'000;

std::string time_text(int64_t ms) {
  std::time_t seconds = ms / 1000;
  std::tm broken{};
  gmtime_r(&seconds, &broken);
  char text[32];
  std::strftime(text, sizeof text, "%H:%M:%S", &broken);
  return fmt::format("{}.{:03}", text, ms % 1000);
}

struct Line {
  int64_t timestamp = 0;
  std::string source;
  json event;
};

// Reads what is new of each container and prints it in order of time.
void print_new(const ApiClient& client, const Options& options, std::map<std::string, int64_t>& offsets) {
  json found = client.call("weir", "FindLogs", {{"Name", options.logs.name}});
  std::multimap<int64_t, Line> lines;
  for (const auto& container : found["Containers"]) {
    std::string id = container.value("ContainerId", "");
    json input{{"ContainerId", id}};
    if (offsets.contains(id)) {
      input["Offset"] = offsets[id];
    } else if (options.logs.tail > 0) {
      input["Tail"] = options.logs.tail;
    }
    json page = client.call("weir", "ReadLog", input);
    offsets[id] = page.value("NextOffset", int64_t{0});
    std::string source = container.value("Task", "").substr(0, 8) + " " + container.value("Container", "");
    for (const auto& event : page["Events"]) {
      int64_t timestamp = event.value("Timestamp", int64_t{0});
      lines.emplace(timestamp, Line{timestamp, source, event});
    }
  }
  for (const auto& [timestamp, line] : lines) {
    if (options.common.json) {
      json event = line.event;
      event["Source"] = line.source;
      print(event.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
    } else {
      print(fmt::format("{} {}  {}\n", paint(Color::Dim, time_text(timestamp)), paint(Color::Dim, line.source),
                        line.event.value("Message", "")));
    }
  }
}

int print_frames(const ApiClient& client, const Options& options) {
  json input{{"LoadBalancer", options.logs.name}};
  if (options.logs.tail > 0) input["Limit"] = options.logs.tail;
  if (options.logs.connection > 0) input["Connection"] = options.logs.connection;
  if (options.logs.stream > 0) input["Stream"] = options.logs.stream;
  json answer = client.call("weir", "DescribeFrames", input);
  if (options.common.json) {
    print_json(answer);
  } else {
    for (const auto& line : answer["Lines"]) print(line.get<std::string>() + "\n");
  }
  for (const auto& name : answer["Unanswered"]) {
    note(fmt::format("weir logs: load balancer {} does not answer; `weir status` shows its state\n",
                     name.get<std::string>()));
  }
  return answer["Unanswered"].empty() ? kOk : kFailed;
}

}  // namespace

int logs(const Options& options) {
  auto client = existing_server(options.common);
  if (!client) {
    note(fmt::format("weir logs: {}\n", client.error().message));
    return kNoServer;
  }
  if (options.logs.frames) return print_frames(*client, options);
  std::map<std::string, int64_t> offsets;
  print_new(*client, options, offsets);
  // Long logs come in pages.
  for (int64_t before = -1, now = 0; before != now && !options.logs.follow;) {
    before = 0;
    for (const auto& [id, offset] : offsets) before += offset;
    print_new(*client, options, offsets);
    now = 0;
    for (const auto& [id, offset] : offsets) now += offset;
  }
  if (!options.logs.follow) return kOk;
  catch_interrupts();
  while (!interrupted()) {
    usleep(kPollMicroseconds);
    print_new(*client, options, offsets);
  }
  return kInterrupted;
}

}  // namespace weir::cli
