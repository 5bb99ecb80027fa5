// gRPC methods by name, with what is counted for each. One per worker.
//
// Limit: kMethodsMax names; what does not fit is counted under "other". A name that no target has ever served, and
// that has no open stream, gives its place to a new one, so that calls of invented names cannot fill the table.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proxy/histogram.h"

namespace weir::proxy {

inline constexpr uint32_t kMethodsMax = 1000;
inline constexpr size_t kMethodNameBytesMax = 256;
inline constexpr uint32_t kOtherMethod = 0;
inline constexpr size_t kGrpcCodes = 17;  // 0…16; the place behind them: no status, or one that gRPC does not know

struct MethodStats {
  std::string name;     // "/package.Service/Method"
  bool served = false;  // a target has answered with anything but UNIMPLEMENTED
  uint32_t open = 0;
  uint64_t started = 0;
  std::array<uint64_t, kGrpcCodes + 1> by_code{};
  uint64_t request_messages = 0;
  uint64_t response_messages = 0;
  Histogram duration;  // from the request's head to the end of the stream
};

class MethodTable {
 public:
  MethodTable();
  // The id of a path; kOtherMethod when there is no room or the path does not look like a method.
  uint32_t resolve(std::string_view path);
  MethodStats& at(uint32_t id) { return *methods_[id]; }
  const MethodStats& at(uint32_t id) const { return *methods_[id]; }
  uint32_t size() const { return static_cast<uint32_t>(methods_.size()); }
  // Changes whenever an id gets another name: ids that were remembered elsewhere are worth nothing then.
  uint32_t epoch() const { return epoch_; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  uint32_t reuse(std::string_view path);

  std::vector<std::unique_ptr<MethodStats>> methods_;
  std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>> ids_;
  uint32_t cursor_ = 1;
  uint32_t epoch_ = 1;
};

}  // namespace weir::proxy
