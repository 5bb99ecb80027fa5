#include "runtime/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>

#include "runtime/unique_fd.h"

namespace weir::runtime {

namespace fs = std::filesystem;

Result<std::string> read_file(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return fail_errno(path, errno);
  std::string text;
  std::array<char, 16384> block;
  for (;;) {
    ssize_t n = ::read(file.get(), block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(path, errno);
    if (n == 0) return text;
    text.append(block.data(), static_cast<size_t>(n));
    if (text.size() > kFileMax)
      return fail(path + " is larger than " + std::to_string(kFileMax) + " bytes", EFBIG);
  }
}

Result<void> write_file(const std::string& path, const std::string& text, Sync sync) {
  constexpr mode_t kMode = 0644;
  static std::atomic<unsigned> counter = 0;
  std::string temporary = path + ".tmp" + std::to_string(::getpid()) + "." + std::to_string(counter++);
  UniqueFd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode));
  if (!file.valid()) return fail_errno("write " + path, errno);
  ::fchmod(file.get(), kMode);  // whatever the umask
  size_t written = 0;
  int error = 0;
  while (error == 0 && written < text.size()) {
    ssize_t n = ::write(file.get(), text.data() + written, text.size() - written);
    if (n > 0) {
      written += static_cast<size_t>(n);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error == 0 && sync == Sync::Yes && ::fsync(file.get()) != 0) error = errno;
  file.reset();
  if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return {};
  ::unlink(temporary.c_str());
  return fail_errno("write " + path, error);
}

Result<void> make_folders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return fail_errno("make folder " + path, error.value());
  return {};
}

Result<void> make_private_folder(const std::string& path) {
  WEIR_TRY(make_folders(path));
  if (::chmod(path.c_str(), 0700) != 0) return fail_errno("chmod " + path, errno);
  return {};
}

Result<void> remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return fail_errno("remove " + path, error.value());
  return {};
}

bool path_exists(const std::string& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0;
}

std::vector<std::string> list_folder(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    std::string name = at->path().filename().string();
    if (!name.starts_with(".")) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<FileLock> FileLock::take(const std::string& path) { return take(path, LOCK_EX); }
Result<FileLock> FileLock::take_shared(const std::string& path) { return take(path, LOCK_SH); }
Result<FileLock> FileLock::try_take(const std::string& path) { return take(path, LOCK_EX | LOCK_NB); }

Result<FileLock> FileLock::take(const std::string& path, int operation) {
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return fail_errno(path, errno);
  while (::flock(fd, operation) != 0) {
    if (errno == EINTR) continue;
    int error = errno;
    ::close(fd);
    return fail_errno("lock " + path, error);
  }
  return FileLock(fd);
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace weir::runtime
