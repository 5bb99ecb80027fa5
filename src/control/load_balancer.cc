#include "control/load_balancer.h"

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/addresses.h"
#include "control/balancer_state.h"
#include "control/documents.h"
#include "control/ecs_documents.h"
#include "control/snapshot_builder.h"

namespace weir::control {

namespace {
constexpr Duration kConnectRetry = std::chrono::milliseconds(20);
constexpr Duration kFindRetry = std::chrono::milliseconds(50);
constexpr Duration kHealthyLife = std::chrono::seconds(10);  // a process that lived this long restarts at once
constexpr uint32_t kLoopback = 0x7f000001;
constexpr int kLoopbackAddressesMax = 250;

std::vector<std::string> subnets_of(const Json& balancer) {
  std::vector<std::string> out;
  for (const Json& zone : list(balancer, "AvailabilityZones")) out.push_back(text(zone, "SubnetId"));
  return out;
}

bool in_host_network(store::Store& store, const Json& balancer) {
  auto vpc = load(store, kind::kVpc, text(balancer, "VpcId"));
  return !vpc || flag(weir_of(*vpc), "default");
}
}  // namespace

LoadBalancers::LoadBalancers(Context& context, BalancerProcesses& processes)
    : context_(context), processes_(processes), firewalls_(context.store), queries_(context.loop) {}

LoadBalancers::~LoadBalancers() {
  // The processes go on; only our ends are closed.
  for (auto& [arn, b] : balancers_) {
    b->link.reset();
    b->pid_watch.reset();
    processes_.release(b->process);
  }
}

LoadBalancers::Balancer& LoadBalancers::balancer(const std::string& arn) {
  auto& slot = balancers_[arn];
  if (!slot) slot = std::make_unique<Balancer>();
  return *slot;
}

void LoadBalancers::wake_all() {
  firewalls_.invalidate();
  for (const auto& document : context_.store.list(kind::kLoadBalancer)) wake(document.id);
}

StepResult LoadBalancers::step(const std::string& arn) {
  auto document = load(context_.store, kind::kLoadBalancer, arn);
  if (!document && !balancers_.contains(arn)) return StepResult::done();
  if (!document || flag(weir_of(*document), "deleting")) return remove(arn);
  Balancer& b = balancer(arn);
  if (auto end = ensure_address(arn, *document)) return *end;
  if (auto end = ensure_interfaces(arn, *document, b)) return *end;
  if (auto end = ensure_process(arn, b)) return *end;
  if (auto end = ensure_link(arn, b)) return *end;
  ensure_sockets(arn, *document, b);
  firewalls_.invalidate();
  const ControllerOptions& options = context_.options;
  SnapshotInputs inputs{context_.store, context_.health, firewalls_, context_.clock.unix_ms(),
                        {options.state_dir + "/s3", options.account, options.region}};
  auto snapshot = build_snapshot(inputs, *document);
  std::string error;
  if (snapshot) {
    make_log_folders(b, *snapshot);
    b.link->set_wanted(std::move(*snapshot));
  } else {
    error = snapshot.error().message;
  }
  b.generation = std::max(b.generation, b.link->generation());
  announce_sockets(b);
  return write_state(arn, b, error);
}

// A folder that cannot be made costs the records, and no request.
void LoadBalancers::make_log_folders(Balancer& b, const model::RoutingSnapshot& snapshot) {
  for (const model::LogFiles* log : {&snapshot.access_log, &snapshot.connection_log, &snapshot.health_check_log}) {
    if (log->directory.empty() || !b.log_folders.insert(log->directory).second) continue;
    auto made = make_log_folder(log->directory, context_.options.lb_user);
    if (!made) log_warning(made.error().message + "; the records of this log are lost");
  }
}

std::optional<StepResult> LoadBalancers::ensure_address(const std::string& arn, Json& document) {
  if (!text(weir_of(document), "address").empty()) return std::nullopt;
  std::set<std::string> taken;
  for (const auto& [other, json] : load_all(context_.store, kind::kLoadBalancer)) {
    taken.insert(text(weir_of(json), "address"));
  }
  for (uint32_t i = 0; i < kLoopbackAddressesMax; ++i) {
    std::string address = format_ipv4(kLoopback + i);
    if (taken.contains(address)) continue;
    document["weir"]["address"] = address;
    auto saved = save(context_.store, kind::kLoadBalancer, arn, document);
    if (!saved) return StepResult::failed(saved.error().message);
    return std::nullopt;
  }
  return StepResult::failed("no loopback address is left for load balancer " + arn);
}

Result<void> LoadBalancers::create_interfaces(const std::string& arn, const Json& document,
                                              const std::vector<std::string>& subnets) {
  return context_.store.transaction([&]() -> Result<void> {
    std::map<std::string, std::string> existing;  // subnet -> interface
    std::string primary;
    for (const auto& [id, eni] : load_all(context_.store, kind::kNetworkInterface)) {
      if (text(weir_of(eni), "owner") != arn) continue;
      existing[text(eni, "SubnetId")] = id;
      if (!has(weir_of(eni), "primary")) primary = id;
    }
    for (const std::string& subnet : subnets) {
      if (existing.contains(subnet)) continue;
      WEIR_TRY_ASSIGN(std::string address, allocate_address(context_.store, subnet));
      auto place = load(context_.store, kind::kSubnet, subnet);
      std::string id = "eni-" + context_.random.hex(17);
      Json eni{{"NetworkInterfaceId", id}, {"VpcId", text(document, "VpcId")}, {"SubnetId", subnet},
               {"AvailabilityZone", place ? text(*place, "AvailabilityZone") : ""},
               {"PrivateIpAddress", address}, {"Groups", Json::array()},
               {"Description", "ELB " + arn.substr(arn.find("loadbalancer/") + 13)}, {"Status", "pending"},
               {"InterfaceType", "interface"}, {"RequesterManaged", true},
               {"weir", {{"owner", arn}}}};
      if (primary.empty()) {
        primary = id;
      } else {
        eni["weir"]["primary"] = primary;
      }
      WEIR_TRY(save(context_.store, kind::kNetworkInterface, id, eni));
    }
    return {};
  });
}

std::optional<StepResult> LoadBalancers::ensure_interfaces(const std::string& arn, const Json& document,
                                                           Balancer& b) {
  std::vector<std::string> subnets = subnets_of(document);
  b.netns.clear();
  b.vpc_addresses.clear();
  if (subnets.empty() || in_host_network(context_.store, document)) return std::nullopt;
  if (auto made = create_interfaces(arn, document, subnets); !made) return StepResult::failed(made.error().message);
  Json groups = Json::array();
  for (const std::string& id : texts(document, "SecurityGroups")) groups.push_back({{"GroupId", id}});
  bool pending = false;
  for (auto& [id, eni] : load_all(context_.store, kind::kNetworkInterface)) {
    if (text(weir_of(eni), "owner") != arn) continue;
    bool primary = !has(weir_of(eni), "primary");
    bool wanted = std::find(subnets.begin(), subnets.end(), text(eni, "SubnetId")) != subnets.end();
    if (!wanted && !primary) eni["weir"]["deleting"] = true;
    eni["Groups"] = groups;
    auto saved = save(context_.store, kind::kNetworkInterface, id, eni);
    if (!saved) return StepResult::failed(saved.error().message);
    if (!wanted) continue;
    // After a restart of the machine the document says in-use before the namespace is there again; the
    // driver call that needs it fails then and is repeated.
    if (text(eni, "Status") != "in-use") pending = true;
    if (primary) {
      b.primary_eni = id;
      b.netns = text(weir_of(eni), "netns");
    }
    b.vpc_addresses.push_back(text(eni, "PrivateIpAddress"));
  }
  if (pending || b.netns.empty()) return StepResult::done();  // the network reconciler wakes us
  return std::nullopt;
}

StepResult LoadBalancers::write_state(const std::string& arn, const Balancer& b, const std::string& snapshot_error) {
  auto document = load(context_.store, kind::kLoadBalancer, arn);
  if (!document) return StepResult::done();
  std::string reason = snapshot_error;
  for (const auto& [key, error] : b.bind_errors) {
    if (reason.empty()) reason = error;
  }
  bool announced = std::all_of(b.sockets.begin(), b.sockets.end(), [](const auto& s) { return s.second.announced; });
  bool ready = b.link->acknowledged() && announced && b.bind_jobs.empty() && reason.empty();
  const Json& before = member(*document, "State");
  std::string code = text(before, "Code", "provisioning");
  // An active load balancer whose process restarts stays active, as AWS shows it.
  std::string next = !reason.empty() ? "failed" : ready ? "active" : code == "failed" ? "provisioning" : code;
  Json state{{"Code", next}};
  if (!reason.empty()) state["Reason"] = reason;
  (*document)["State"] = state;
  (*document)["weir"]["pid"] = b.process.pid;
  if (next != code) (*document)["weir"]["generation"] = b.link->generation();  // worth no write of its own
  Json endpoints = Json::array();
  for (const auto& [key, open] : b.sockets) {
    if (open.socket.vpc_side) continue;
    endpoints.push_back({{"listener_arn", open.socket.listener_arn}, {"address", open.socket.address},
                         {"port", open.socket.bound_port}});
  }
  (*document)["weir"]["endpoints"] = endpoints;
  Json enis = Json::array();
  for (const auto& [id, eni] : load_all(context_.store, kind::kNetworkInterface)) {
    if (text(weir_of(eni), "owner") == arn) enis.push_back(id);
  }
  (*document)["weir"]["enis"] = enis;
  if (auto saved = save(context_.store, kind::kLoadBalancer, arn, *document); !saved) {
    return StepResult::failed(saved.error().message);
  }
  if (reason.empty()) return StepResult::done();
  log_warning("load balancer " + last_part(arn) + ": " + reason);
  return StepResult::requeue_after(context_.options.port_retry);
}

std::optional<StepResult> LoadBalancers::ensure_process(const std::string& arn, Balancer& b) {
  if (b.process.pid != 0 && !processes_.alive(b.process)) note_death(arn, b);
  if (b.process.pid != 0) return std::nullopt;
  BalancerSpec spec = spec_of(arn, b.netns);
  if (!b.looked_for) {
    auto found = processes_.find(spec);
    if (!found) {
      log_warning("load balancer " + last_part(arn) + ": " + found.error().message);
      return StepResult::requeue_after(kFindRetry);
    }
    b.looked_for = true;
    if (found->pid != 0) {
      log_info("balancer adopted pid=" + std::to_string(found->pid) + " arn=" + arn);
      adopt(arn, b, *found);
      return std::nullopt;
    }
    wake_targets(arn);  // nobody holds a stream: what drains is done
  }
  TimePoint now = context_.loop.now();
  if (now < b.restart_at) return StepResult::requeue_after(b.restart_at - now);
  ::unlink(spec.link_path.c_str());  // of a dead process: nobody may connect to it
  auto started = processes_.start(spec);
  if (!started) return StepResult::failed(started.error().message);
  b.started_at = now;
  log_info("balancer started pid=" + std::to_string(started->pid) + " arn=" + arn);
  adopt(arn, b, *started);
  return std::nullopt;
}

void LoadBalancers::adopt(const std::string& arn, Balancer& b, BalancerProcess process) {
  b.process = process;
  if (process.pidfd < 0) return;
  b.pid_watch = std::make_unique<PidWatch>(context_.loop, process.pidfd, [this, arn] { wake(arn); });
}

void LoadBalancers::note_death(const std::string& arn, Balancer& b) {
  TimePoint now = context_.loop.now();
  log_warning("balancer ended pid=" + std::to_string(b.process.pid) + " arn=" + arn);
  b.pid_watch.reset();
  b.link.reset();
  processes_.release(b.process);
  for (auto& [key, open] : b.sockets) open.announced = false;
  b.early_deaths = now - b.started_at >= kHealthyLife ? 0 : b.early_deaths + 1;
  Duration wait = context_.options.lb_restart_min;
  for (int i = 1; i < b.early_deaths && wait < context_.options.lb_restart_max; ++i) wait *= 2;
  b.restart_at = now + std::min(wait, context_.options.lb_restart_max);
  b.has_stats = false;
  b.idle_reports.clear();
  wake_targets(arn);
}

std::optional<StepResult> LoadBalancers::ensure_link(const std::string& arn, Balancer& b) {
  TimePoint now = context_.loop.now();
  bool stuck = b.link && !b.link->welcomed() && now - b.linked_at > context_.options.lb_welcome_bound;
  if (stuck) log_warning("balancer does not answer pid=" + std::to_string(b.process.pid) + " arn=" + arn);
  if (b.link && (b.link->closed() || stuck)) b.link.reset();
  if (!b.link) {
    auto fd = net::connect_unix(spec_of(arn, b.netns).link_path);
    if (!fd) return StepResult::requeue_after(kConnectRetry);
    for (auto& [key, open] : b.sockets) open.announced = false;
    b.linked_at = now;
    b.link = std::make_unique<BalancerLink>(context_.loop, *fd, b.generation, link_events(arn));
  }
  if (!b.link->welcomed()) return StepResult::requeue_after(context_.options.lb_welcome_bound);
  return std::nullopt;
}

BalancerSpec LoadBalancers::spec_of(const std::string& arn, const std::string& netns) const {
  std::string base = context_.options.state_dir + "/lb/" + last_part(arn);
  BalancerSpec spec;
  spec.arn = arn;
  spec.netns_path = netns;
  spec.link_path = base + ".sock";
  spec.lock_path = base + ".lock";
  spec.log_path = context_.options.state_dir + "/logs/lb-" + last_part(arn) + ".log";
  spec.command = context_.options.balancer_command;
  for (const char* argument : {"--link", spec.link_path.c_str(), "--load-balancer", arn.c_str(), "--workers"}) {
    spec.command.emplace_back(argument);
  }
  spec.command.push_back(std::to_string(context_.options.lb_workers));
  if (!context_.options.lb_user.empty()) {
    spec.command.emplace_back("--user");
    spec.command.push_back(context_.options.lb_user);
  }
  return spec;
}

}  // namespace weir::control
