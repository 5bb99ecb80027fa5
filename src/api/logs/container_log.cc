#include "api/logs/container_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <map>
#include <optional>

namespace weir::api {
namespace {

constexpr size_t kPageBytes = 1 << 20;
constexpr size_t kTailBytes = 1 << 20;

struct File {
  int fd = -1;
  int64_t size = 0;
  ~File() {
    if (fd >= 0) close(fd);
  }
};

// fd stays -1 when there is no such file.
Result<void> open_file(const std::string& path, File& file) {
  file.fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file.fd < 0 && errno == ENOENT) return {};
  if (file.fd < 0) return fail_errno("reading " + path, errno);
  struct stat status {};
  if (fstat(file.fd, &status) != 0) return fail_errno("reading " + path, errno);
  if (!S_ISREG(status.st_mode)) return fail(path + " is not a file");
  file.size = status.st_size;
  return {};
}

Result<std::string> read_at(const File& file, int64_t offset, size_t count) {
  std::string bytes(count, '\0');
  size_t got = 0;
  while (got < count) {
    ssize_t part = pread(file.fd, bytes.data() + got, count - got, offset + static_cast<int64_t>(got));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return fail_errno("reading a log", errno);
    if (part == 0) break;
    got += static_cast<size_t>(part);
  }
  bytes.resize(got);
  return bytes;
}

struct Line {
  std::string time;
  std::string stream;
  bool partial = false;
  std::string message;
};

std::optional<Line> parse_line(const std::string& text) {
  size_t first = text.find(' ');
  size_t second = first == std::string::npos ? first : text.find(' ', first + 1);
  if (second == std::string::npos || second + 1 >= text.size()) return std::nullopt;
  Line line;
  line.time = text.substr(0, first);
  line.stream = text.substr(first + 1, second - first - 1);
  line.partial = text[second + 1] == 'P';
  size_t third = text.find(' ', second + 1);
  if (third != std::string::npos) line.message = text.substr(third + 1);
  return line;
}

}  // namespace

int64_t parse_rfc3339_ms(const std::string& text) {
  std::tm broken{};
  int length = 0;
  int fields = std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &broken.tm_year, &broken.tm_mon, &broken.tm_mday,
                           &broken.tm_hour, &broken.tm_min, &broken.tm_sec, &length);
  if (fields != 6) return -1;
  broken.tm_year -= 1900;
  broken.tm_mon -= 1;
  int64_t ms = static_cast<int64_t>(timegm(&broken)) * 1000;
  size_t at = static_cast<size_t>(length);
  if (at < text.size() && text[at] == '.') {
    int64_t scale = 100;
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      ms += (text[at] - '0') * scale;
      scale /= 10;
    }
  }
  int hours = 0;
  int minutes = 0;
  if (at < text.size() && (text[at] == '+' || text[at] == '-') &&
      std::sscanf(text.c_str() + at + 1, "%2d:%2d", &hours, &minutes) == 2) {
    ms -= (text[at] == '+' ? 1 : -1) * static_cast<int64_t>(hours * 60 + minutes) * 60'000;
  }
  return ms;
}

Result<LogPage> read_container_log(const std::string& path, int64_t offset, size_t events_max) {
  LogPage page;
  File file;
  WEIR_TRY(open_file(path, file));
  if (file.fd < 0) return page;
  if (offset < 0 || offset > file.size) offset = 0;
  page.next_offset = offset;
  WEIR_TRY_ASSIGN(std::string bytes, read_at(file, offset, kPageBytes));
  std::map<std::string, LogEvent> partial;
  size_t begin = 0;
  while (page.events.size() < events_max) {
    size_t end = bytes.find('\n', begin);
    bool giant = end == std::string::npos && begin == 0 && bytes.size() == kPageBytes;
    if (end == std::string::npos && !giant) break;
    size_t stop = giant ? bytes.size() : end;
    auto line = parse_line(bytes.substr(begin, stop - begin));
    begin = giant ? stop : end + 1;
    if (line) {
      LogEvent& event = partial[line->stream];
      if (event.message.empty()) event = {parse_rfc3339_ms(line->time), line->stream, ""};
      event.message += line->message;
      if (line->partial) continue;
      page.events.push_back(std::move(event));
      partial.erase(line->stream);
    }
    page.next_offset = offset + static_cast<int64_t>(begin);
    if (giant) break;
  }
  return page;
}

Result<int64_t> tail_offset(const std::string& path, size_t events_max) {
  File file;
  WEIR_TRY(open_file(path, file));
  if (file.fd < 0) return 0;
  int64_t from = std::max<int64_t>(0, file.size - static_cast<int64_t>(kTailBytes));
  WEIR_TRY_ASSIGN(std::string bytes, read_at(file, from, kTailBytes));
  size_t lines = 0;
  for (size_t i = bytes.size(); i > 0; --i) {
    if (bytes[i - 1] == '\n' && i != bytes.size() && ++lines == events_max) return from + static_cast<int64_t>(i);
  }
  if (from == 0) return 0;
  size_t first = bytes.find('\n');
  return from + static_cast<int64_t>(first == std::string::npos ? 0 : first + 1);
}

}  // namespace weir::api
