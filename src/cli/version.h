#pragma once

namespace weir::cli {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace weir::cli
