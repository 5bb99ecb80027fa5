#include "proxy/lb_main.h"

#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "base/log.h"
#include "net/openssl_memory.h"
#include "proxy/load_balancer.h"
#include "proxy/metrics_server.h"

namespace weir::proxy {

namespace {

constexpr char kHelp[] =
    R"(usage: weir lb --link PATH [options]              a load balancer run by weir serve
       weir lb --listen ADDRESS:PORT --target ADDRESS:PORT … [options]   with static targets

  --link PATH            unix socket on which the control plane connects
  --load-balancer ARN    which one this is, for people who read process lists
  --listen ADDRESS:PORT  where clients connect
  --cert FILE --key FILE certificate chain and key (PEM); without them clients speak cleartext HTTP/2
  --target ADDRESS:PORT  a target (repeatable), cleartext HTTP/2; https://ADDRESS:PORT: over TLS, then all of them
  --algorithm NAME       round_robin (default), least_outstanding_requests, weighted_random
  --health-check-path P  check the targets with this gRPC method (code 0); without it all count as healthy
  --idle-timeout SECONDS default 60
  --access-log DIR       write a record of each request to files beneath DIR
  --connection-log DIR   of each client connection
  --health-check-log DIR of each health check
  --log-format FORMAT    alb (default) or json
  --metrics ADDRESS:PORT answer GET /metrics there (Prometheus)
  --admin PATH           unix socket for weir top --admin PATH
  --client-streams N     streams a client may have open on one connection (default 128, at most 100000)
  --workers N            threads (default: one per CPU)
  --user NAME            give up root for this user after start
)";

struct Arguments {
  std::string link, cert, key, user, health_path, access_log, connection_log, health_check_log, metrics, admin;
  model::LogFormat log_format = model::LogFormat::Alb;
  std::vector<std::string> listen, targets;
  model::Algorithm algorithm = model::Algorithm::RoundRobin;
  int workers = 0;
  int idle_seconds = 60;
  int client_streams = 128;
};

Result<std::pair<std::string, uint16_t>> parse_endpoint(const std::string& text) {
  size_t colon = text.rfind(':');
  uint16_t port = 0;
  if (colon != std::string::npos) {
    auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
    if (error == std::errc() && end == text.data() + text.size() && port > 0) {
      std::string address = text.substr(0, colon);
      if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
      return std::pair{address, port};
    }
  }
  return fail("'" + text + "' is not ADDRESS:PORT");
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail_errno("read " + path, errno);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

Result<int> parse_count(const char* text, int low, int high) {
  int value = 0;
  std::string_view view(text);
  auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size() || value < low || value > high) {
    return fail("'" + std::string(text) + "' is not a number from " + std::to_string(low) + " to " +
                std::to_string(high));
  }
  return value;
}

Result<model::Algorithm> parse_algorithm(std::string_view name) {
  if (name == "round_robin") return model::Algorithm::RoundRobin;
  if (name == "least_outstanding_requests") return model::Algorithm::LeastOutstandingRequests;
  if (name == "weighted_random") return model::Algorithm::WeightedRandom;
  return fail("unknown algorithm '" + std::string(name) + "'");
}

Result<model::LogFormat> parse_log_format(std::string_view name) {
  if (name == "alb") return model::LogFormat::Alb;
  if (name == "json") return model::LogFormat::Json;
  return fail("unknown log format '" + std::string(name) + "': alb or json");
}

// As the control plane names the objects of ALB's logs.
model::LogFiles log_files(const std::string& directory, const char* kind) {
  if (directory.empty()) return {};
  return {directory, std::string(kind) + "000000000000_elasticloadbalancing_local_app.static.0000000000000000"};
}

Result<void> take_option(int option, Arguments& a) {
  switch (option) {
    case 'n':
      return {};
    case 's':
      a.link = optarg;
      return {};
    case 'l':
      a.listen.push_back(optarg);
      return {};
    case 'c':
      a.cert = optarg;
      return {};
    case 'k':
      a.key = optarg;
      return {};
    case 't':
      a.targets.push_back(optarg);
      return {};
    case 'u':
      a.user = optarg;
      return {};
    case 'p':
      a.health_path = optarg;
      return {};
    case 'A':
      a.access_log = optarg;
      return {};
    case 'C':
      a.connection_log = optarg;
      return {};
    case 'H':
      a.health_check_log = optarg;
      return {};
    case 'M':
      a.metrics = optarg;
      return {};
    case 'D':
      a.admin = optarg;
      return {};
    case 'F': {
      WEIR_TRY_ASSIGN(a.log_format, parse_log_format(optarg));
      return {};
    }
    case 'a': {
      WEIR_TRY_ASSIGN(a.algorithm, parse_algorithm(optarg));
      return {};
    }
    case 'w': {
      WEIR_TRY_ASSIGN(a.workers, parse_count(optarg, 1, kWorkersMax));
      return {};
    }
    case 'i': {
      WEIR_TRY_ASSIGN(a.idle_seconds, parse_count(optarg, 1, 4000));
      return {};
    }
    case 'm': {
      WEIR_TRY_ASSIGN(a.client_streams, parse_count(optarg, 1, 100000));
      return {};
    }
    default:
      return fail("see weir lb --help");
  }
}

Result<Arguments> parse_arguments(int argc, char** argv) {
  static const option kOptions[] = {{"link", 1, nullptr, 's'},         {"load-balancer", 1, nullptr, 'n'},
                                    {"listen", 1, nullptr, 'l'},       {"cert", 1, nullptr, 'c'},
                                    {"key", 1, nullptr, 'k'},          {"target", 1, nullptr, 't'},
                                    {"user", 1, nullptr, 'u'},         {"workers", 1, nullptr, 'w'},
                                    {"algorithm", 1, nullptr, 'a'},    {"health-check-path", 1, nullptr, 'p'},
                                    {"idle-timeout", 1, nullptr, 'i'}, {"client-streams", 1, nullptr, 'm'},
                                    {"help", 0, nullptr, 'h'},
                                    {"access-log", 1, nullptr, 'A'},   {"connection-log", 1, nullptr, 'C'},
                                    {"health-check-log", 1, nullptr, 'H'}, {"log-format", 1, nullptr, 'F'},
                                    {"metrics", 1, nullptr, 'M'},      {"admin", 1, nullptr, 'D'},
                                    {nullptr, 0, nullptr, 0}};
  Arguments a;
  optind = 1;
  for (int o; (o = getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    if (o == 'h') {
      std::fputs(kHelp, stdout);
      std::exit(0);
    }
    WEIR_TRY(take_option(o, a));
  }
  if (optind != argc) return fail("unexpected argument '" + std::string(argv[optind]) + "'");
  if (a.link.empty() == a.listen.empty()) return fail("give either --link or --listen; see weir lb --help");
  bool logging = !a.access_log.empty() || !a.connection_log.empty() || !a.health_check_log.empty();
  bool seeing = logging || !a.metrics.empty() || !a.admin.empty();
  if (!a.link.empty() && seeing) return fail("with --link, logs and metrics are the control plane's business");
  if (a.cert.empty() != a.key.empty()) return fail("--cert and --key belong together");
  return a;
}

Result<model::SnapshotPtr> static_snapshot(const Arguments& a) {
  auto s = std::make_shared<model::RoutingSnapshot>();
  s->generation = 1;
  s->load_balancer_arn = "loadbalancer/app/static/0000000000000000";
  s->requests_per_connection_max = 0;  // ALB's limit is for those who configure an ALB
  s->access_log = log_files(a.access_log, "");
  s->connection_log = log_files(a.connection_log, "conn_log_");
  s->health_check_log = log_files(a.health_check_log, "health_check_log_");
  s->log_format = a.log_format;
  s->idle_timeout_ms = static_cast<uint32_t>(a.idle_seconds) * 1000;
  s->client_streams_max = static_cast<uint32_t>(a.client_streams);
  model::TargetGroup group;
  group.arn = "static";
  group.algorithm = a.algorithm;
  group.in_use = !a.health_path.empty();
  group.health_check.path = a.health_path;
  group.health_check.grpc_codes = "0";
  constexpr std::string_view kTls = "https://";
  for (const std::string& text : a.targets) {
    bool tls = text.starts_with(kTls);
    if (!group.targets.empty() && tls != group.tls) return fail("give all targets https:// or none of them");
    group.tls = group.health_check.tls = tls;
    WEIR_TRY_ASSIGN(auto endpoint, parse_endpoint(tls ? text.substr(kTls.size()) : text));
    model::Target t;
    t.address = endpoint.first;
    t.port = endpoint.second;
    t.last_state = group.in_use ? model::TargetState::Initial : model::TargetState::Healthy;
    group.targets.push_back(std::move(t));
  }
  s->groups.push_back(std::move(group));
  for (const std::string& text : a.listen) {
    WEIR_TRY_ASSIGN(auto endpoint, parse_endpoint(text));
    model::Listener l;
    l.arn = text;
    l.port = endpoint.second;
    l.tls = !a.cert.empty();
    l.ssl_policy = "ELBSecurityPolicy-TLS13-1-2-2021-06";
    if (l.tls) {
      model::Certificate c;
      WEIR_TRY_ASSIGN(c.chain_pem, read_file(a.cert));
      WEIR_TRY_ASSIGN(c.key_pem, read_file(a.key));
      l.certificates.push_back(std::move(c));
    }
    l.default_action.groups = {{"static", 1}};
    s->listeners.push_back(std::move(l));
  }
  return model::SnapshotPtr(std::move(s));
}

Result<void> become(const std::string& user) {
  if (user.empty() || geteuid() != 0) return {};
  passwd* entry = getpwnam(user.c_str());
  if (entry == nullptr) return fail("no user named '" + user + "'");
  if (setgroups(0, nullptr) != 0 || setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0 ||
      setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0) {
    return fail_errno("become user " + user, errno);
  }
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return {};
}

// Returns how many clients there may be: a quarter of the descriptors, 64 at least, is kept for targets and files.
size_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  size_t all = std::min<size_t>(limit.rlim_cur, 4u << 20);
  size_t kept = std::max<size_t>(all / 4, 64);  // loops, links, logs and targets take some tens already
  return all > 2 * kept ? all - kept : all / 2;
}

// SIGTERM and SIGINT arrive as readiness: finish the streams, then go. SIGUSR1: write the latest frames.
class Signals final : net::FdHandler {
 public:
  Signals(net::Loop& loop, LoadBalancer& lb) : loop_(loop), lb_(lb) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    loop_.watch(fd_, EPOLLIN, this);
  }
  ~Signals() {
    loop_.unwatch(fd_, this);
    close(fd_);
  }

 private:
  void on_ready(uint32_t) override {
    signalfd_siginfo info;
    if (read(fd_, &info, sizeof info) != sizeof info) return;
    if (info.ssi_signo == SIGUSR1) return lb_.dump_frames();
    if (++count_ > 1) return loop_.stop();
    lb_.shutdown(std::chrono::seconds(10));
  }
  net::Loop& loop_;
  LoadBalancer& lb_;
  int fd_;
  int count_ = 0;
};

Result<void> run(const Arguments& a) {
  SystemClock clock;
  auto loop = net::make_epoll_loop(clock);
  LoadBalancerOptions options;
  options.link_path = a.link.empty() ? a.admin : a.link;
  options.link_reads_only = a.link.empty();
  options.link_uid = geteuid();
  options.clients_max = raise_descriptor_limit();
  options.workers = a.workers > 0
                        ? a.workers
                        : std::clamp<int>(static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)), 1, kWorkersMax);
  sigset_t set;  // before the workers start, so that they inherit the mask
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a log that may not grow loses records
  LoadBalancer lb(*loop, clock, Random::from_system(), options);
  Signals signals(*loop, lb);
  WEIR_TRY(lb.start());
  if (!a.listen.empty()) {
    WEIR_TRY_ASSIGN(model::SnapshotPtr snapshot, static_snapshot(a));
    WEIR_TRY(lb.apply(snapshot));
    for (const model::Listener& l : snapshot->listeners) {
      WEIR_TRY_ASSIGN(auto endpoint, parse_endpoint(l.arn));
      WEIR_TRY_ASSIGN(int fd, net::listen_tcp(endpoint.first, endpoint.second));
      lb.add_listener({l.arn, endpoint.first, endpoint.second, false}, fd);
      log_info("listening on " + l.arn);
    }
  }
  std::unique_ptr<MetricsServer> metrics;
  if (!a.metrics.empty()) {
    WEIR_TRY_ASSIGN(auto endpoint, parse_endpoint(a.metrics));
    WEIR_TRY_ASSIGN(int fd, net::listen_tcp(endpoint.first, endpoint.second));
    metrics = std::make_unique<MetricsServer>(*loop, fd, [&lb](auto done) { lb.metrics_page(std::move(done)); });
  }
  WEIR_TRY(become(a.user));
  loop->run();
  return {};
}

}  // namespace

int lb_main(int argc, char** argv) {
  net::use_pooled_openssl_memory();
  auto arguments = parse_arguments(argc, argv);
  if (!arguments) {
    std::fprintf(stderr, "weir lb: %s\n", arguments.error().message.c_str());
    return 2;
  }
  auto done = run(*arguments);
  if (done) return 0;
  std::fprintf(stderr, "weir lb: %s\n", done.error().message.c_str());
  return 1;
}

}  // namespace weir::proxy
