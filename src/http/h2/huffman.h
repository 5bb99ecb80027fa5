// The Huffman code of HPACK (RFC 7541 §5.2 and Appendix B).
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::http::h2 {

// Upper bound of what huffman_decode() writes for `bytes` of code: the shortest code has 5 bits, and the
// decoder may write one byte past the text.
constexpr size_t huffman_room(size_t bytes) { return bytes + bytes / 2 + bytes / 8 + 2; }

// Decodes [from, from + size) to `to`, which has huffman_room(size) bytes. Returns the end of the text, or
// nullptr when the string holds EOS, ends inside a code, or its padding is longer than 7 bits or not all ones.
char* huffman_decode(const uint8_t* from, size_t size, char* to);

}  // namespace weir::http::h2
