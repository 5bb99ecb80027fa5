#include "runtime/image_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/files.h"
#include "runtime/process.h"
#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

using nlohmann::json;

constexpr int kUnpackTimeoutMs = 300'000;
constexpr size_t kTarEntriesMax = 100'000;

Result<json> read_json(const std::string& path) {
  WEIR_TRY_ASSIGN(std::string text, read_file(path));
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return fail(path + " is not JSON");
  return value;
}

std::string text_at(const json& value, const char* key) {
  return value.is_object() && value.contains(key) && value[key].is_string() ? value[key].get<std::string>()
                                                                            : "";
}

std::vector<std::string> list_at(const json& value, const char* key) {
  std::vector<std::string> list;
  if (!value.is_object() || !value.contains(key) || !value[key].is_array()) return list;
  for (const json& item : value[key]) {
    if (item.is_string()) list.push_back(item.get<std::string>());
  }
  return list;
}

// "sha256:HEX" -> "HEX"; anything else could be a path.
Result<std::string> digest_name(const std::string& digest) {
  bool good = digest.size() == 71 && digest.starts_with("sha256:") &&
              digest.find_first_not_of("0123456789abcdef", 7) == std::string::npos;
  if (!good) return fail("the image's digest \"" + digest + "\" is not a sha256 digest");
  return digest.substr(7);
}

// True when the (uncompressed) tar has a member of that name at its root.
bool tar_has(const std::string& path, const std::string& member) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 512> header;
  off_t at = 0;
  for (size_t i = 0; i < kTarEntriesMax && file.valid(); ++i) {
    if (::pread(file.get(), header.data(), header.size(), at) != static_cast<ssize_t>(header.size()))
      return false;
    std::string name(header.data(), strnlen(header.data(), 100));
    if (name == member || name == "./" + member) return true;
    if (name.empty()) return false;
    long long size = std::strtoll(std::string(header.data() + 124, 12).c_str(), nullptr, 8);
    if (size < 0) return false;
    at += 512 + (size + 511) / 512 * 512;
  }
  return false;
}

// A plain path becomes the transport skopeo needs for what lies there.
Result<std::string> transport(const std::string& source) {
  for (const char* known : {"docker-archive:", "oci-archive:", "oci:", "docker://", "dir:"}) {
    if (source.starts_with(known)) return source;
  }
  struct stat info;
  if (::stat(source.c_str(), &info) != 0) return fail_errno(source, errno);
  if (S_ISDIR(info.st_mode)) {
    if (!path_exists(source + "/index.json")) {
      return fail(source + " is a folder, but no OCI layout (it has no index.json)");
    }
    return "oci:" + source;
  }
  return (tar_has(source, "oci-layout") ? "oci-archive:" : "docker-archive:") + source;
}

bool is_local_registry(const std::string& source) {
  if (!source.starts_with("docker://")) return false;
  Result<ImageName> name = parse_image_name(source.substr(9));
  return name && name->host_is_local();
}

// The first name a docker archive carries.
Result<std::string> own_name(const std::string& source) {
  std::string hint = "; name the image with --name NAME[:TAG]";
  if (!source.starts_with("docker-archive:")) return fail(source + " does not carry a name" + hint);
  ProcessSpec skopeo;
  skopeo.argv = {"skopeo", "list-tags", source};
  WEIR_TRY_ASSIGN(std::string text, run_checked(skopeo));
  json tags = json::parse(text, nullptr, false);
  std::vector<std::string> names = list_at(tags, "Tags");
  if (names.empty()) return fail(source + " does not carry a name" + hint);
  return names.front();
}

// From the layout skopeo wrote: the config's digest and the path of its blob.
struct ConfigBlob {
  std::string digest;
  std::string path;
};

Result<ConfigBlob> find_config(const std::string& layout) {
  auto blob = [&layout](const std::string& name) { return layout + "/blobs/sha256/" + name; };
  WEIR_TRY_ASSIGN(json index, read_json(layout + "/index.json"));
  if (!index.is_object() || !index.contains("manifests") || index["manifests"].empty()) {
    return fail("the image has no manifest");
  }
  WEIR_TRY_ASSIGN(std::string manifest_name, digest_name(text_at(index["manifests"].back(), "digest")));
  WEIR_TRY_ASSIGN(json manifest, read_json(blob(manifest_name)));
  if (!manifest.is_object() || !manifest.contains("config"))
    return fail("the image's manifest names no config");
  std::string digest = text_at(manifest["config"], "digest");
  WEIR_TRY_ASSIGN(std::string config_name, digest_name(digest));
  return ConfigBlob{digest, blob(config_name)};
}

// Everything on disk before the name appears.
Result<void> sync_folder(const std::string& path) {
  UniqueFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid() || ::syncfs(folder.get()) != 0) return fail_errno("sync " + path, errno);
  return {};
}

// Removes its folder unless that was renamed away.
class WorkFolder {
 public:
  static Result<WorkFolder> make(const std::string& parent) {
    static std::atomic<unsigned> counter = 0;
    std::string path = parent + "/.tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    WEIR_TRY(remove_tree(path));
    WEIR_TRY(make_folders(path));
    return WorkFolder(path);
  }
  WorkFolder(WorkFolder&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  WorkFolder& operator=(WorkFolder&&) = delete;
  ~WorkFolder() {
    if (!path_.empty()) (void)remove_tree(path_).has_value();
  }
  const std::string& path() const { return path_; }

 private:
  explicit WorkFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace

Result<Image> ImageStore::find(const ImageName& name) const {
  Result<json> refs = read_json(folder_ + "/refs.json");
  if (!refs && refs.error().code != ENOENT) return std::unexpected(refs.error());
  std::string id = refs ? text_at(*refs, name.text().c_str()) : "";
  if (id.empty()) return fail("no image is named " + name.text(), ENOENT);
  WEIR_TRY_ASSIGN(std::string folder, digest_name(id));
  Result<json> read = read_json(folder_ + "/" + folder + "/config.json");
  if (!read) return fail("image " + name.text() + ": " + read.error().message, read.error().code);
  const json none = json::object();
  const json& config = read->is_object() && read->contains("config") ? (*read)["config"] : none;
  Image image;
  image.id = id;
  image.rootfs = folder_ + "/" + folder + "/rootfs";
  image.entry_point = list_at(config, "Entrypoint");
  image.command = list_at(config, "Cmd");
  image.environment = list_at(config, "Env");
  image.working_directory = text_at(config, "WorkingDir");
  image.user = text_at(config, "User");
  image.stop_signal = text_at(config, "StopSignal");
  return image;
}

Result<std::vector<std::string>> ImageStore::list() const {
  std::vector<std::string> names;
  Result<json> refs = read_json(folder_ + "/refs.json");
  if (!refs && refs.error().code == ENOENT) return names;
  if (!refs) return std::unexpected(refs.error());
  if (!refs->is_object()) return fail(folder_ + "/refs.json is not an object");
  for (const auto& item : refs->items()) names.push_back(item.key());
  return names;
}

void ImageStore::remove_dead_imports() const {
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder_, error), end; !error && at != end;
       at.increment(error)) {
    std::string name = at->path().filename().string();
    if (!name.starts_with(".tmp-")) continue;
    int pid = std::atoi(name.c_str() + 5);
    if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) (void)remove_tree(at->path().string()).has_value();
  }
}

Result<void> ImageStore::fetch(const std::string& work, const std::string& source, int timeout_ms) {
  ProcessSpec skopeo;
  skopeo.argv = {"skopeo", "--insecure-policy", "--tmpdir", work, "copy", "--quiet"};
  if (is_local_registry(source)) skopeo.argv.push_back("--src-tls-verify=false");
  skopeo.argv.insert(skopeo.argv.end(), {source, "oci:" + work + "/oci:image"});
  skopeo.timeout_ms = timeout_ms;
  WEIR_TRY(run_checked(skopeo));
  return {};
}

Result<std::string> ImageStore::unpack(const std::string& work) {
  WEIR_TRY_ASSIGN(ConfigBlob config, find_config(work + "/oci"));
  WEIR_TRY_ASSIGN(std::string name, digest_name(config.digest));
  if (path_exists(folder_ + "/" + name)) return config.digest;
  std::string unpacked = work + "/unpacked";
  WEIR_TRY(make_folders(unpacked));
  ProcessSpec umoci;
  umoci.argv = {"umoci", "raw", "unpack", "--image", work + "/oci:image", unpacked + "/rootfs"};
  umoci.timeout_ms = kUnpackTimeoutMs;
  WEIR_TRY(run_checked(umoci));
  WEIR_TRY_ASSIGN(std::string config_text, read_file(config.path));
  WEIR_TRY(write_file(unpacked + "/config.json", config_text, Sync::No));
  WEIR_TRY(sync_folder(unpacked));
  if (::rename(unpacked.c_str(), (folder_ + "/" + name).c_str()) != 0)
    return fail_errno("keep the image", errno);
  return config.digest;
}

Result<void> ImageStore::set_reference(const std::string& name, const std::string& id) {
  Result<json> refs = read_json(folder_ + "/refs.json");
  if (!refs && refs.error().code != ENOENT) return std::unexpected(refs.error());
  json next = refs && refs->is_object() ? *refs : json::object();
  next[name] = id;
  WEIR_TRY(write_file(folder_ + "/refs.json", next.dump(1) + "\n", Sync::Yes));
  std::set<std::string> used = {"refs.json"};
  for (const auto& item : next.items()) {
    if (item.value().is_string()) used.insert(digest_name(item.value().get<std::string>()).value_or(""));
  }
  // An image without a name stays as long as a container's root is mounted on it.
  std::string mounts = read_file("/proc/self/mounts").value_or(folder_);
  for (const std::string& folder : list_folder(folder_)) {
    bool mounted = mounts.find(folder) != std::string::npos || mounts == folder_;
    if (!used.contains(folder) && !mounted) (void)remove_tree(folder_ + "/" + folder).has_value();
  }
  return {};
}

Result<std::string> ImageStore::import(const std::string& source, const std::string& name, int timeout_ms) {
  auto explain = [&source](const Error& error) {
    return fail("cannot import " + source + ": " + error.message, error.code);
  };
  Result<std::string> from = transport(source);
  if (!from) return explain(from.error());
  Result<std::string> wanted = name.empty() ? own_name(*from) : Result<std::string>(name);
  if (!wanted) return explain(wanted.error());
  WEIR_TRY_ASSIGN(ImageName parsed, parse_image_name(*wanted));
  WEIR_TRY(make_private_folder(folder_));
  remove_dead_imports();
  WEIR_TRY_ASSIGN(WorkFolder work, WorkFolder::make(folder_));
  Result<void> fetched = fetch(work.path(), *from, timeout_ms);
  if (!fetched) return explain(fetched.error());
  // From here to the reference: nobody may take the image for one without a name.
  WEIR_TRY_ASSIGN(FileLock lock, FileLock::take(folder_ + "/.lock"));
  Result<std::string> id = unpack(work.path());
  if (!id) return explain(id.error());
  WEIR_TRY(set_reference(parsed.text(), *id));
  return *id;
}

}  // namespace weir::runtime
