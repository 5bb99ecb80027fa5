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
#include "proxy/load_balancer.h"

namespace weir::proxy {

namespace {

constexpr char kHelp[] =
    R"(usage: weir lb --link PATH [options]              a load balancer run by weir serve
       weir lb --listen ADDRESS:PORT --target ADDRESS:PORT … [options]   with static targets

  --link PATH            unix socket on which the control plane connects
  --load-balancer ARN    which one this is, for people who read process lists
  --listen ADDRESS:PORT  where clients connect
  --cert FILE --key FILE certificate chain and key (PEM); without them clients speak cleartext HTTP/2
  --target ADDRESS:PORT  a target (repeatable), cleartext HTTP/2
  --algorithm NAME       round_robin (default), least_outstanding_requests, weighted_random
  --health-check-path P  check the targets with this gRPC method (code 0); without it all count as healthy
  --idle-timeout SECONDS default 60
  --workers N            threads (default: one per CPU)
  --user NAME            give up root for this user after start
)";

struct Arguments {
  std::string link, cert, key, user, health_path;
  std::vector<std::string> listen, targets;
  model::Algorithm algorithm = model::Algorithm::RoundRobin;
  int workers = 0;
  int idle_seconds = 60;
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

Result<void> take_option(int option, Arguments& a) {
  switch (option) {
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
                                    {"idle-timeout", 1, nullptr, 'i'}, {"help", 0, nullptr, 'h'},
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
  if (a.cert.empty() != a.key.empty()) return fail("--cert and --key belong together");
  return a;
}

Result<model::SnapshotPtr> static_snapshot(const Arguments& a) {
  auto s = std::make_shared<model::RoutingSnapshot>();
  s->generation = 1;
  s->load_balancer_arn = "static";
  s->idle_timeout_ms = static_cast<uint32_t>(a.idle_seconds) * 1000;
  model::TargetGroup group;
  group.arn = "static";
  group.algorithm = a.algorithm;
  group.in_use = !a.health_path.empty();
  group.health_check.path = a.health_path;
  group.health_check.grpc_codes = "0";
  for (const std::string& text : a.targets) {
    WEIR_TRY_ASSIGN(auto endpoint, parse_endpoint(text));
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

// Returns how many clients there may be: a quarter of the descriptors is kept for targets and files.
size_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return std::min<size_t>(limit.rlim_cur, 4u << 20) / 4 * 3;
}

// SIGTERM and SIGINT arrive as readiness: finish the streams, then go.
class Signals final : net::FdHandler {
 public:
  Signals(net::Loop& loop, LoadBalancer& lb) : loop_(loop), lb_(lb) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
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
  options.link_path = a.link;
  options.link_uid = geteuid();
  options.clients_max = raise_descriptor_limit();
  options.workers = a.workers > 0
                        ? a.workers
                        : std::clamp<int>(static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)), 1, kWorkersMax);
  sigset_t set;  // before the workers start, so that they inherit the mask
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
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
