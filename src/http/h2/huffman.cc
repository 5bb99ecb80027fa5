#include "http/h2/huffman.h"

#include <array>
#include <cstring>

namespace weir::http::h2 {

namespace {

constexpr int kSymbols = 257;  // 256 is EOS
constexpr int kEos = 256;
constexpr int kBitsMax = 30;
constexpr int kIndexBits = 11;

// RFC 7541 Appendix B, the column of lengths. The code is canonical: codes of one length count up with the
// symbol, and the first code of a length follows the last one of the length before. So the lengths are all.
constexpr uint8_t kLengths[kSymbols] = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6,  10, 10, 12, 13, 6,  8,  11, 10, 10, 8,  11, 8,  6,  6,  6,
    5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8,  15, 6,  12, 10, 13, 6,  7,  7,  7,  7,  7,  7,
    7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8,  13, 19, 13, 14, 6,
    15, 5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,  5,  6,  7,  7,
    7,  7,  7,  15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30};

// What the next kIndexBits bits begin with: one or two whole codes, or none (a longer code).
struct Step {
  char text[2];
  uint8_t first_bits;  // of the first code
  uint8_t bits;        // of all codes; 0 for a longer code
  bool two() const { return bits != first_bits; }
};

struct Tables {
  std::array<Step, 1 << kIndexBits> steps{};
  // Codes longer than kIndexBits: limits[n] is the first 32-bit window, read as a number, that is past all
  // codes of n bits and fewer; symbols[offsets[n] + (window >> (32 - n))] is the symbol of a code of n bits.
  std::array<uint64_t, kBitsMax + 1> limits{};
  std::array<int32_t, kBitsMax + 1> offsets{};
  std::array<uint16_t, kSymbols> symbols{};
};

constexpr Tables build() {
  Tables t;
  uint32_t code = 0;
  int placed = 0;
  for (int bits = 1; bits <= kBitsMax; ++bits) {
    code <<= 1;
    t.offsets[bits] = placed - static_cast<int32_t>(code);
    for (int symbol = 0; symbol < kSymbols; ++symbol) {
      if (kLengths[symbol] != bits) continue;
      t.symbols[placed++] = static_cast<uint16_t>(symbol);
      if (bits <= kIndexBits) {
        uint32_t first = code << (kIndexBits - bits);
        for (uint32_t i = 0; i < 1u << (kIndexBits - bits); ++i) {
          t.steps[first + i] = {{static_cast<char>(symbol), 0}, static_cast<uint8_t>(bits),
                                static_cast<uint8_t>(bits)};
        }
      }
      ++code;
    }
    t.limits[bits] = static_cast<uint64_t>(code) << (32 - bits);
  }
  // A second code behind the first: looked up in the table of single codes, so from a copy.
  const auto single = t.steps;
  for (uint32_t i = 0; i < single.size(); ++i) {
    int left = kIndexBits - single[i].bits;
    if (single[i].bits == 0 || left == 0) continue;
    const Step& next = single[(i << single[i].bits) & ((1u << kIndexBits) - 1)];
    if (next.bits == 0 || next.bits > left) continue;
    t.steps[i].text[1] = next.text[0];
    t.steps[i].bits = static_cast<uint8_t>(single[i].bits + next.bits);
  }
  return t;
}

constexpr Tables kTables = build();
static_assert(kTables.limits[kBitsMax] == uint64_t{1} << 32, "the code is complete");
static_assert(kTables.symbols[kSymbols - 1] == kEos);

inline uint64_t load_big_endian(const uint8_t* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return __builtin_bswap64(word);
}

// The code longer than kIndexBits that `window` begins with.
inline int long_symbol(uint32_t window, int* bits) {
  int n = kIndexBits + 1;
  while (window >= kTables.limits[n]) ++n;
  *bits = n;
  return kTables.symbols[kTables.offsets[n] + static_cast<int32_t>(window >> (32 - n))];
}

// Decodes what is left in `bits`: the upper `have` bits; the rest are ones.
char* decode_tail(uint64_t bits, int have, char* to) {
  while (true) {
    const Step& step = kTables.steps[bits >> (64 - kIndexBits)];
    if (step.bits != 0 && step.bits <= have) {
      std::memcpy(to, step.text, 2);
      to += 1 + step.two();
      bits = bits << step.bits | ((uint64_t{1} << step.bits) - 1);
      have -= step.bits;
      continue;
    }
    int used = step.first_bits;
    char text = step.text[0];
    if (step.bits == 0) {
      int symbol = long_symbol(static_cast<uint32_t>(bits >> 32), &used);
      if (used <= have && symbol == kEos) return nullptr;
      text = static_cast<char>(symbol);
    }
    if (used > have) break;
    *to++ = text;
    bits = bits << used | ((uint64_t{1} << used) - 1);
    have -= used;
  }
  // What is left must be padding: fewer than 8 bits, the first ones of EOS.
  return have < 8 && bits == ~uint64_t{0} ? to : nullptr;
}

}  // namespace

char* huffman_decode(const uint8_t* from, size_t size, char* to) {
  const uint8_t* end = from + size;
  uint64_t bits = 0;  // left-aligned; below the upper `have` bits there may be more of the same input
  int have = 0;
  while (end - from >= 8) {
    bits |= load_big_endian(from) >> have;
    from += (63 - have) >> 3;
    have |= 56;
    while (have >= kBitsMax) {
      Step step = kTables.steps[bits >> (64 - kIndexBits)];
      if (step.bits == 0) [[unlikely]] {
        int used;
        int symbol = long_symbol(static_cast<uint32_t>(bits >> 32), &used);
        if (symbol == kEos) return nullptr;
        *to++ = static_cast<char>(symbol);
        bits <<= used;
        have -= used;
        continue;
      }
      std::memcpy(to, step.text, 2);
      to += 1 + step.two();
      bits <<= step.bits;
      have -= step.bits;
    }
  }
  // Fewer than 8 bytes and 30 bits: one more fill with what fits, then the rest.
  bits = have == 0 ? 0 : bits >> (64 - have) << (64 - have);
  while (from < end || have > 0) {
    while (from < end && have <= 56) {
      bits |= static_cast<uint64_t>(*from++) << (56 - have);
      have += 8;
    }
    if (from == end) {
      if (have < 64) bits |= ~uint64_t{0} >> have;
      return decode_tail(bits, have, to);
    }
    while (have >= kBitsMax) {
      int used = 0;
      Step step = kTables.steps[bits >> (64 - kIndexBits)];
      int symbol = static_cast<uint8_t>(step.text[0]);
      used = step.first_bits;
      if (step.bits == 0) symbol = long_symbol(static_cast<uint32_t>(bits >> 32), &used);
      if (symbol == kEos) return nullptr;
      *to++ = static_cast<char>(symbol);
      bits <<= used;
      have -= used;
    }
  }
  return to;
}

}  // namespace weir::http::h2
