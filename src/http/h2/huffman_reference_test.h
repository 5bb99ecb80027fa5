// Test only: a slow Huffman encoder. Its codes come from libnghttp2, which encodes one byte at a time for
// it, so that the decoder is not checked against its own table.
#pragma once

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace weir::http::h2 {

struct ReferenceCode {
  uint32_t code = 0;
  int bits = 0;
};

// nghttp2 takes Huffman only when it is shorter, so the symbol stands behind a run of 'a' (00011): long
// enough for its code to end inside, with the bits after it all ones.
inline ReferenceCode reference_code_of(nghttp2_hd_deflater* deflater, uint8_t symbol) {
  constexpr size_t kRun = 64;  // 320 bits: the symbol's code starts at a byte
  std::string value(kRun, 'a');
  value.push_back(static_cast<char>(symbol));
  value += "aaaaaaaa";  // 40 bits: marks the end of the code
  uint8_t name = 'x';
  nghttp2_nv field{&name, reinterpret_cast<uint8_t*>(value.data()), 1, value.size(), NGHTTP2_NV_FLAG_NO_INDEX};
  std::array<uint8_t, 512> out;
  ssize_t size = nghttp2_hd_deflate_hd(deflater, out.data(), out.size(), &field, 1);
  if (size < 5 || (out[3] & 0x80) == 0) throw std::runtime_error("no Huffman code from nghttp2");
  // 0x10, name (length 1, perhaps as Huffman), value length, value.
  size_t start = 1 + 1 + (out[1] & 0x7F) + 1;
  size_t text_bytes = static_cast<size_t>(size) - start;
  auto bit = [&](size_t i) { return out[start + i / 8] >> (7 - i % 8) & 1; };
  // Drop the padding: the last 'a' is 00011, so the last zero is 3 bits before its end.
  size_t end = text_bytes * 8;
  while (bit(end - 1) == 1) --end;
  end += 2;
  ReferenceCode result;
  result.bits = static_cast<int>(end - 40 - kRun * 5);
  for (size_t i = kRun * 5; i < end - 40; ++i) result.code = result.code << 1 | static_cast<uint32_t>(bit(i));
  return result;
}

inline const std::array<ReferenceCode, 256>& reference_codes() {
  static const auto codes = [] {
    std::array<ReferenceCode, 256> out;
    nghttp2_hd_deflater* deflater = nullptr;
    nghttp2_hd_deflate_new(&deflater, 0);
    // The first block carries a size update; get it out of the way.
    uint8_t name = 'y', scratch[64];
    nghttp2_nv field{&name, &name, 1, 1, 0};
    nghttp2_hd_deflate_hd(deflater, scratch, sizeof scratch, &field, 1);
    for (int symbol = 0; symbol < 256; ++symbol) {
      out[static_cast<size_t>(symbol)] = reference_code_of(deflater, static_cast<uint8_t>(symbol));
    }
    nghttp2_hd_deflate_del(deflater);
    return out;
  }();
  return codes;
}

// `text`, then EOS if wanted, then `after`; padded with ones.
inline std::vector<uint8_t> reference_huffman_encode(std::string_view text, bool eos = false,
                                                     std::string_view after = {}) {
  std::vector<bool> bits;
  auto append = [&bits](uint32_t code, int count) {
    for (int i = count - 1; i >= 0; --i) bits.push_back((code >> i & 1) != 0);
  };
  auto append_text = [&](std::string_view part) {
    for (char c : part) {
      const ReferenceCode& code = reference_codes()[static_cast<uint8_t>(c)];
      append(code.code, code.bits);
    }
  };
  append_text(text);
  if (eos) append(0x3FFFFFFF, 30);
  append_text(after);
  while (bits.size() % 8 != 0) bits.push_back(true);
  std::vector<uint8_t> out(bits.size() / 8);
  for (size_t i = 0; i < bits.size(); ++i) out[i / 8] |= static_cast<uint8_t>(bits[i] << (7 - i % 8));
  return out;
}

}  // namespace weir::http::h2
