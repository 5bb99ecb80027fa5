// What is wrong with a template, and where. All of it is collected before anything is answered.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace weir::cfn {

// Line and column, both from 1; 0:0 where there is no place in the text (a parameter value, say).
struct Mark {
  int line = 0;
  int column = 0;
  friend bool operator==(const Mark&, const Mark&) = default;
};

struct Diagnostic {
  int line = 0;
  int column = 0;
  std::string message;
  friend bool operator==(const Diagnostic&, const Diagnostic&) = default;
};

inline constexpr size_t kDiagnosticsMax = 200;

class Diagnostics {
 public:
  // Kept up to kDiagnosticsMax; the same message at the same place counts once.
  void add(Mark where, std::string message);
  bool empty() const { return all_.empty(); }
  size_t size() const { return all_.size(); }
  // Ordered by line and column.
  std::vector<Diagnostic> sorted() const;

 private:
  std::vector<Diagnostic> all_;
};

// " Did you mean X?" for the candidate nearest to `name`, or "" when none is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace weir::cfn
