#include "cli/instance.h"

#include <cstdint>
#include <filesystem>

#include <fmt/format.h>

namespace weir::cli {

std::string prepared_state_dir(const std::string& state_dir) {
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  std::filesystem::path real = std::filesystem::canonical(state_dir, error);
  if (!error) return real.string();
  return std::filesystem::absolute(state_dir, error).lexically_normal().string();
}

std::string instance_id(const std::string& state_dir) {
  uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
  for (unsigned char c : state_dir) hash = (hash ^ c) * 0x100000001b3ull;
  return fmt::format("{:06x}", (hash ^ (hash >> 24) ^ (hash >> 48)) & 0xffffff);
}

}  // namespace weir::cli
