#include "cli/plane_reports.h"

#include <algorithm>
#include <memory>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/support.h"
#include "cli/stream_json.h"
#include "model/prometheus.h"
#include "proxy/stream_report.h"

namespace weir::cli {

using nlohmann::json;

namespace {

constexpr const char* kKind = "elbv2.load-balancer";

struct Named {
  std::string name;
  std::string arn;
};

std::vector<Named> balancers(store::Store& store) {
  std::vector<Named> out;
  for (const auto& document : store.list(kKind)) {
    json body = json::parse(document.body, nullptr, false);
    out.push_back({body.is_object() ? body.value("LoadBalancerName", "") : "", document.id});
  }
  return out;
}

std::vector<Named> chosen(store::Store& store, const json& input) {
  std::string wanted = api::text(input, "LoadBalancer");
  std::vector<Named> all = balancers(store);
  if (wanted.empty()) return all;
  std::erase_if(all, [&](const Named& b) { return b.name != wanted && b.arn != wanted; });
  if (all.empty()) api::raise("LoadBalancerNotFound", fmt::format("No load balancer is called '{}'", wanted));
  return all;
}

uint32_t number(const json& input, const char* key, uint32_t fallback, uint32_t most) {
  int64_t value = api::integer(input, key, fallback);
  if (value < 0 || value > int64_t{most}) {
    api::raise("ValidationError", fmt::format("{} must be between 0 and {}", key, most));
  }
  return static_cast<uint32_t>(value);
}

// Answers of several balancers; `done` hears of all when the last has come.
struct StreamsGather {
  api::Dispatcher::Done done;
  model::StreamsRequest request;
  size_t left;
  uint64_t open = 0;
  std::vector<model::StreamRow> rows;
  json unanswered = json::array();

  void finish() {
    proxy::arrange(rows, request.order, request.skip, request.limit);
    json streams = json::array();
    for (const model::StreamRow& row : rows) streams.push_back(stream_json(row));
    done({{"Open", open}, {"Streams", streams}, {"Unanswered", unanswered}});
  }
};

void describe_streams(store::Store& store, control::Controller& controller, const json& input,
                      api::Dispatcher::Done done) {
  model::StreamsRequest request;
  auto order = stream_order(api::text(input, "Order", "rate"));
  if (!order) api::raise("ValidationError", "Order is one of rate, bytes, messages, age, idle, blocked");
  request.order = *order;
  request.limit = number(input, "Limit", 100, model::kStreamRowsMax);
  request.skip = number(input, "Skip", 0, model::kStreamRowsMax - request.limit);
  request.filter = api::text(input, "Filter");
  std::vector<Named> asked = chosen(store, input);
  auto gather = std::make_shared<StreamsGather>();
  gather->done = std::move(done);
  gather->request = request;
  gather->left = asked.size();
  if (asked.empty()) return gather->finish();
  model::StreamsRequest each = request;  // pages are cut from what all of them have
  each.limit += each.skip;
  each.skip = 0;
  for (const Named& balancer : asked) {
    controller.streams(balancer.arn, each, [gather, name = balancer.name](std::optional<model::Streams> answer) {
      if (answer) {
        gather->open += answer->open;
        std::move(answer->rows.begin(), answer->rows.end(), std::back_inserter(gather->rows));
      } else {
        gather->unanswered.push_back(name);
      }
      if (--gather->left == 0) gather->finish();
    });
  }
}

struct FramesGather {
  api::Dispatcher::Done done;
  size_t left;
  json lines = json::array();
  json unanswered = json::array();
};

void describe_frames(store::Store& store, control::Controller& controller, const json& input,
                     api::Dispatcher::Done done) {
  model::FramesRequest request;
  request.limit = number(input, "Limit", 1000, model::kFrameLinesMax);
  request.connection = number(input, "Connection", 0, 0xffffff);
  request.stream_id = number(input, "Stream", 0, 0x7fffffff);
  std::vector<Named> asked = chosen(store, input);
  auto gather = std::make_shared<FramesGather>();
  gather->done = std::move(done);
  gather->left = asked.size();
  if (asked.empty()) return gather->done({{"Lines", json::array()}, {"Unanswered", json::array()}});
  for (const Named& balancer : asked) {
    bool several = asked.size() > 1;
    controller.frames(balancer.arn, request,
                      [gather, several, name = balancer.name](std::optional<model::Frames> answer) {
      if (!answer) {
        gather->unanswered.push_back(name);
      } else {
        for (std::string& line : answer->lines) gather->lines.push_back(several ? line + " lb=" + name : line);
      }
      if (--gather->left == 0) gather->done({{"Lines", gather->lines}, {"Unanswered", gather->unanswered}});
    });
  }
}

}  // namespace

std::string metrics_text(store::Store& store, const control::Controller& controller) {
  std::vector<model::BalancerStats> all;
  for (const Named& balancer : balancers(store)) {
    if (auto stats = controller.stats(balancer.arn)) all.push_back({balancer.arn, std::move(*stats)});
  }
  return model::prometheus_text(all);
}

void add_report_operations(api::Dispatcher& dispatcher, store::Store& store, control::Controller& controller) {
  dispatcher.add_deferred("weir", "DescribeStreams", [&](const json& input, api::Dispatcher::Done done) {
    describe_streams(store, controller, input, std::move(done));
  });
  dispatcher.add_deferred("weir", "DescribeFrames", [&](const json& input, api::Dispatcher::Done done) {
    describe_frames(store, controller, input, std::move(done));
  });
}

}  // namespace weir::cli
