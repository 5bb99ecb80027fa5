// Our decoder and encoder against libnghttp2's, over connections with thousands of blocks: the tables of both
// sides must stay in step, or a later block decodes to something else.
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>

#include "base/random.h"
#include "http/h2/hpack_testing_test.h"
#include "http/known_names.h"

namespace weir::http::h2 {
namespace {

using Fields = std::vector<Plain>;

// Header lists as a connection with many clients sees them: few names, some values that come again, some
// unique, now and then long or with any byte in it.
class Lists {
 public:
  explicit Lists(uint64_t seed) : random_(seed) {}

  Fields next() {
    Fields out;
    for (uint64_t n = random_.below(14); n > 0; --n) out.push_back(field());
    return out;
  }
  Random& random() { return random_; }

 private:
  Plain field() {
    static const char* const kNames[] = {":method", ":path", ":scheme", ":status", ":authority", "content-type",
                                         "te", "grpc-timeout", "grpc-status", "grpc-message", "user-agent",
                                         "x-amzn-trace-id", "authorization", "accept-encoding", "cookie", "x-a",
                                         "x-b", "traceparent", "grpc-encoding", "date", "", "x-forwarded-for"};
    static const char* const kValues[] = {"GET", "POST", "/", "http", "https", "200", "204", "404", "", "trailers",
                                          "application/grpc", "gzip, deflate", "0", "14", "gzip", "10S"};
    Plain out;
    out.name = random_.below(20) == 0 ? "x-" + random_.hex(1 + random_.below(3)) : kNames[random_.below(22)];
    switch (random_.below(8)) {
      case 0:
        out.value = random_.hex(1 + random_.below(60));
        break;
      case 1:
        for (uint64_t n = random_.below(80); n > 0; --n) out.value.push_back(static_cast<char>(random_.below(256)));
        break;
      case 2:
        out.value = std::string(random_.below(random_.below(20) == 0 ? 5000 : 300), 'l');
        break;
      case 3:
        out.value = "/pkg.Service/Method" + std::to_string(random_.below(30));
        break;
      default:
        out.value = kValues[random_.below(16)];
    }
    out.never_indexed = random_.below(25) == 0;
    return out;
  }

  Random random_;
};

class Deflater {
 public:
  Deflater() { nghttp2_hd_deflate_new(&deflater_, 4096); }
  ~Deflater() { nghttp2_hd_deflate_del(deflater_); }
  void change_table_size(uint32_t bytes) { ASSERT_EQ(nghttp2_hd_deflate_change_table_size(deflater_, bytes), 0); }
  size_t table_bytes() { return nghttp2_hd_deflate_get_dynamic_table_size(deflater_); }

  std::vector<uint8_t> operator()(Fields fields) {
    std::vector<nghttp2_nv> list;
    for (Plain& f : fields) {
      list.push_back({reinterpret_cast<uint8_t*>(f.name.data()), reinterpret_cast<uint8_t*>(f.value.data()),
                      f.name.size(), f.value.size(),
                      static_cast<uint8_t>(f.never_indexed ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
    }
    std::vector<uint8_t> out(nghttp2_hd_deflate_bound(deflater_, list.data(), list.size()));
    ssize_t size = nghttp2_hd_deflate_hd(deflater_, out.data(), out.size(), list.data(), list.size());
    EXPECT_GE(size, 0);
    out.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
    return out;
  }

 private:
  nghttp2_hd_deflater* deflater_ = nullptr;
};

class Inflater {
 public:
  Inflater() { nghttp2_hd_inflate_new(&inflater_); }
  ~Inflater() { nghttp2_hd_inflate_del(inflater_); }
  void change_table_size(uint32_t bytes) { ASSERT_EQ(nghttp2_hd_inflate_change_table_size(inflater_, bytes), 0); }
  size_t table_bytes() { return nghttp2_hd_inflate_get_dynamic_table_size(inflater_); }

  bool operator()(const std::vector<uint8_t>& block, Fields* fields) {
    fields->clear();
    const uint8_t* at = block.data();
    size_t left = block.size();
    while (true) {
      nghttp2_nv nv;
      int flags = 0;
      ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &nv, &flags, at, left, 1);
      if (used < 0) return false;
      at += used;
      left -= static_cast<size_t>(used);
      if (flags & NGHTTP2_HD_INFLATE_EMIT) {
        fields->push_back({std::string(reinterpret_cast<char*>(nv.name), nv.namelen),
                           std::string(reinterpret_cast<char*>(nv.value), nv.valuelen),
                           (nv.flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0});
      }
      if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && left == 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    return true;
  }

 private:
  nghttp2_hd_inflater* inflater_ = nullptr;
};

// nghttp2's encoder marks some fields (authorization, short cookies) never indexed by itself.
Fields without_marks(Fields fields) {
  for (Plain& f : fields) f.never_indexed = false;
  return fields;
}

class HpackDifferential : public testing::TestWithParam<uint64_t> {};

TEST_P(HpackDifferential, OurDecoderReadsWhatNghttp2Writes) {
  Lists lists(GetParam());
  Deflater deflate;
  Inflater inflate;
  Decoding decode;
  for (int i = 0; i < 3000; ++i) {
    if (lists.random().below(50) == 0) {
      for (uint64_t n = 1 + lists.random().below(3); n > 0; --n) {
        deflate.change_table_size(static_cast<uint32_t>(lists.random().below(4097)));
      }
    }
    Fields sent = lists.next(), reference;
    auto bytes = deflate(sent);
    ASSERT_TRUE(decode(bytes)) << i;
    ASSERT_EQ(without_marks(decode.fields()), without_marks(sent)) << i;
    ASSERT_TRUE(inflate(bytes, &reference));
    ASSERT_EQ(decode.fields(), reference) << i;
    ASSERT_EQ(decode.decoder.table_bytes_used(), deflate.table_bytes()) << i;
    for (const Field& f : decode.list.fields) {
      ASSERT_EQ(f.hash, f.unique ? find_known_name(f.name, bytes_hash(f.name)) : field_hash(f.name, f.value));
      ASSERT_EQ(f.token, token_of(f.name));
    }
  }
}

TEST_P(HpackDifferential, Nghttp2ReadsWhatOurEncoderWrites) {
  Lists lists(GetParam());
  Encoding encode;
  Inflater inflate;
  Decoding decode({.table_bytes = 8192});
  for (int i = 0; i < 3000; ++i) {
    if (lists.random().below(50) == 0) {
      for (uint64_t n = 1 + lists.random().below(3); n > 0; --n) {
        auto bytes = static_cast<uint32_t>(lists.random().below(8193));
        inflate.change_table_size(bytes);
        encode.encoder.set_peer_table_bytes(bytes);
      }
    }
    Fields sent = lists.next(), reference;
    auto bytes = encode(sent);
    if (!bytes.empty()) {
      ASSERT_TRUE(inflate(bytes, &reference)) << i;
      ASSERT_EQ(reference, sent) << i;
    }
    ASSERT_EQ(inflate.table_bytes(), encode.encoder.table_bytes_used()) << i;
    ASSERT_TRUE(decode(bytes)) << i;
    ASSERT_EQ(decode.fields(), sent) << i;
  }
}

TEST_P(HpackDifferential, AForwardedListArrivesAsItWasSent) {
  Lists lists(GetParam());
  Deflater client;
  Decoding decode;
  HpackEncoder encoder;
  BufferPool pool;
  Buffer out(pool);
  Inflater target;
  for (int i = 0; i < 3000; ++i) {
    ASSERT_TRUE(decode(client(lists.next())));
    if (decode.list.fields.empty()) continue;
    encoder.begin_block(out);
    for (const Field& f : decode.list.fields) encoder.encode(f, out);
    Fields arrived;
    ASSERT_TRUE(target({out.bytes().begin(), out.bytes().end()}, &arrived));
    out.rewind();
    ASSERT_EQ(arrived, decode.fields()) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, HpackDifferential, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace weir::http::h2
