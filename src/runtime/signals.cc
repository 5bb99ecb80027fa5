#include "runtime/signals.h"

#include <signal.h>

#include <charconv>
#include <cstring>

namespace weir::runtime {
namespace {

// -1: not a number between 0 and 64.
int small_number(const std::string& text) {
  int value = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool good =
      !text.empty() && error == std::errc() && end == text.data() + text.size() && value >= 0 && value <= 64;
  return good ? value : -1;
}

}  // namespace

Result<int> signal_number(const std::string& name) {
  std::string word = name.starts_with("SIG") ? name.substr(3) : name;
  if (int number = small_number(word); number > 0) return number;
  if (word == "RTMIN") return SIGRTMIN;
  if (word == "RTMAX") return SIGRTMAX;
  if (word.starts_with("RTMIN+") || word.starts_with("RTMAX-")) {
    int offset = small_number(word.substr(6));
    int number = word.starts_with("RTMIN") ? SIGRTMIN + offset : SIGRTMAX - offset;
    if (offset >= 0 && number >= SIGRTMIN && number <= SIGRTMAX) return number;
  }
  for (int number = 1; number < 32; ++number) {
    const char* known = sigabbrev_np(number);
    if (known != nullptr && word == known) return number;
  }
  return fail("\"" + name + "\" is not a signal");
}

}  // namespace weir::runtime
