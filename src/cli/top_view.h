// The text of `weir top`: a screen of a given size from one report. No terminal here.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace weir::cli {

struct TopView {
  int width = 120;
  int height = 40;      // lines; 0: as many as there are streams
  bool color = false;
  std::string order = "rate";
  std::string filter = "";
  int skip = 0;
  bool paused = false;
  bool typing = false;  // a filter is being typed
};
// Lines joined by '\n'. `report` is DescribeStreams' output.
std::string render_top(const nlohmann::json& report, const TopView& view);

std::string short_count(double value);          // "950", "12.3k", "4.5M"
std::string short_duration(uint64_t ms);        // "350ms", "12.3s", "4m05s", "3h12m", "12d03h"

}  // namespace weir::cli
