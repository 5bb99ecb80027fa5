// Values of attributes with the prefix "weir." that are more than a number or a word.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "model/snapshot.h"

namespace weir::control {

// "UNAVAILABLE,13": names or numbers of gRPC codes (not OK), as bits 1 << code. "" is none; nullopt: not such a list.
std::optional<uint32_t> parse_grpc_codes(std::string_view text);

// "name=value,other=value": gRPC metadata. Names are lower case letters, digits, '-', '_', '.', and do not begin
// with "grpc-" or ':'; values are printable ASCII without commas. At most 16. nullopt: not such a list.
std::optional<std::vector<model::NameValue>> parse_metadata(std::string_view text);

}  // namespace weir::control
