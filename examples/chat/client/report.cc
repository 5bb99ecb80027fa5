#include "client/report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace weir::chat {
namespace {

constexpr size_t kLatenciesMax = 2'000'000;
constexpr size_t kSamplesMax = 20;

uint32_t quantile(const std::vector<uint32_t>& sorted, double share) {
  return sorted.empty() ? 0 : sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

void Report::add(const Outcome& outcome) {
  std::lock_guard lock(mutex_);
  Kind& kind = kinds_[outcome.kind];
  kind.total++;
  kind.sent += outcome.sent;
  kind.received += outcome.received;
  if (outcome.failure.empty()) {
    kind.ok++;
    if (outcome.kind == "say" && micros_.size() < kLatenciesMax) micros_.push_back(outcome.micros);
  } else {
    kind.failures[outcome.failure]++;
    if (samples_.size() < kSamplesMax) {
      samples_.push_back(outcome.kind + " " + outcome.failure + ": " + outcome.detail +
                         (outcome.served_by.empty() ? "" : " (task " + outcome.served_by + ")"));
    }
  }
  if (!outcome.served_by.empty()) tasks_[outcome.served_by][outcome.kind]++;
}

uint64_t Report::total() const {
  std::lock_guard lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [name, kind] : kinds_) sum += kind.total;
  return sum;
}

uint64_t Report::failures() const {
  std::lock_guard lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [name, kind] : kinds_) sum += kind.total - kind.ok;
  return sum;
}

void Report::print(double seconds) const {
  std::lock_guard lock(mutex_);
  nlohmann::ordered_json json;
  uint64_t failed = 0;
  std::map<std::string, uint64_t> codes;
  for (const auto& [name, kind] : kinds_) {
    std::printf("%-8s %10llu ended, %llu ok, %llu messages out, %llu in\n", name.c_str(),
                static_cast<unsigned long long>(kind.total), static_cast<unsigned long long>(kind.ok),
                static_cast<unsigned long long>(kind.sent), static_cast<unsigned long long>(kind.received));
    json["kinds"][name] = {{"total", kind.total},       {"ok", kind.ok},
                           {"failed", kind.total - kind.ok}, {"failures", kind.failures},
                           {"messages_sent", kind.sent}, {"messages_received", kind.received}};
    failed += kind.total - kind.ok;
    for (const auto& [code, count] : kind.failures) codes[code] += count;
  }
  for (const std::string& sample : samples_) std::printf("  failed: %s\n", sample.c_str());

  uint64_t most = 0, least = UINT64_MAX;
  for (const auto& [task, counts] : tasks_) {
    uint64_t sum = 0;
    std::string parts;
    for (const auto& [kind, count] : counts) {
      sum += count;
      parts += "  " + kind + " " + std::to_string(count);
    }
    std::printf("  task %-40s %10llu%s\n", task.c_str(), static_cast<unsigned long long>(sum), parts.c_str());
    json["tasks"][task] = counts;
    json["tasks"][task]["all"] = sum;
    most = std::max(most, sum);
    least = std::min(least, sum);
  }
  double spread = tasks_.empty() || most == 0 ? 0 : static_cast<double>(most - least) / static_cast<double>(most);
  std::vector<uint32_t> sorted = micros_;
  std::sort(sorted.begin(), sorted.end());
  std::printf("%zu tasks, spread %.1f %%, %llu failed, %.2f s, unary p50 %u us, p99 %u us\n", tasks_.size(),
              spread * 100, static_cast<unsigned long long>(failed), seconds, quantile(sorted, 0.5),
              quantile(sorted, 0.99));
  json["ok"] = failed == 0;
  json["failed"] = failed;
  json["failures"] = codes;
  json["samples"] = samples_;
  json["task_count"] = tasks_.size();
  json["spread"] = spread;
  json["seconds"] = seconds;
  json["unary_us"] = {{"p50", quantile(sorted, 0.5)}, {"p90", quantile(sorted, 0.9)},
                      {"p99", quantile(sorted, 0.99)}, {"max", sorted.empty() ? 0 : sorted.back()}};
  std::printf("%s\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

}  // namespace weir::chat
