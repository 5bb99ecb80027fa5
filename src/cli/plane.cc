#include "cli/plane.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/acm/local_ca.h"
#include "api/context.h"
#include "api/ec2/ec2.h"
#include "api/wire/front.h"
#include "base/log.h"
#include "cfn/operations.h"
#include "cli/api_client.h"
#include "cli/instance.h"
#include "cli/plane_reports.h"
#include "cli/stack_pump.h"
#include "control/controller.h"
#include "net/blocking_pool.h"
#include "net/message_socket.h"

namespace weir::cli {

using nlohmann::json;

namespace {

constexpr int kPoolThreads = 8;
constexpr Duration kShutdownDelay = std::chrono::milliseconds(200);

// One control plane per state directory. The descriptor holds the lock until the process ends.
Result<int> take_lock(const std::string& path) {
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return fail_errno("opening " + path, errno);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    char pid[32] = {};
    ssize_t got = pread(fd, pid, sizeof pid - 1, 0);
    close(fd);
    std::string holder(pid, got > 0 ? static_cast<size_t>(got) : 0);
    while (!holder.empty() && holder.back() == '\n') holder.pop_back();
    return fail(fmt::format("another weir serve (pid {}) has the state directory; use it, or give another --state-dir",
                            holder.empty() ? "unknown" : holder));
  }
  std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    int error = errno;
    close(fd);
    return fail_errno("writing " + path, error);
  }
  return fd;
}

int default_workers() { return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 4); }

control::ControllerOptions controller_options(const std::string& state_dir, const ServeOptions& options) {
  control::ControllerOptions settings;
  settings.state_dir = state_dir;
  settings.region = options.region;
  std::error_code ignored;
  settings.balancer_command = {std::filesystem::read_symlink("/proc/self/exe", ignored).string(), "lb"};
  settings.lb_workers = options.workers > 0 ? options.workers : default_workers();
  // The data plane needs no rights: its sockets are handed to it.
  settings.lb_user = options.lb_user.empty() && geteuid() == 0 ? "nobody" : options.lb_user;
  return settings;
}

api::Context::HealthOfGroup health_of(const control::Controller& controller, const std::string& group_arn) {
  api::Context::HealthOfGroup health;
  for (const auto& row : controller.target_health(group_arn)) {
    health[{row.address, row.port}] = {std::string(model::to_string(row.state)),
                                       std::string(model::to_string(row.reason)), row.description,
                                       !row.anomaly_known ? "" : row.anomalous ? "anomalous" : "normal",
                                       row.mitigated};
  }
  return health;
}

}  // namespace

// Members are destroyed from the last to the first: the API's sockets before what they use, the controller
// before the pool, the pool (which waits for its jobs) before the drivers.
struct Plane::Impl final : net::FdHandler {
  Impl(const Common& common, const ServeOptions& given)
      : options(given),
        state_dir(prepared_state_dir(common.state_dir)),
        random(Random::from_system()),
        loop(net::make_epoll_loop(clock)),
        stop_timer([this] { loop->stop(); }) {}
  ~Impl();

  Result<void> open();
  Result<void> open_state();
  void build_controller();
  void build_api();
  Result<void> listen();
  Result<void> catch_signals();
  void apply_settings();
  void gate(std::string_view service, std::string_view operation, const json& input,
            std::move_only_function<void()> done);
  json shutdown(const json& input);
  void on_ready(uint32_t events) override;

  ServeOptions options;
  std::string state_dir;
  SystemClock clock;
  Random random;
  int lock_fd = -1;
  int signal_fd = -1;
  bool owns_socket = false;
  std::unique_ptr<net::Loop> loop;
  net::Timer stop_timer;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<api::LocalCa> authority;
  std::unique_ptr<runtime::NetworkDriver> network;
  std::unique_ptr<runtime::ContainerDriver> containers;
  std::unique_ptr<net::BlockingPool> pool;
  std::unique_ptr<control::Controller> controller;
  std::unique_ptr<api::Context> context;
  api::Dispatcher dispatcher;
  std::unique_ptr<cfn::StackEngine> engine;
  std::unique_ptr<StackPump> stacks;
  std::unique_ptr<api::Front> front;
  std::unique_ptr<api::HttpServer> server;
};

Plane::Impl::~Impl() {
  server.reset();
  if (owns_socket) unlink(api_socket_path(state_dir).c_str());
  if (signal_fd >= 0) {
    loop->unwatch(signal_fd, this);
    close(signal_fd);
  }
  stacks.reset();
  engine.reset();
  controller.reset();
  pool.reset();
  containers.reset();
  network.reset();
  store.reset();
  if (lock_fd >= 0) close(lock_fd);
}

Result<void> Plane::Impl::open_state() {
  for (const char* part : {"", "/logs", "/certificates", "/lb"}) {
    std::error_code error;
    std::filesystem::create_directories(state_dir + part, error);
    if (error) {
      return fail(fmt::format("cannot create {}{}: {}; run as root, or choose another --state-dir", state_dir, part,
                              error.message()));
    }
  }
  chmod((state_dir + "/certificates").c_str(), 0700);
  WEIR_TRY_ASSIGN(lock_fd, take_lock(state_dir + "/serve.lock"));
  WEIR_TRY_ASSIGN(store, store::Store::open(state_dir + "/state.db"));
  WEIR_TRY_ASSIGN(authority, api::LocalCa::open(state_dir + "/ca", clock.unix_ms() / 1000));
  return {};
}

void Plane::Impl::build_controller() {
  runtime::LinuxOptions machine{state_dir, instance_id(state_dir)};
  network = runtime::make_linux_network(machine);
  containers = runtime::make_conmon_runtime(machine);
  pool = std::make_unique<net::BlockingPool>(*loop, kPoolThreads);
  controller = std::make_unique<control::Controller>(*loop, clock, random, *store, *network, *containers, *pool,
                                                     controller_options(state_dir, options));
}

void Plane::Impl::build_api() {
  context = std::unique_ptr<api::Context>(
      new api::Context{.store = *store, .clock = clock, .random = random, .region = options.region,
                       .state_dir = state_dir, .ca = authority.get()});
  context->health = [this](const std::string& group_arn) { return health_of(*controller, group_arn); };
  context->log_path = [this](const std::string& container_id) { return containers->log_path(container_id); };
  api::add_all_operations(dispatcher, *context);
  dispatcher.add("weir", "Shutdown", [this](const json& input) { return shutdown(input); });
  add_report_operations(dispatcher, *store, *controller);
  engine = std::make_unique<cfn::StackEngine>(*store, dispatcher, clock, random, options.region, context->account);
  cfn::register_operations(dispatcher, *engine);
  stacks = std::make_unique<StackPump>(*loop, *store, *engine);
  front = std::make_unique<api::Front>(
      dispatcher, random,
      [this](std::string_view service, std::string_view operation, const json& input,
             std::move_only_function<void()> done) { gate(service, operation, input, std::move(done)); },
      [this] { return metrics_text(*store, *controller); });
  server = std::make_unique<api::HttpServer>(
      *loop, api::HttpLimits{}, [this](const api::HttpRequest& request, api::HttpServer::Respond respond) {
        front->handle(request, std::move(respond));
      });
}

// DeregisterTargets answers when no worker gives the targets new streams, or after the bound.
void Plane::Impl::gate(std::string_view service, std::string_view operation, const json& input,
                       std::move_only_function<void()> done) {
  if (service != "elbv2" || operation != "DeregisterTargets") return done();
  std::string group = input.value("TargetGroupArn", "");
  std::vector<std::string> ids;
  for (const auto& target : store->list_where("elbv2.target", "TargetGroupArn", group)) {
    json body = json::parse(target.body, nullptr, false);
    bool leaving = body.is_object() && body.contains("weir") && body["weir"].contains("deregistering_since");
    if (leaving) ids.push_back(target.id);
  }
  controller->when_deregistered(std::move(ids), [done = std::move(done)](bool) mutable { done(); });
}

json Plane::Impl::shutdown(const json& input) {
  json remains = dispatcher.call("weir", "DescribeRemains", json::object());
  bool idle = remains.value("Stacks", 0) == 0 && remains.value("Staying", 0) == 0;
  bool stopping = input.value("Force", false) || (options.auto_started && idle);
  // The answer leaves first.
  if (stopping) loop->arm(stop_timer, loop->now() + kShutdownDelay);
  return {{"Stopping", stopping}};
}

Result<void> Plane::Impl::listen() {
  WEIR_TRY_ASSIGN(int local, net::listen_unix(api_socket_path(state_dir)));
  owns_socket = true;
  server->serve(local, true);
  if (options.api_port == 0) return {};
  if (!api::is_local_host(options.api_address)) {
    return fail(fmt::format("--api-address {}: the API does not check who calls it, so it listens on addresses of this "
                            "machine only (127.0.0.1)", options.api_address));
  }
  auto port = net::listen_tcp(options.api_address == "localhost" ? "127.0.0.1" : options.api_address,
                              static_cast<uint16_t>(options.api_port));
  if (!port && options.auto_started) {
    log_warning(fmt::format("api without tcp: {} (the unix socket works; weir serve --port chooses another port)",
                            port.error().message));
    return {};
  }
  if (!port) return fail(fmt::format("{}; choose another --port", port.error().message), port.error().code);
  server->serve(*port, false);
  log_info(fmt::format("api listens address={} port={}", options.api_address, options.api_port));
  return {};
}

Result<void> Plane::Impl::catch_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  // Before any thread starts: threads inherit the mask.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  if (signal_fd < 0) return fail_errno("signalfd", errno);
  loop->watch(signal_fd, EPOLLIN, this);
  return {};
}

void Plane::Impl::on_ready(uint32_t) {
  signalfd_siginfo info{};
  while (read(signal_fd, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGHUP) continue;
    log_info(fmt::format("stopping signal={}; tasks and load balancers go on", info.ssi_signo));
    loop->stop();
  }
}

void Plane::Impl::apply_settings() {
  if (options.port_map.empty() && options.address.empty()) return;
  json settings = json::object();
  for (const auto& [from, to] : options.port_map) settings["PortMap"][std::to_string(from)] = to;
  if (!options.address.empty()) settings["Address"] = options.address;
  dispatcher.call("weir", "PutSettings", settings);
}

Result<void> Plane::Impl::open() {
  if (geteuid() != 0) {
    return fail("containers with addresses of their own need root (network namespaces, nftables, overlay mounts); "
                "run it with sudo");
  }
  WEIR_TRY(open_state());
  WEIR_TRY(catch_signals());
  build_controller();
  build_api();
  try {
    api::ensure_default_vpc(*context);
    apply_settings();
  } catch (const api::ApiError& error) {
    return fail(error.message);
  }
  WEIR_TRY(listen());
  controller->start();
  stacks->start();
  log_info(fmt::format("weir serve runs pid={} state={} region={}", getpid(), state_dir, options.region));
  return {};
}

Plane::Plane(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Plane::~Plane() = default;

Result<std::unique_ptr<Plane>> Plane::open(const Common& common, const ServeOptions& options) {
  auto impl = std::make_unique<Impl>(common, options);
  WEIR_TRY(impl->open());
  return std::unique_ptr<Plane>(new Plane(std::move(impl)));
}

void Plane::run() { impl_->loop->run(); }

}  // namespace weir::cli
