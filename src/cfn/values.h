// Small helpers on texts that several parts of the engine share.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace weir::cfn {

// "a, b,c" → a b c: the members of a list parameter, trimmed; "" is one empty member.
std::vector<std::string> split_list(std::string_view text);

// Fn::Base64 (RFC 4648 §4, padded).
std::string base64(std::string_view bytes);

// Fn::Cidr: `count` blocks of `host_bits` bits each from the start of `block` (IPv4).
Result<std::vector<std::string>> cidr_blocks(std::string_view block, int64_t count, int64_t host_bits);

}  // namespace weir::cfn
