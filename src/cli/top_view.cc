#include "cli/top_view.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace weir::cli {

using nlohmann::json;

namespace {

struct Column {
  const char* title;
  const char* order;  // the sort key that makes it the first; "" for none
  int width;          // at least
  bool right;
};
constexpr Column kColumns[] = {{"METHOD", "", 20, false},    {"CLIENT", "", 15, false},
                               {"TARGET", "", 15, false},    {"AGE", "age", 6, true},
                               {"IDLE", "idle", 6, true},    {"MSG>", "messages", 6, true},
                               {"MSG<", "messages", 6, true}, {"MSG/s>", "rate", 7, true},
                               {"MSG/s<", "rate", 7, true},  {"B/s", "bytes", 7, true},
                               {"WAITS", "blocked", 6, true}, {"BLOCKED BY", "blocked", 10, false}};
constexpr size_t kColumnCount = std::size(kColumns);

uint64_t whole(const json& row, const char* key) { return row.value(key, uint64_t{0}); }

std::vector<std::string> cells_of(const json& row) {
  std::string blocked = row.value("Blocked", "none");
  uint64_t waits = whole(row, "WaitingBytes");
  return {row.value("Method", ""),
          row.value("Client", ""),
          row.value("Target", "").empty() ? "-" : row.value("Target", ""),
          short_duration(whole(row, "AgeMs")),
          short_duration(whole(row, "IdleMs")),
          short_count(static_cast<double>(whole(row, "RequestMessages"))),
          short_count(static_cast<double>(whole(row, "ResponseMessages"))),
          short_count(row.value("RequestRate", 0.0)),
          short_count(row.value("ResponseRate", 0.0)),
          short_count(static_cast<double>(whole(row, "ByteRate"))),
          waits == 0 ? "" : short_count(static_cast<double>(waits)),
          blocked == "none" ? "" : blocked};
}

// Names come from peers: what a terminal would act on must not reach it.
std::string printable(const std::string& text) {
  std::string out = text;
  for (char& c : out) {
    auto u = static_cast<unsigned char>(c);
    if (u < ' ' || u >= 0x7f) c = '?';
  }
  return out;
}

// Too long: the end of it, which tells methods of one package apart.
std::string fitted(const std::string& text, int width, bool right) {
  auto size = static_cast<int>(text.size());
  if (size > width) return "~" + text.substr(static_cast<size_t>(size - width + 1));
  std::string pad(static_cast<size_t>(width - size), ' ');
  return right ? pad + text : text + pad;
}

std::vector<int> widths_of(const std::vector<std::vector<std::string>>& rows, int width) {
  std::vector<int> widths;
  int sum = 0;
  for (size_t c = 0; c < kColumnCount; ++c) {
    int most = kColumns[c].width;
    for (const auto& row : rows) most = std::max(most, static_cast<int>(row[c].size()));
    widths.push_back(most);
    sum += most + 1;
  }
  // The method gives way first, then client and target.
  for (size_t c : {0, 1, 2}) {
    int spare = widths[c] - kColumns[c].width;
    int take = std::clamp(sum - width, 0, std::max(spare, 0));
    widths[c] -= take;
    sum -= take;
  }
  if (sum < width) widths[0] += std::min(width - sum, 40);
  return widths;
}

std::string bar(const TopView& view, const json& report, size_t shown) {
  uint64_t open = report.value("Open", uint64_t{0});
  std::string text = fmt::format("weir top  {} open {}", open, open == 1 ? "stream" : "streams");
  if (shown > 0) text += fmt::format(", {}-{} by {}", view.skip + 1, view.skip + static_cast<int>(shown), view.order);
  if (!view.filter.empty() || view.typing) text += fmt::format("  filter: {}{}", view.filter, view.typing ? "_" : "");
  if (view.paused) text += "  PAUSED";
  for (const auto& name : report.value("Unanswered", json::array())) {
    text += fmt::format("  {} does not answer", name.get<std::string>());
  }
  return text;
}

}  // namespace

std::string short_count(double value) {
  if (value < 9.95 && value != static_cast<double>(static_cast<uint64_t>(value))) return fmt::format("{:.1f}", value);
  if (value < 9999.5) return fmt::format("{:.0f}", value);
  for (const char* unit : {"k", "M", "G", "T"}) {
    value /= 1000;
    if (value < 99.95) return fmt::format("{:.1f}{}", value, unit);
    if (value < 999.5) return fmt::format("{:.0f}{}", value, unit);
  }
  return fmt::format("{:.0f}P", value / 1000);
}

std::string short_duration(uint64_t ms) {
  uint64_t s = ms / 1000;
  if (ms < 1000) return fmt::format("{}ms", ms);
  if (s < 60) return fmt::format("{}.{}s", s, ms % 1000 / 100);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
  return fmt::format("{}d{:02}h", s / 86400, s % 86400 / 3600);
}

std::string render_top(const json& report, const TopView& view) {
  std::vector<std::vector<std::string>> rows;
  size_t room = view.height > 3 ? static_cast<size_t>(view.height - 3) : view.height == 0 ? SIZE_MAX : 0;
  for (const auto& stream : report.value("Streams", json::array())) {
    if (rows.size() >= room) break;
    rows.push_back(cells_of(stream));
    for (std::string& cell : rows.back()) cell = printable(cell);
  }
  std::vector<int> widths = widths_of(rows, view.width);
  auto cut = [&](std::string line) {
    if (static_cast<int>(line.size()) > view.width) line.resize(static_cast<size_t>(view.width));
    while (line.ends_with(' ')) line.pop_back();
    return line;
  };
  auto painted = [&](const char* code, const std::string& line) {
    return view.color ? fmt::format("\033[{}m{}\033[0m", code, line) : line;
  };
  std::string out = painted("1", cut(printable(bar(view, report, rows.size())))) + "\n";
  std::string head;
  for (size_t c = 0; c < kColumnCount; ++c) {
    std::string title = kColumns[c].title;
    if (view.order == kColumns[c].order) title = "*" + title;
    head += fitted(title, widths[c], kColumns[c].right) + " ";
  }
  out += painted("7", cut(head)) + "\n";
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < kColumnCount; ++c) line += fitted(row[c], widths[c], kColumns[c].right) + " ";
    out += (row.back().empty() ? cut(line) : painted("33", cut(line))) + "\n";
  }
  return out;
}

}  // namespace weir::cli
