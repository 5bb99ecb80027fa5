#include "model/prometheus.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <utility>

namespace weir::model {

namespace {

using Labels = std::vector<std::pair<const char*, std::string>>;

constexpr std::array<const char*, 18> kCodes = {
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED", "none"};

struct Help {
  const char* name;
  const char* text;
};
constexpr Help kHelp[] = {
    {"aws_applicationelb_RequestCount", "Requests for which a target was chosen."},
    {"aws_applicationelb_TargetResponseTime", "Seconds from sending a request to the start of the response."},
    {"weir_grpc_requests_total", "gRPC requests that ended, by method and grpc-status."},
    {"weir_grpc_streams", "gRPC requests that are open, by method."},
    {"weir_grpc_messages_total", "gRPC messages forwarded, by method and direction."},
    {"weir_grpc_duration_seconds", "Seconds from a request's head to the end of its stream."},
    {"weir_target_requests_total", "Requests handed to a target."},
    {"weir_target_failures_total", "Requests that a target lost or reset."},
    {"weir_target_outstanding", "Requests that are open at a target."},
};

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

// Lines of one metric stand together, behind its TYPE.
class Page {
 public:
  std::string& metric(const std::string& name, const char* type) {
    auto [at, fresh] = metrics_.try_emplace(name);
    if (!fresh) return at->second;
    for (const Help& h : kHelp) {
      if (name == h.name) at->second += "# HELP " + name + " " + h.text + "\n";
    }
    at->second += "# TYPE " + name + " " + type + "\n";
    return at->second;
  }
  static void line(std::string& out, const std::string& name, const Labels& labels, const std::string& value) {
    out += name;
    const char* before = "{";
    for (const auto& [key, text] : labels) {
      out += before + std::string(key) + "=\"" + escaped(text) + "\"";
      before = ",";
    }
    out += (labels.empty() ? " " : "} ") + value + "\n";
  }
  void number(const std::string& name, const char* type, const Labels& labels, uint64_t value) {
    line(metric(name, type), name, labels, std::to_string(value));
  }
  void histogram(const std::string& name, Labels labels, const HistogramStats& h);
  std::string text() const {
    std::string out;
    for (const auto& [name, lines] : metrics_) out += lines;
    return out;
  }

 private:
  std::map<std::string, std::string> metrics_;
};

std::string seconds(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

// One bound for each power of two: every fourth bucket, the last of its power.
void Page::histogram(const std::string& name, Labels labels, const HistogramStats& h) {
  constexpr int kFirstPower = 6;   // 64 µs
  constexpr int kLastPower = 35;   // 9.5 h
  std::string& out = metric(name, "histogram");
  labels.emplace_back("le", "");
  uint64_t below = 0;
  auto next = h.buckets.begin();
  for (int power = kFirstPower; power <= kLastPower; ++power) {
    auto end = static_cast<uint16_t>((power - 1) * 4);  // the bucket of 2^power µs
    for (; next != h.buckets.end() && next->index < end; ++next) below += next->count;
    labels.back().second = seconds(static_cast<double>(uint64_t{1} << power) / 1e6);
    line(out, name + "_bucket", labels, std::to_string(below));
  }
  labels.back().second = "+Inf";
  line(out, name + "_bucket", labels, std::to_string(h.count));
  labels.pop_back();
  line(out, name + "_sum", labels, seconds(static_cast<double>(h.sum_micros) / 1e6));
  line(out, name + "_count", labels, std::to_string(h.count));
}

void add_metrics(Page& page, const Labels& labels, const std::vector<Metric>& metrics) {
  for (const Metric& m : metrics) {
    std::string name = m.name.starts_with("weir_") ? m.name : "aws_applicationelb_" + m.name;
    page.number(name, m.gauge ? "gauge" : "counter", labels, m.value);
  }
}

void add_methods(Page& page, const Labels& base, const std::vector<MethodStats>& methods) {
  for (const MethodStats& m : methods) {
    Labels labels = base;
    labels.emplace_back("grpc_method", m.name);
    page.number("weir_grpc_streams", "gauge", labels, m.open);
    page.histogram("weir_grpc_duration_seconds", labels, m.duration);
    labels.emplace_back("direction", "request");
    page.number("weir_grpc_messages_total", "counter", labels, m.request_messages);
    labels.back().second = "response";
    page.number("weir_grpc_messages_total", "counter", labels, m.response_messages);
    labels.back() = {"grpc_status", ""};
    for (size_t code = 0; code < m.by_code.size() && code < kCodes.size(); ++code) {
      if (m.by_code[code] == 0) continue;
      labels.back().second = kCodes[code];
      page.number("weir_grpc_requests_total", "counter", labels, m.by_code[code]);
    }
  }
}

std::string behind(const std::string& arn, std::string_view mark, size_t skip) {
  size_t at = arn.rfind(mark);
  return at == std::string::npos ? arn : arn.substr(at + skip);
}

}  // namespace

std::string load_balancer_dimension(const std::string& arn) {
  constexpr std::string_view kMark = "loadbalancer/";
  return behind(arn, kMark, kMark.size());
}

std::string target_group_dimension(const std::string& arn) {
  constexpr std::string_view kMark = ":targetgroup/";
  return behind(arn, kMark, 1);
}

std::string prometheus_text(const std::vector<BalancerStats>& balancers) {
  Page page;
  for (const BalancerStats& b : balancers) {
    Labels labels{{"LoadBalancer", load_balancer_dimension(b.load_balancer_arn)}};
    add_metrics(page, labels, b.stats.metrics);
    for (const GroupStats& g : b.stats.groups) {
      Labels of_group = labels;
      of_group.emplace_back("TargetGroup", target_group_dimension(g.group_arn));
      if (!g.zone.empty()) of_group.emplace_back("AvailabilityZone", g.zone);
      add_metrics(page, of_group, g.metrics);
      page.histogram("aws_applicationelb_TargetResponseTime", of_group, g.response_time);
    }
    for (const TargetStats& t : b.stats.targets) {
      Labels of_target = labels;
      of_target.emplace_back("TargetGroup", target_group_dimension(t.group_arn));
      of_target.emplace_back("target", t.address + ":" + std::to_string(t.port));
      page.number("weir_target_requests_total", "counter", of_target, t.requests);
      page.number("weir_target_failures_total", "counter", of_target, t.failed);
      page.number("weir_target_outstanding", "gauge", of_target, t.outstanding);
    }
    add_methods(page, labels, b.stats.methods);
    for (const DefenceCount& d : b.stats.defences) {
      Labels of_peer = labels;
      of_peer.emplace_back("side", d.side);
      of_peer.emplace_back("kind", d.kind);
      page.number("weir_defence_" + d.name + "_total", "counter", of_peer, d.value);
    }
  }
  return page.text();
}

void merge(HistogramStats& into, const HistogramStats& from) {
  into.count += from.count;
  into.sum_micros += from.sum_micros;
  for (const HistogramBucket& b : from.buckets) {
    auto at = std::lower_bound(into.buckets.begin(), into.buckets.end(), b.index,
                               [](const HistogramBucket& have, uint16_t index) { return have.index < index; });
    if (at != into.buckets.end() && at->index == b.index) {
      at->count += b.count;
    } else {
      into.buckets.insert(at, b);
    }
  }
}

void add_metric(std::vector<Metric>& into, std::string_view name, uint64_t value, bool gauge) {
  auto found = std::find_if(into.begin(), into.end(), [&](const Metric& m) { return m.name == name; });
  if (found == into.end()) {
    into.push_back({std::string(name), value, gauge});
  } else {
    found->value += value;
  }
}

}  // namespace weir::model
