#include "proxy/log_writer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "proxy/connection_log.h"
#include "proxy/health_log.h"

namespace weir::proxy {

namespace {
constexpr int64_t kFileSeconds = 300;
constexpr int kPollMs = 200;
constexpr int64_t kPauseMs = 1000;
constexpr int64_t kClockSlackNs = 5'000'000;

bool make_folders(const std::string& path) {
  for (size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at + 1);
    std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return false;
  }
  return true;
}

std::string formatted(int64_t unix_s, const char* form) {
  std::tm broken{};
  std::time_t second = unix_s;
  gmtime_r(&second, &broken);
  char text[64];
  std::strftime(text, sizeof text, form, &broken);
  return text;
}
}  // namespace

void LogFile::configure(const model::LogFiles& files, const std::string& node) {
  bool same = files.directory == files_.directory && files.prefix == files_.prefix && node == node_;
  if (same) return;
  flush(true);
  close_file();
  files_ = files;
  node_ = node;
  pause_until_ms_ = 0;
}

void LogFile::close_file() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

bool LogFile::open_file() {
  int64_t now_s = clock_.unix_ms() / 1000;
  if (fd_ >= 0 && now_s < until_s_) return true;
  close_file();
  until_s_ = (now_s / kFileSeconds + 1) * kFileSeconds;
  std::string folder = files_.directory + formatted(until_s_, "/%Y/%m/%d");
  std::string path = folder + "/" + files_.prefix + formatted(until_s_, "_%Y%m%dT%H%MZ_") + node_ + "_" +
                     random_.hex(8) + ".log";
  if (make_folders(folder)) fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  size_ = 0;
  if (fd_ >= 0) return true;
  if (!failing_) log_error("log file " + path + ": " + std::strerror(errno) + "; its records are lost");
  return false;
}

// Answers how many of the records stand in the file now. Of a write that took a part only, whole lines stay.
uint64_t LogFile::write_lines(uint64_t records) {
  size_t done = 0;
  while (done < lines_.size()) {
    ssize_t n = write(fd_, lines_.data() + done, lines_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (!failing_) log_error("log " + files_.prefix + ": " + std::strerror(errno) + "; records are lost");
      break;
    }
    done += static_cast<size_t>(n);
  }
  size_t whole = done == 0 ? 0 : lines_.rfind('\n', done - 1) + 1;  // npos + 1 is 0
  if (whole < done && ftruncate(fd_, size_ + static_cast<int64_t>(whole)) != 0) close_file();
  size_ += static_cast<int64_t>(whole);
  if (whole == lines_.size()) return records;
  return static_cast<uint64_t>(std::count(lines_.begin(), lines_.begin() + static_cast<ptrdiff_t>(whole), '\n'));
}

uint64_t LogFile::flush(bool all) {
  if (lines_.empty() || (!all && lines_.size() < kFlushBytes)) return 0;
  uint64_t lost = std::exchange(records_, 0);
  bool paused = clock_.unix_ms() < pause_until_ms_;
  if (on() && !paused && open_file()) lost -= write_lines(lost);
  lines_.clear();
  if (lost == 0) {
    if (failing_) log_info("log " + files_.prefix + " is written again");
    failing_ = false;
    return 0;
  }
  if (!paused) pause_until_ms_ = clock_.unix_ms() + kPauseMs;
  failing_ = true;
  return lost;
}

struct LogWriter::Files {
  Files(const Clock& clock, Random& random) : access(clock, random), connection(clock, random), health(clock, random) {}
  bool on() const { return access.on() || connection.on() || health.on(); }
  uint64_t flush(bool all) { return access.flush(all) + connection.flush(all) + health.flush(all); }
  LogFile access, connection, health;
};

LogWriter::LogWriter(const Clock& clock, Random random, int workers)
    : clock_(clock), random_(random), wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  WEIR_ASSERT(wake_fd_ >= 0);
  for (int i = 0; i < workers; ++i) rings_.push_back(std::make_unique<LogRing>());
}

LogWriter::~LogWriter() {
  if (thread_.joinable()) {
    stopping_.store(true);
    wake();
    thread_.join();
  }
  close(wake_fd_);
}

void LogWriter::configure(LogSettings settings) {
  std::lock_guard lock(mutex_);
  bool wanted = !settings.access.directory.empty() || !settings.connection.directory.empty() ||
                !settings.health.directory.empty();
  settings_ = std::move(settings);
  settings_new_ = true;
  if (wanted && !thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void LogWriter::wake() {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t n = write(wake_fd_, &one, sizeof one);
}

uint64_t LogWriter::lost() const {
  uint64_t sum = unwritten_.load(std::memory_order_relaxed);
  for (const auto& ring : rings_) sum += ring->lost();
  return sum;
}

void LogWriter::take_settings(Files& files) {
  std::lock_guard lock(mutex_);
  if (!settings_new_) return;
  settings_new_ = false;
  format_ = settings_.format;
  context_.load_balancer = settings_.load_balancer;
  files.access.configure(settings_.access, settings_.node);
  files.connection.configure(settings_.connection, settings_.node);
  files.health.configure(settings_.health, settings_.node);
}

void LogWriter::run() {
  Files files(clock_, random_);
  for (bool last = false; !last;) {
    last = stopping_.load();
    if (!last) {
      pollfd wait{wake_fd_, POLLIN, 0};
      poll(&wait, 1, kPollMs);
      uint64_t count = 0;
      [[maybe_unused]] ssize_t n = read(wake_fd_, &count, sizeof count);
    }
    drain(files);
    take_settings(files);
  }
}

void LogWriter::drain(Files& files) {
  int64_t offset = clock_.unix_ms() * 1'000'000 - clock_.now().time_since_epoch().count();
  if (std::abs(offset - context_.unix_minus_monotonic_ns) > kClockSlackNs) context_.unix_minus_monotonic_ns = offset;
  if (!files.on()) take_settings(files);
  uint64_t lost = 0;
  for (auto& ring : rings_) {
    ring->drain([&](const uint8_t* record) {
      format(record, files);
      lost += files.flush(false);
    });
  }
  lost += files.flush(true);
  if (lost > 0) unwritten_.fetch_add(lost, std::memory_order_relaxed);
}

namespace {
template <class Record>
void append_line(const uint8_t* bytes, LogFile& file, const LogContext& context,
                 void (*append)(std::string&, const Record&, const char*, const LogContext&)) {
  Record record;
  std::memcpy(&record, bytes, sizeof record);
  append(file.lines(), record, reinterpret_cast<const char*>(bytes) + sizeof record, context);
  file.note_record();
}
}  // namespace

void LogWriter::format(const uint8_t* bytes, Files& files) {
  bool json = format_ == model::LogFormat::Json;
  RecordKind kind{};
  std::memcpy(&kind, bytes + offsetof(AccessRecord, kind), sizeof kind);
  switch (kind) {
    case RecordKind::Access:
      return append_line(bytes, files.access, context_, json ? append_access_json : append_access_alb);
    case RecordKind::Connection:
      return append_line(bytes, files.connection, context_, json ? append_connection_json : append_connection_alb);
    case RecordKind::Health:
      return append_line(bytes, files.health, context_, json ? append_health_json : append_health_alb);
  }
}

}  // namespace weir::proxy
