// What commands print. Results go to standard output, progress and errors to standard error.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace weir::cli {

void print(std::string_view text);           // standard output
void note(std::string_view text);            // standard error
void print_json(const nlohmann::json& value);

// "\033[…m" around the text when standard error (or output) is a terminal and NO_COLOR is not set.
enum class Color { Plain, Good, Bad, Warn, Dim, Bold };
std::string paint(Color color, std::string_view text, bool for_output = true);
// Green for what is well, red for what has failed, yellow for what is on its way.
Color color_of_status(std::string_view status);
bool standard_input_is_terminal();

// Columns aligned by the widest cell; cells may be painted (escape sequences count nothing).
class Table {
 public:
  explicit Table(int indent) : indent_(indent) {}
  void row(std::initializer_list<std::string> cells) { rows_.emplace_back(cells); }
  std::string text() const;

 private:
  int indent_;
  std::vector<std::vector<std::string>> rows_;
};
size_t visible_width(std::string_view text);

}  // namespace weir::cli
