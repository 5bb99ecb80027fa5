// Writes the logs of one balancer (requests, connections, health checks), on a thread of its own: takes the workers'
// records from their rings, makes lines of them, and writes these to files. A disk that is full or slow loses
// records, which are counted; nothing ever waits for it.
//
// Files are named as ALB names its objects, DIRECTORY/yyyy/mm/dd/PREFIX_<end time>_<node address>_<random>.log, and
// there is a new one every five minutes. They are plain text and grow while their five minutes last.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "model/snapshot.h"
#include "proxy/access_log.h"
#include "proxy/log_ring.h"

namespace weir::proxy {

struct LogSettings {
  model::LogFiles access;
  model::LogFiles connection;
  model::LogFormat format = model::LogFormat::Alb;
  std::string load_balancer;  // "app/NAME/ID"
  std::string node;           // an address of ours, for file names
  model::LogFiles health = {};
};

// One log's files. Not thread-safe.
class LogFile {
 public:
  LogFile(const Clock& clock, Random& random) : clock_(clock), random_(random) {}
  ~LogFile() { close_file(); }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  void configure(const model::LogFiles& files, const std::string& node);
  bool on() const { return !files_.directory.empty(); }
  std::string& lines() { return lines_; }  // append here, whole lines
  void note_record() { ++records_; }
  // Writes what was appended, if it is much or `all`. Answers how many records were lost.
  uint64_t flush(bool all);

 private:
  static constexpr size_t kFlushBytes = 256u << 10;
  bool open_file();
  void close_file();
  uint64_t write_lines(uint64_t records);

  const Clock& clock_;
  Random& random_;
  model::LogFiles files_;
  std::string node_;
  std::string lines_;
  uint64_t records_ = 0;
  int fd_ = -1;
  int64_t until_s_ = 0;     // the open file's five minutes end here
  int64_t size_ = 0;        // of whole lines in it
  int64_t pause_until_ms_ = 0;  // after a failure nothing is tried for a while
  bool failing_ = false;
};

class LogWriter {
 public:
  LogWriter(const Clock& clock, Random random, int workers);
  ~LogWriter();  // writes what is there, then ends the thread
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  LogRing* ring(int worker) { return rings_[static_cast<size_t>(worker)].get(); }
  // Any thread. The thread starts with the first log that is on.
  void configure(LogSettings settings);
  // Worker threads; one system call.
  void wake();
  // Any thread: records that found no room or could not be written.
  uint64_t lost() const;

 private:
  struct Files;
  void run();
  void take_settings(Files& files);
  void drain(Files& files);
  void format(const uint8_t* record, Files& files);

  const Clock& clock_;
  Random random_;
  std::vector<std::unique_ptr<LogRing>> rings_;
  std::mutex mutex_;
  LogSettings settings_;      // under mutex_
  bool settings_new_ = false; // under mutex_
  model::LogFormat format_ = model::LogFormat::Alb;
  LogContext context_;
  int wake_fd_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> unwritten_{0};
  std::thread thread_;
};

}  // namespace weir::proxy
