#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::bench {

// The request headers of one connection, as a grpc-c++ client encodes them: with the first request they
// enter the dynamic table, after it each is one index. x-request-id is a literal, another each time.
class RequestHeaders {
 public:
  RequestHeaders(std::string path, std::string authority, std::string scheme);
  // Appends the block for the next request.
  void add(std::string& out, uint64_t request_id);
  size_t next_size() const { return first_ ? first_block_.size() + kIdField : later_block_.size() + kIdField; }

 private:
  static constexpr size_t kIdField = 1 + 1 + 12 + 1 + 32;
  std::string first_block_, later_block_;
  bool first_ = true;
};

// What the tools want to know of a block of response headers; -1: not in it.
struct ResponseBlock {
  int http_status = -1;
  int grpc_status = -1;
  bool ok = false;  // decoded without error
};

// Decodes response header blocks with libnghttp2; one per connection. Blocks of nothing but indices do
// not change the table: two of them are remembered, so that the tool costs little.
class ResponseHeaders {
 public:
  ResponseHeaders();
  ~ResponseHeaders();
  ResponseHeaders(const ResponseHeaders&) = delete;
  ResponseHeaders& operator=(const ResponseHeaders&) = delete;

  ResponseBlock decode(std::string_view block);

 private:
  struct Known {
    std::string block;
    ResponseBlock result;
  };

  nghttp2_hd_inflater* inflater_ = nullptr;
  Known known_[2];
  size_t oldest_ = 0;
};

}  // namespace weir::bench
