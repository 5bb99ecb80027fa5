// `weir top`: the open streams of load balancers, on the whole terminal, once a second.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/dispatcher.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/server_start.h"
#include "cli/stream_json.h"
#include "cli/top_view.h"
#include "net/message_socket.h"

namespace weir::cli {

using nlohmann::json;

namespace {

constexpr int kRefreshMs = 1000;
constexpr int kAnswerMs = 5000;
constexpr int kOnceRows = 100;

struct Query {
  std::string order;
  std::string filter;
  int limit;
  int skip;
};
using Source = std::function<json(const Query&)>;

[[noreturn]] void no_answer(const std::string& why) { throw api::ApiError{"NoServer", why, 0}; }

// One frame of a socket that does not block; its length is cut off.
std::string read_frame(int fd) {
  std::string bytes;
  size_t wanted = sizeof(uint32_t);
  while (bytes.size() < wanted) {
    pollfd wait{fd, POLLIN, 0};
    if (poll(&wait, 1, kAnswerMs) <= 0) no_answer("the load balancer does not answer");
    char part[65536];
    ssize_t n = read(fd, part, std::min(sizeof part, wanted - bytes.size()));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) no_answer("the load balancer closed the connection");
    bytes.append(part, static_cast<size_t>(n));
    if (wanted == sizeof(uint32_t) && bytes.size() == wanted) {
      uint32_t length = 0;
      std::memcpy(&length, bytes.data(), sizeof length);
      if (length > model::kLinkFrameBytesMax) no_answer("the load balancer speaks another language");
      wanted += length;
    }
  }
  return bytes.substr(sizeof(uint32_t));
}

// A balancer without a control plane, asked over its own socket; each question on a connection of its own, so that
// several may look.
json ask_balancer(const std::string& path, const Query& query) {
  auto fd = net::connect_unix(path);
  if (!fd) no_answer(fd.error().message + "; start it with weir lb --admin PATH");
  struct Close {
    int fd;
    ~Close() { close(fd); }
  } closing{*fd};
  model::StreamsRequest request;
  request.id = 1;
  request.order = stream_order(query.order).value_or(model::StreamOrder::Rate);
  request.limit = static_cast<uint32_t>(query.limit);
  request.skip = static_cast<uint32_t>(query.skip);
  request.filter = query.filter;
  std::string frame = model::encode(request);
  if (write(*fd, frame.data(), frame.size()) != static_cast<ssize_t>(frame.size())) no_answer("it takes no request");
  for (;;) {
    std::string answer = read_frame(*fd);
    auto message = model::decode({reinterpret_cast<const uint8_t*>(answer.data()), answer.size()});
    if (!message) no_answer(message.error().message);
    auto* streams = std::get_if<model::Streams>(&*message);
    if (streams == nullptr) continue;
    json rows = json::array();
    for (const model::StreamRow& row : streams->rows) rows.push_back(stream_json(row));
    return {{"Open", streams->open}, {"Streams", rows}, {"Unanswered", json::array()}};
  }
}

// Full screen and single keys, as long as it lives.
class Terminal {
 public:
  Terminal() {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    print("\033[?1049h\033[?25l");
  }
  ~Terminal() {
    print("\033[?25h\033[?1049l");
    tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  static void size(TopView& view) {
    winsize w{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col == 0) return;
    view.width = w.ws_col;
    view.height = w.ws_row;
  }
  // Keys typed within `ms`; "" when none were.
  static std::string keys(int ms) {
    pollfd wait{STDIN_FILENO, POLLIN, 0};
    if (poll(&wait, 1, ms) <= 0) return "";
    char bytes[64];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    return n <= 0 ? "q" : std::string(bytes, static_cast<size_t>(n));  // the terminal is gone
  }
  static void draw(std::string text) {
    std::string out = "\033[H";
    for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 4) text.replace(at, 1, "\033[K\n");
    print(out + text + "\033[J");
  }

 private:
  termios before_{};
};

constexpr const char* kKeys = "r/b/m/a/i/w sort by rate, bytes, messages, age, idle, waiting   / filter   space pause"
                              "   PgUp PgDn   q quit";

// True: end.
bool on_filter_key(char key, TopView& view) {
  if (key == '\n' || key == '\r') {
    view.typing = false;
  } else if (key == '\033') {
    view.typing = false;
    view.filter.clear();
  } else if (key == '\177' || key == '\b') {
    if (!view.filter.empty()) view.filter.pop_back();
  } else if (key >= ' ' && key < '\177' && view.filter.size() < 200) {
    view.filter += key;
  }
  view.skip = 0;
  return false;
}

bool on_key(char key, TopView& view) {
  if (view.typing) return on_filter_key(key, view);
  constexpr std::pair<char, const char*> kOrders[] = {{'r', "rate"}, {'b', "bytes"}, {'m', "messages"},
                                                      {'a', "age"},  {'i', "idle"},  {'w', "blocked"}};
  for (const auto& [letter, order] : kOrders) {
    if (key != letter) continue;
    view.order = order;
    view.skip = 0;
  }
  if (key == ' ') view.paused = !view.paused;
  if (key == '/') view.typing = true;
  return key == 'q' || key == '\003' || key == '\004';
}

bool on_keys(const std::string& keys, TopView& view) {
  int page = std::max(1, view.height - 3);
  if (keys == "\033[6~" || keys == "\033[B") {
    view.skip = std::min(view.skip + (keys.ends_with('~') ? page : 1), 900);
    return false;
  }
  if (keys == "\033[5~" || keys == "\033[A") {
    view.skip = std::max(view.skip - (keys.ends_with('~') ? page : 1), 0);
    return false;
  }
  if (keys.size() > 1 && keys[0] == '\033') return false;  // other keys with names
  return std::any_of(keys.begin(), keys.end(), [&](char key) { return on_key(key, view); });
}

int live(const Source& source, const Options& options) {
  catch_interrupts();
  Terminal terminal;
  TopView view;
  view.color = true;
  view.order = options.top.order;
  view.filter = options.top.filter;
  json report = json::object();
  std::string trouble;
  bool ask = true;
  while (!interrupted()) {
    Terminal::size(view);
    if (ask && !view.paused) {
      try {
        int rows = options.top.limit > 0 ? options.top.limit : std::clamp(view.height - 3, 1, 99);
        report = source({view.order, view.filter, rows, view.skip});
        trouble.clear();
      } catch (const api::ApiError& error) {
        trouble = error.message;
      }
    }
    std::string text = render_top(report, view);
    auto lines = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    for (; lines < view.height - 1; ++lines) text += "\n";
    std::string foot = trouble.empty() ? kKeys : trouble + "; trying again";
    Terminal::draw(text + foot.substr(0, static_cast<size_t>(std::max(0, view.width - 1))));
    std::string keys = Terminal::keys(kRefreshMs);
    std::string order = view.order;
    int skip = view.skip;
    std::string filter = view.filter;
    if (on_keys(keys, view)) break;
    ask = keys.empty() || order != view.order || skip != view.skip || filter != view.filter;
  }
  return kOk;
}

}  // namespace

int top(const Options& options) {
  Source source;
  if (!options.top.admin.empty()) {
    source = [path = options.top.admin](const Query& query) { return ask_balancer(path, query); };
  } else {
    auto client = existing_server(options.common);
    if (!client) {
      note(fmt::format("weir top: {}\n", client.error().message));
      return kNoServer;
    }
    source = [client = *client, balancer = options.top.balancer](const Query& query) {
      json input{{"Order", query.order}, {"Filter", query.filter}, {"Limit", query.limit}, {"Skip", query.skip}};
      if (!balancer.empty()) input["LoadBalancer"] = balancer;
      return client.call("weir", "DescribeStreams", input);
    };
  }
  bool terminal = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
  if (!options.top.once && !options.common.json && terminal) return live(source, options);
  int rows = options.top.limit > 0 ? options.top.limit : kOnceRows;
  json report = source({options.top.order, options.top.filter, rows, 0});
  if (options.common.json) {
    print_json(report);
    return kOk;
  }
  TopView view;
  view.width = 200;
  view.height = 0;
  view.order = options.top.order;
  view.filter = options.top.filter;
  print(render_top(report, view));
  return kOk;
}

}  // namespace weir::cli
