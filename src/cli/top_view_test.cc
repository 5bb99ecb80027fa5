#include "cli/top_view.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weir::cli {
namespace {

using nlohmann::json;

json report(int streams) {
  json rows = json::array();
  for (int i = 0; i < streams; ++i) {
    rows.push_back({{"Method", "/very.long.package.name.of.a.Service/Method" + std::to_string(i)},
                    {"Client", "10.0.0.1:5000"}, {"Target", "10.0.1.11:50051"}, {"AgeMs", 754'000}, {"IdleMs", 20},
                    {"RequestMessages", 12'345}, {"ResponseMessages", 7}, {"RequestRate", 0.5},
                    {"ResponseRate", 1234.0}, {"ByteRate", 5'600'000}, {"WaitingBytes", i == 0 ? 2048 : 0},
                    {"Blocked", i == 0 ? "client" : "none"}});
  }
  return {{"Open", streams}, {"Streams", rows}, {"Unanswered", json::array()}};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out{""};
  for (char c : text) {
    if (c == '\n') {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  out.pop_back();
  return out;
}

TEST(TopView, ShowsARowPerStreamWithAgesCountsAndWhoBlocks) {
  auto lines = lines_of(render_top(report(2), {.width = 200, .height = 0}));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_TRUE(lines[0].starts_with("weir top  2 open streams"));
  for (const char* part : {"/very.long.package.name.of.a.Service/Method0", "12m34s", "20ms", "12.3k", "0.5", "1234",
                           "5.6M", "2048", "client"}) {
    EXPECT_NE(lines[2].find(part), std::string::npos) << part << " in " << lines[2];
  }
}

TEST(TopView, FitsEveryScreen) {
  for (int width : {1, 20, 80, 119, 300}) {
    for (int height : {1, 3, 4, 10, 50}) {
      auto lines = lines_of(render_top(report(30), {.width = width, .height = height}));
      EXPECT_LE(static_cast<int>(lines.size()), std::max(height, 3));
      for (const std::string& line : lines) EXPECT_LE(static_cast<int>(line.size()), width);
    }
  }
}

TEST(TopView, PassesNoControlCharactersOfAPeerToTheTerminal) {
  json r = report(1);
  r["Streams"][0]["Method"] = "/a\033[2J\x07/b\nc";
  std::string text = render_top(r, {.width = 200, .height = 0});
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_EQ(text.find('\x07'), std::string::npos);
  EXPECT_EQ(lines_of(text).size(), 3u);
}

TEST(TopView, NumbersAndTimesAreShort) {
  EXPECT_EQ(short_count(0), "0");
  EXPECT_EQ(short_count(0.25), "0.2");
  EXPECT_EQ(short_count(9999), "9999");
  EXPECT_EQ(short_count(12'345), "12.3k");
  EXPECT_EQ(short_count(5e9), "5.0G");
  EXPECT_EQ(short_duration(999), "999ms");
  EXPECT_EQ(short_duration(59'900), "59.9s");
  EXPECT_EQ(short_duration(3'600'000), "1h00m");
  EXPECT_EQ(short_duration(90'000'000), "1d01h");
}

}  // namespace
}  // namespace weir::cli
