// Small files and folders, with whole-file semantics.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"

namespace weir::runtime {

inline constexpr size_t kFileMax = 16 * 1024 * 1024;

// The error's code is errno (ENOENT when there is none).
Result<std::string> read_file(const std::string& path);
// Temporary file and rename: a reader sees the old text or the new; with Sync::Yes also after a crash
// of the machine.
enum class Sync { Yes, No };
Result<void> write_file(const std::string& path, const std::string& text, Sync sync);
Result<void> make_folders(const std::string& path);
// make_folders(), and nobody but its owner may look inside the last one.
Result<void> make_private_folder(const std::string& path);
// Idempotent; unmount what is mounted below it first.
Result<void> remove_tree(const std::string& path);
bool path_exists(const std::string& path);
// Names in a folder, sorted, without dot files; empty when there is no such folder.
std::vector<std::string> list_folder(const std::string& path);

// flock(2) on a file that is made if needed; released by the destructor and by the process's end.
class FileLock {
 public:
  static Result<FileLock> take(const std::string& path);
  // Without waiting; error code EWOULDBLOCK when somebody else holds it.
  static Result<FileLock> try_take(const std::string& path);
  // Together with others that take it shared.
  static Result<FileLock> take_shared(const std::string& path);
  // A process that inherits the descriptor shares the lock.
  int fd() const { return fd_; }
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  static Result<FileLock> take(const std::string& path, int operation);
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace weir::runtime
