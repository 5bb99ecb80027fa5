#include "proxy/local_reply.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "grpc/status.h"
#include "proxy/listener.h"

namespace weir::proxy {

using http::Field;
using http::h2::ErrorCode;

namespace {

Field field(std::string_view name, std::string_view value) {
  return {name, value, http::field_hash(name, value), http::token_of(name), false};
}

// RFC 9110 §5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(uint32_t unix_seconds) {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::time_t at = unix_seconds;
  std::tm t{};
  gmtime_r(&at, &t);
  std::array<char, 64> text;
  int size = std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[t.tm_wday], t.tm_mday,
                           kMonths[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
  return {text.data(), static_cast<size_t>(size)};
}

std::string page(int http_status) {
  std::string title = std::to_string(http_status);
  if (std::string_view reason = reason_phrase(http_status); !reason.empty()) title.append(" ").append(reason);
  return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
         "</h1></center>\r\n</body>\r\n</html>\r\n";
}

void send_http(http::h2::Connection& to, http::h2::StreamHandle stream, const LocalReply& r, const ReplyTools& tools) {
  std::string body;
  std::string_view type = r.content_type;
  if (r.is_fixed) {
    body = r.message;
    if (type.empty()) type = "text/plain";
  } else if (r.style == ReplyStyle::Page) {
    body = page(r.http_status);
    type = "text/html";
  } else {
    body = std::string(r.message) + "\n";
    type = "text/plain";
  }
  std::string status = std::to_string(r.http_status);
  std::string date = http_date(tools.unix_seconds);
  std::string length = std::to_string(body.size());
  std::vector<Field> head{field(":status", status)};
  if (tools.listener.config.server_header) head.push_back(field("server", "awselb/2.0"));
  head.push_back(field("date", date));
  bool bodiless = r.http_status == 204;
  if (!bodiless && !body.empty()) head.push_back(field("content-type", type));
  if (!bodiless) head.push_back(field("content-length", length));
  bool ends = bodiless || body.empty() || r.is_head;
  to.send_headers(stream, {nullptr, head, tools.listener.response.added()}, ends);
  if (!ends) to.send_data(stream, {reinterpret_cast<const uint8_t*>(body.data()), body.size()}, true);
}

}  // namespace

std::string_view reason_phrase(int http_status) {
  switch (http_status) {
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 405: return "Not Allowed";
    case 408: return "Request Time-out";
    case 413: return "Request Entity Too Large";
    case 414: return "Request-URI Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Temporarily Unavailable";
    case 504: return "Gateway Time-out";
    default: return "";
  }
}

void send_local_reply(http::h2::Connection& to, http::h2::StreamHandle stream, const LocalReply& r,
                      const ReplyTools& tools) {
  bool grpc = r.style == ReplyStyle::Grpc;
  if (r.responded && !grpc) return to.reset(stream, r.reset_code);
  if (!grpc) {
    send_http(to, stream, r, tools);
  } else {
    std::string message = grpc::encode_message(r.message);
    std::string_view code = grpc::to_decimal(static_cast<grpc::Code>(r.grpc_code));
    std::array fields{field(":status", "200"), field("content-type", "application/grpc"),
                      field("server", "awselb/2.0"), field("grpc-status", code), field("grpc-message", message)};
    if (r.responded) {
      to.send_headers(stream, std::span<const Field>(fields).subspan(3), true);
    } else if (tools.listener.config.server_header) {
      to.send_headers(stream, {nullptr, fields, tools.listener.response.added()}, true);
    } else {
      fields[2] = fields[1];
      fields[1] = fields[0];
      to.send_headers(stream, {nullptr, std::span<const Field>(fields).subspan(1), tools.listener.response.added()},
                      true);
    }
  }
  to.reset_after_end(stream);
}

}  // namespace weir::proxy
