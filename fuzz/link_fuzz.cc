// Any bytes as a message of the link: decoding takes or refuses them, and what it took is the same after another
// round of encoding and decoding.
#include <string>
#include <vector>

#include "check.h"
#include "model/link.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir::model;
  constexpr size_t kLengthBytes = 4;
  // A heap block of its exact size, so that a sanitizer sees a read past it.
  std::vector<uint8_t> frame(data, data + size);
  auto message = decode(frame);
  if (!message.has_value()) return 0;
  std::string once = encode(*message);
  CHECK(once.size() >= kLengthBytes);
  auto again = decode({reinterpret_cast<const uint8_t*>(once.data()) + kLengthBytes, once.size() - kLengthBytes});
  CHECK(again.has_value());
  CHECK(again->index() == message->index());
  CHECK(encode(*again) == once);
  return 0;
}
