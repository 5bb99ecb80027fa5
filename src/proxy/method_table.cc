#include "proxy/method_table.h"

#include <algorithm>

namespace weir::proxy {

namespace {
constexpr int kProbes = 8;  // places looked at for one that may be reused

bool looks_like_method(std::string_view path) {
  if (path.size() < 4 || path.size() > kMethodNameBytesMax || path[0] != '/') return false;
  size_t slash = path.find('/', 1);
  bool two_parts = slash != std::string_view::npos && slash > 1 && slash + 1 < path.size();
  return two_parts && std::all_of(path.begin(), path.end(), [](unsigned char c) {
           return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '?';
         });
}
}  // namespace

MethodTable::MethodTable() { methods_.emplace_back(std::make_unique<MethodStats>())->name = "other"; }

uint32_t MethodTable::resolve(std::string_view path) {
  auto found = ids_.find(path);
  if (found != ids_.end()) return found->second;
  if (!looks_like_method(path)) return kOtherMethod;
  if (methods_.size() > kMethodsMax) return reuse(path);
  auto id = static_cast<uint32_t>(methods_.size());
  methods_.emplace_back(std::make_unique<MethodStats>())->name = path;
  ids_.emplace(std::string(path), id);
  return id;
}

uint32_t MethodTable::reuse(std::string_view path) {
  for (int i = 0; i < kProbes; ++i) {
    uint32_t id = cursor_;
    cursor_ = cursor_ < kMethodsMax ? cursor_ + 1 : 1;
    MethodStats& m = *methods_[id];
    if (m.served || m.open > 0) continue;
    ids_.erase(m.name);
    MethodStats& other = *methods_[kOtherMethod];  // what was counted stays counted
    other.started += m.started;
    for (size_t c = 0; c < m.by_code.size(); ++c) other.by_code[c] += m.by_code[c];
    m = {};
    m.name = path;
    ids_.emplace(std::string(path), id);
    ++epoch_;
    return id;
  }
  return kOtherMethod;
}

}  // namespace weir::proxy
