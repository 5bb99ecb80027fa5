// The bench load generator: gRPC over HTTP/2 as raw frames, one thread, every response checked. It measures
// operations, latency, and the CPU time of the processes it is told to watch, all over the same window.
// The last line of its output is one JSON object; `loadgen --help` lists the options.
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "loadgen/connection.h"
#include "loadgen/cpu_meter.h"

namespace {

using weir::bench::Connection;
using weir::bench::Mode;
using weir::bench::Run;

struct Options {
  std::string address;
  Mode mode = Mode::kUnary;
  bool plaintext = false;
  uint32_t connections = 1, streams = 1, bytes = 100, sources = 0;
  double warmup = 1, seconds = 5;
  uint64_t max_operations = 200'000'000;
  std::string path = "/bench.Echo/Call", authority = "localhost";
  std::vector<pid_t> watch;
  std::string begin_command, end_command;
};

constexpr uint32_t kRequestBytesMax = 16379;  // a message is sent as one frame

constexpr char kUsage[] =
    "usage: loadgen --address IP:PORT [options]\n"
    "  --mode unary|pingpong|bulk|idle|handshake   what a stream does (default unary)\n"
    "  --connections C  --streams S  --bytes B      C connections of S streams; messages of B bytes, at most 16379\n"
    "                                               (bulk: 16777216)\n"
    "  --warmup T  --seconds T                      the window that is measured, and what goes before it\n"
    "  --max-ops N                                  ends the window early\n"
    "  --watch PID,PID...                           processes whose CPU time is taken over the window\n"
    "  --begin-command C  --end-command C           shell commands at the window's edges\n"
    "  --plaintext  --path P  --authority A\n"
    "  --sources N                                  connections come from 127.0.0.2 … 127.0.0.N+1 in turn\n"
    "handshake: C connections at a time, each for one RPC.\n"
    "idle: one message per stream, then all is held open. It prints {\"idle\":N,...} when the streams have had\n"
    "their reply (or --seconds are over), and again after each command on its standard input:\n"
    "  open N   N more streams on each connection     use   one more message on each stream\n"
    "It ends with its standard input.\n";

bool set_option(const std::string& name, const std::string& value, Options* options) {
  static const std::unordered_map<std::string, Mode> kModes = {{"unary", Mode::kUnary},
      {"pingpong", Mode::kPingPong}, {"bulk", Mode::kBulk}, {"idle", Mode::kIdle}, {"handshake", Mode::kHandshake}};
  auto number = [&value] { return static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10)); };
  if (name == "--address") options->address = value;
  else if (name == "--mode" && kModes.contains(value)) options->mode = kModes.at(value);
  else if (name == "--connections") options->connections = std::clamp(number(), 1u, 20'000u);
  else if (name == "--streams") options->streams = std::clamp(number(), 1u, 100'000u);
  else if (name == "--sources") options->sources = std::clamp(number(), 0u, 250u);
  else if (name == "--bytes") options->bytes = std::clamp(number(), 1u, 1u << 24);
  else if (name == "--warmup") options->warmup = std::strtod(value.c_str(), nullptr);
  else if (name == "--seconds") options->seconds = std::min(600.0, std::strtod(value.c_str(), nullptr));
  else if (name == "--max-ops") options->max_operations = std::strtoull(value.c_str(), nullptr, 10);
  else if (name == "--path") options->path = value;
  else if (name == "--authority") options->authority = value;
  else if (name == "--begin-command") options->begin_command = value;
  else if (name == "--end-command") options->end_command = value;
  else if (name == "--watch") {
    for (size_t at = 0; at < value.size(); at = value.find(',', at), at += at < value.size()) {
      options->watch.push_back(static_cast<pid_t>(std::strtol(value.c_str() + at, nullptr, 10)));
    }
  } else {
    return false;
  }
  return true;
}

bool parse(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; i++) {
    std::string name = argv[i];
    if (name == "--plaintext") {
      options->plaintext = true;
    } else if (i + 1 >= argc || !set_option(name, argv[++i], options)) {
      return false;
    }
  }
  uint32_t most = options->mode == Mode::kBulk ? 1u << 24 : kRequestBytesMax;
  return !options->address.empty() && options->bytes <= most;
}

uint64_t now_us() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000 + static_cast<uint64_t>(t.tv_nsec) / 1000;
}

// TLS 1.3 with one cipher and one group, so that all peers do the same work.
SSL_CTX* make_context(Mode mode) {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set1_groups_list(context, "X25519");
  SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>("\x02h2"), 3);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  if (mode == Mode::kIdle) {
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  } else {
    SSL_CTX_set_default_read_buffer_len(context, 64 << 10);
  }
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  return context;
}

class Generator {
 public:
  explicit Generator(const Options& options)
      : options_(options), context_(options.plaintext ? nullptr : make_context(options.mode)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    run_.mode = options.mode;
    run_.streams = options.mode == Mode::kHandshake ? 1 : options.streams;
    run_.bytes = options.bytes;
    run_.path = options.path;
    run_.authority = options.authority;
    run_.scheme = options.plaintext ? "http" : "https";
  }
  ~Generator() {
    entries_.clear();
    close(epoll_);
    SSL_CTX_free(context_);
  }

  // Runs it all and prints the result. False: something was wrong.
  bool run() {
    run_.now_us = now_us();
    open_some();
    turn_until(run_.now_us + micros(options_.warmup));
    for (uint64_t limit = run_.now_us + kConnectUs; !all_ready() && run_.now_us < limit && !over();) {
      turn_until(run_.now_us + 100'000);
    }
    if (options_.mode == Mode::kIdle) return hold_idle();
    begin_window();
    turn_until(began_us_ + micros(options_.seconds));
    end_window();
    return report();
  }

 private:
  struct Entry {
    std::unique_ptr<Connection> connection;
    uint32_t interest = EPOLLIN | EPOLLOUT;
  };

  static constexpr uint64_t kConnectUs = 60'000'000;  // beyond the warm-up
  static constexpr uint32_t kConnectingMax = 512;     // at a time, so that no accept queue overflows

  bool all_ready() const {
    return options_.mode == Mode::kHandshake || (opened_ == options_.connections && connecting_ == 0);
  }

  static constexpr uint64_t kAhead = 1'000;  // messages on their way in kIdle

  static uint64_t micros(double seconds) { return static_cast<uint64_t>(seconds * 1e6); }

  void open() {
    uint32_t source = options_.sources == 0 ? 0 : INADDR_LOOPBACK + 1 + opened_ % options_.sources;
    auto connection = std::make_unique<Connection>(&run_, context_, options_.address, source);
    int fd = connection->fd();
    epoll_event event{.events = EPOLLIN | EPOLLOUT, .data = {.fd = fd}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    entries_[fd] = {std::move(connection)};
    opened_++;
    connecting_++;
  }

  void open_some() {
    while (opened_ < options_.connections && connecting_ < kConnectingMax) open();
  }

  bool over() const {
    return run_.operations >= options_.max_operations || run_.errors.size() > 100 || entries_.empty();
  }

  void turn_until(uint64_t end) {
    while (run_.now_us < end && !over()) {
      epoll_event events[512];
      int n = epoll_wait(epoll_, events, 512, static_cast<int>(std::min<uint64_t>(100, (end - run_.now_us) / 1000 + 1)));
      run_.now_us = now_us();
      for (int i = 0; i < n; i++) serve(events[i].data.fd, events[i].events);
    }
  }

  void serve(int fd, uint32_t ready) {
    auto found = entries_.find(fd);
    if (found == entries_.end()) return;
    Connection& connection = *found->second.connection;
    bool was_ready = connection.ready();
    bool readable = (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
    bool alive = connection.on_ready(buffer_, readable);
    bool settled = was_ready || connection.ready() || !alive;
    if (!was_ready && settled) connecting_--;
    alive = settle(fd, found->second, alive);
    if (!alive && options_.mode == Mode::kHandshake && run_.starting) open();
    if (!was_ready && settled) open_some();
  }

  // Sends what is to be sent. False: the connection is gone.
  bool settle(int fd, Entry& entry, bool alive) {
    Connection& connection = *entry.connection;
    alive = alive && connection.flush();
    if (!alive || connection.finished()) {
      entries_.erase(fd);
      return false;
    }
    uint32_t interest = EPOLLIN | (connection.wants_write() ? EPOLLOUT : 0u);
    if (interest == entry.interest) return true;
    entry.interest = interest;
    epoll_event event{.events = interest, .data = {.fd = fd}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
    return true;
  }

  // A program that measures the proxy its own way is switched here; while it runs no load is sent.
  void command(const std::string& text) {
    if (!text.empty() && std::system(text.c_str()) != 0) run_.error("command failed");
  }

  void begin_window() {
    command(options_.begin_command);
    if (!all_ready()) run_.error("not all connected in time");
    own_nanos_ = weir::bench::cpu_nanos({getpid()});
    watched_nanos_ = weir::bench::cpu_nanos(options_.watch);
    began_us_ = run_.now_us = now_us();
    run_.measuring = true;
  }

  void end_window() {
    command(options_.end_command);
    run_.measuring = false;
    watched_nanos_ = weir::bench::cpu_nanos(options_.watch) - watched_nanos_;
    own_nanos_ = weir::bench::cpu_nanos({getpid()}) - own_nanos_;
    ended_us_ = now_us();
    run_.starting = false;
  }

  // Goes on until `done`, for --seconds at most.
  template <typename Done>
  void wait_until(Done done) {
    uint64_t limit = run_.now_us + micros(options_.seconds);
    while (!done() && run_.now_us < limit && !over()) turn_until(run_.now_us + 20'000);
  }

  // Does `step` to each connection; never more than kAhead messages wait for their replies, so that what is
  // measured is streams and not queues.
  template <typename Step>
  void pace(Step step) {
    std::vector<int> fds;
    for (const auto& [fd, entry] : entries_) fds.push_back(fd);
    uint64_t seen = run_.replies;
    for (int fd : fds) {
      uint64_t limit = run_.now_us + micros(options_.seconds);
      while (run_.started - run_.replies > kAhead && run_.now_us < limit && !over()) turn_until(run_.now_us + 1'000);
      if (run_.now_us >= limit && run_.replies == seen) break;  // nothing comes back any more
      seen = run_.replies;
      auto found = entries_.find(fd);
      if (found == entries_.end()) continue;
      step(*found->second.connection);
      settle(fd, found->second, true);
    }
    wait_until([this] { return run_.replies == run_.started; });
  }

  void tell_idle(uint64_t wanted) {
    std::printf("{\"idle\":%llu,\"wanted\":%llu,\"replies\":%llu,\"connections\":%zu,\"errors\":{%s}}\n",
                static_cast<unsigned long long>(run_.echoed), static_cast<unsigned long long>(wanted),
                static_cast<unsigned long long>(run_.replies), entries_.size(), errors_json().c_str());
  }

  bool hold_idle() {
    uint64_t wanted = uint64_t{options_.connections} * options_.streams;
    wait_until([&] { return run_.echoed >= wanted; });
    tell_idle(wanted);
    for (std::string line; next_line(&line);) {
      if (line.starts_with("open ")) {
        uint32_t more = static_cast<uint32_t>(std::strtoul(line.c_str() + 5, nullptr, 10));
        wanted += uint64_t{options_.connections} * more;
        pace([more](Connection& c) {
          for (uint32_t i = 0; i < more; i++) c.open_stream();
        });
      } else if (line == "use") {
        pace([](Connection& c) { c.use_streams(); });
      } else {
        run_.error("unknown command");
      }
      tell_idle(wanted);
    }
    return run_.echoed == wanted && run_.errors.empty();
  }

  // The next line of standard input, while the connections are served. False: there is none.
  bool next_line(std::string* line) {
    for (;;) {
      size_t end = commands_.find('\n');
      if (end != std::string::npos) {
        *line = commands_.substr(0, end);
        commands_.erase(0, end + 1);
        return true;
      }
      pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
      if (poll(&input, 1, 0) == 0) {
        turn_until(run_.now_us + 20'000);
        run_.now_us = now_us();
        continue;
      }
      char bytes[256];
      ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
      if (n <= 0) return false;
      commands_.append(bytes, static_cast<size_t>(n));
    }
  }

  std::string errors_json() const {
    std::string errors;
    for (const auto& [what, count] : run_.errors) {
      errors += (errors.empty() ? "\"" : ",\"") + what + "\":" + std::to_string(count);
    }
    return errors;
  }

  bool report() {
    double seconds = static_cast<double>(ended_us_ - began_us_) / 1e6;
    auto u64 = [](uint64_t v) { return static_cast<unsigned long long>(v); };
    std::printf("{\"operations\":%llu,\"seconds\":%.6f,\"watched_cpu_us\":%.1f,\"own_cpu_us\":%.1f,"
                "\"p50_us\":%llu,\"p99_us\":%llu,\"p999_us\":%llu,\"errors\":{%s}}\n",
                u64(run_.operations), seconds, static_cast<double>(watched_nanos_) / 1e3,
                static_cast<double>(own_nanos_) / 1e3, u64(run_.latency.quantile(0.5)),
                u64(run_.latency.quantile(0.99)), u64(run_.latency.quantile(0.999)), errors_json().c_str());
    return run_.errors.empty() && run_.operations > 0;
  }

  const Options options_;
  SSL_CTX* const context_;
  const int epoll_;
  Run run_;
  std::string buffer_;
  std::unordered_map<int, Entry> entries_;
  std::string commands_;  // of standard input, not yet carried out
  uint32_t opened_ = 0, connecting_ = 0;
  uint64_t began_us_ = 0, ended_us_ = 0, own_nanos_ = 0, watched_nanos_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, &options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  signal(SIGPIPE, SIG_IGN);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return Generator(options).run() ? 0 : 1;
}
