// One line per state change or failure, `key=value`; never per frame, never a secret.
//
// log_line() writes "TIMESTAMP LEVEL MESSAGE" to standard error in one write(2); thread-safe.
#pragma once

#include <string_view>

namespace weir {

enum class LogLevel { Debug, Info, Warning, Error };

void set_log_level(LogLevel level);
void log_line(LogLevel level, std::string_view message);
inline void log_info(std::string_view message) { log_line(LogLevel::Info, message); }
inline void log_warning(std::string_view message) { log_line(LogLevel::Warning, message); }
inline void log_error(std::string_view message) { log_line(LogLevel::Error, message); }

}  // namespace weir
