// The texts of gRPC's headers. Input: a byte that chooses a limit, then the text: as grpc-timeout, as the message of
// a status, as a list of codes, as a content type.
#include <cstdint>
#include <string>

#include "check.h"
#include "grpc/status.h"

namespace {

using namespace weir;

// By the grammar of PROTOCOL-HTTP2.md; in units of 2^-3 hours at most, so that nothing overflows here.
void check_timeout(std::string_view text) {
  constexpr std::string_view kUnits = "HMSmun";
  constexpr double kSeconds[] = {3600, 60, 1, 1e-3, 1e-6, 1e-9};
  bool good = text.size() >= 2 && text.size() <= 9 && kUnits.find(text.back()) != std::string_view::npos;
  for (size_t i = 0; good && i + 1 < text.size(); ++i) good = text[i] >= '0' && text[i] <= '9';
  auto parsed = grpc::parse_timeout(text);
  CHECK(parsed.has_value() == good);
  if (!good) return;
  double seconds = std::stod(std::string(text.substr(0, text.size() - 1))) * kSeconds[kUnits.find(text.back())];
  double got = std::chrono::duration<double>(*parsed).count();
  CHECK(got >= 0);
  constexpr double kLongest = 9.2e9;  // what a Duration holds: longer ones become the longest
  CHECK(seconds > kLongest ? got > 9.1e9 : got <= seconds * 1.000001 + 1e-9 && got >= seconds * 0.999999 - 1e-9);
}

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

void check_message(std::string_view text, size_t limit) {
  std::string encoded = grpc::encode_message(text, limit);
  CHECK(encoded.size() <= limit);
  std::string decoded;
  for (size_t i = 0; i < encoded.size(); ++i) {
    CHECK(encoded[i] >= 0x20 && encoded[i] <= 0x7e);
    if (encoded[i] != '%') {
      decoded.push_back(encoded[i]);
      continue;
    }
    CHECK(i + 2 < encoded.size() && hex(encoded[i + 1]) >= 0 && hex(encoded[i + 2]) >= 0);
    decoded.push_back(static_cast<char>(hex(encoded[i + 1]) << 4 | hex(encoded[i + 2])));
    i += 2;
  }
  CHECK(text.starts_with(decoded));
  CHECK(text.size() * 3 > limit || decoded == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > 4096) return 0;
  std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  check_timeout(text);
  check_message(text, data[0] * size_t{8});
  bool any = false;
  for (int code = 0; code <= 16; ++code) any |= grpc::matches_codes(text, code);
  CHECK(!any || text.find_first_of("0123456789") != std::string::npos);
  CHECK(!grpc::is_grpc_content_type(text) || text.starts_with("application/grpc"));
  return 0;
}
