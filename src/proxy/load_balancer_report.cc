// What a balancer tells about itself: counters, streams, frames; and its logs.
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <mutex>

#include "model/prometheus.h"
#include "proxy/load_balancer.h"
#include "proxy/load_balancer_state.h"

namespace weir::proxy {

namespace {
constexpr Duration kStatsInterval = std::chrono::seconds(1);
constexpr uint32_t kFramesAtSignal = 1024;  // per worker
}  // namespace

template <class T>
void LoadBalancer::gather(std::function<void(Worker&, T&, std::move_only_function<void()>)> ask,
                          std::move_only_function<void(T&)> done) {
  struct Gather {
    std::mutex mutex;
    T sum{};
    size_t left = 0;
    std::move_only_function<void(T&)> done;
  };
  auto state = std::make_shared<Gather>();
  state->left = workers_.size();
  state->done = std::move(done);
  for (auto& w : workers_) {
    w->worker->loop().post([this, state, ask, worker = w->worker.get()] {
      auto part = std::make_shared<T>();
      ask(*worker, *part, [this, state, part] {
        std::lock_guard lock(state->mutex);
        merge_part(state->sum, *part);
        if (--state->left == 0) loop_.post([state] { state->done(state->sum); });
      });
    });
  }
}

void LoadBalancer::merge_part(model::Streams& into, model::Streams& part) {
  into.open += part.open;
  std::move(part.rows.begin(), part.rows.end(), std::back_inserter(into.rows));
}

void LoadBalancer::merge_part(model::Frames& into, model::Frames& part) {
  std::move(part.lines.begin(), part.lines.end(), std::back_inserter(into.lines));
}

static void append(model::Stats& into, model::Stats& from) {
  into.connections += from.connections;
  into.connections_total += from.connections_total;
  into.streams += from.streams;
  into.requests_total += from.requests_total;
  std::move(from.targets.begin(), from.targets.end(), std::back_inserter(into.targets));
  std::move(from.groups.begin(), from.groups.end(), std::back_inserter(into.groups));
  std::move(from.methods.begin(), from.methods.end(), std::back_inserter(into.methods));
  for (const model::Metric& m : from.metrics) model::add_metric(into.metrics, m.name, m.value, m.gauge);
}

// Workers make rows of their own; what belongs together is added up here, on the main thread.
void LoadBalancer::gather_stats(std::move_only_function<void(model::Stats&)> done) {
  struct Gather {
    std::mutex mutex;
    model::Stats stats;
    Defences defences;
    size_t left;
    std::move_only_function<void(model::Stats&)> done;
  };
  auto state = std::make_shared<Gather>();
  state->defences = defences_;
  state->left = workers_.size();
  state->done = std::move(done);
  for (auto& w : workers_) {
    w->worker->loop().post([this, state, worker = w->worker.get()] {
      model::Stats own;
      worker->add_stats(own);
      std::lock_guard lock(state->mutex);
      state->defences.add(worker->defences());
      append(state->stats, own);
      if (--state->left > 0) return;
      loop_.post([this, state] {
        state->defences.append_to(state->stats.defences);
        add_own_stats(state->stats);
        merge_rows(state->stats);
        state->done(state->stats);
      });
    });
  }
}

void LoadBalancer::add_own_stats(model::Stats& stats) const {
  model::add_metric(stats.metrics, "RejectedConnectionCount", defences_.connections_over_limit);
  model::add_metric(stats.metrics, "weir_log_records_lost_total", logs_.lost());
  for (const auto& [arn, g] : groups_) {
    if (!g.in_use) continue;
    std::map<std::string, GroupHosts> zones;
    for (const model::Target& t : g.targets) {
      if (t.draining) continue;
      auto known = health_.find(target_key(arn, t.address, t.port));
      model::TargetState state = known != health_.end() ? known->second.state : t.last_state;
      GroupHosts& hosts = zones[t.zone];
      ++(state == model::TargetState::Healthy ? hosts.healthy : hosts.unhealthy);
    }
    for (const auto& [zone, hosts] : zones) add_hosts(stats, arn, zone, hosts);
  }
}

void LoadBalancer::collect_stats() {
  loop_.arm(stats_timer_, loop_.now() + kStatsInterval);
  if (link_ == nullptr || link_->closed() || link_->unsent_bytes() > 0) return;  // the next one tells it all
  gather_stats([this](model::Stats& stats) { send(stats); });
}

void LoadBalancer::metrics_page(std::move_only_function<void(std::string)> done) {
  gather_stats([this, done = std::move(done)](model::Stats& stats) mutable {
    done(model::prometheus_text({{snapshot_->load_balancer_arn, stats}}));
  });
}

void LoadBalancer::report_streams(model::StreamsRequest request) {
  request.limit = std::min(request.limit, model::kStreamRowsMax);
  request.skip = std::min(request.skip, model::kStreamRowsMax - request.limit);
  gather<model::Streams>(
      [request](Worker& w, model::Streams& part, std::move_only_function<void()> done) {
        w.report_streams(request, [&part, done = std::move(done)](model::Streams found) mutable {
          part = std::move(found);
          done();
        });
      },
      [this, request](model::Streams& all) {
        all.id = request.id;
        arrange(all.rows, request.order, request.skip, request.limit);
        send(all);
      });
}

void LoadBalancer::report_frames(model::FramesRequest request) {
  request.limit = std::min(request.limit, model::kFrameLinesMax);
  gather<model::Frames>(
      [request](Worker& w, model::Frames& part, std::move_only_function<void()> done) {
        part.lines = w.report_frames(request);
        done();
      },
      [this, request](model::Frames& all) {
        all.id = request.id;
        std::sort(all.lines.begin(), all.lines.end());  // each begins with its time
        if (all.lines.size() > request.limit) {
          all.lines.erase(all.lines.begin(), all.lines.end() - static_cast<ptrdiff_t>(request.limit));
        }
        send(all);
      });
}

// SIGUSR1: to standard error, in one piece.
void LoadBalancer::dump_frames() {
  model::FramesRequest request;
  request.limit = kFramesAtSignal;
  gather<model::Frames>(
      [request](Worker& w, model::Frames& part, std::move_only_function<void()> done) {
        part.lines = w.report_frames(request);
        done();
      },
      [](model::Frames& all) {
        std::sort(all.lines.begin(), all.lines.end());
        std::string text = "frames " + std::to_string(all.lines.size()) + "\n";
        for (const std::string& line : all.lines) text += line + "\n";
        [[maybe_unused]] ssize_t n = write(STDERR_FILENO, text.data(), text.size());
      });
}

void LoadBalancer::configure_logs() {
  LogSettings settings;
  settings.access = snapshot_->access_log;
  settings.connection = snapshot_->connection_log;
  settings.health = snapshot_->health_check_log;
  settings.format = snapshot_->log_format;
  settings.load_balancer = model::load_balancer_dimension(snapshot_->load_balancer_arn);
  settings.node = "127.0.0.1";
  for (const auto& [key, l] : listeners_) {
    if (settings.node == "127.0.0.1" || l->socket.vpc_side) settings.node = l->socket.address;
  }
  logs_.configure(std::move(settings));
}

}  // namespace weir::proxy
