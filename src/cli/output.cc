#include "cli/output.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace weir::cli {
namespace {

bool colors_on(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  return (no_color == nullptr || *no_color == '\0') && isatty(fd) != 0;
}

}  // namespace

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void note(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

void print_json(const nlohmann::json& value) {
  print(value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::string paint(Color color, std::string_view text, bool for_output) {
  const char* code = nullptr;
  switch (color) {
    case Color::Plain: break;
    case Color::Good: code = "32"; break;
    case Color::Bad: code = "31"; break;
    case Color::Warn: code = "33"; break;
    case Color::Dim: code = "2"; break;
    case Color::Bold: code = "1"; break;
  }
  if (code == nullptr || !colors_on(for_output ? STDOUT_FILENO : STDERR_FILENO)) return std::string(text);
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

Color color_of_status(std::string_view status) {
  for (std::string_view bad : {"FAILED", "ROLLBACK", "failed", "unhealthy", "STOPPED"}) {
    if (status.find(bad) != std::string_view::npos) return Color::Bad;
  }
  for (std::string_view good : {"COMPLETE", "active", "healthy", "RUNNING", "ACTIVE"}) {
    if (status == good || status.ends_with("_COMPLETE")) return Color::Good;
  }
  return Color::Warn;
}

bool standard_input_is_terminal() { return isatty(STDIN_FILENO) != 0; }

size_t visible_width(std::string_view text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\033') {
      while (i < text.size() && text[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {
      ++width;
    }
  }
  return width;
}

std::string Table::text() const {
  std::vector<size_t> widths;
  for (const auto& row : rows_) {
    if (row.size() > widths.size()) widths.resize(row.size());
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], visible_width(row[i]));
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line(static_cast<size_t>(indent_), ' ');
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - visible_width(row[i]) + 2, ' ');
    }
    while (line.ends_with(' ')) line.pop_back();
    out += line + "\n";
  }
  return out;
}

}  // namespace weir::cli
