#include "http/h2/hpack_static.h"

namespace weir::http::h2 {

namespace {

struct Pair {
  std::string_view name;
  std::string_view value;
};

constexpr Pair kPairs[kStaticCount + 1] = {
    {"", ""},
    {":authority", ""},
    {":method", "GET"},
    {":method", "POST"},
    {":path", "/"},
    {":path", "/index.html"},
    {":scheme", "http"},
    {":scheme", "https"},
    {":status", "200"},
    {":status", "204"},
    {":status", "206"},
    {":status", "304"},
    {":status", "400"},
    {":status", "404"},
    {":status", "500"},
    {"accept-charset", ""},
    {"accept-encoding", "gzip, deflate"},
    {"accept-language", ""},
    {"accept-ranges", ""},
    {"accept", ""},
    {"access-control-allow-origin", ""},
    {"age", ""},
    {"allow", ""},
    {"authorization", ""},
    {"cache-control", ""},
    {"content-disposition", ""},
    {"content-encoding", ""},
    {"content-language", ""},
    {"content-length", ""},
    {"content-location", ""},
    {"content-range", ""},
    {"content-type", ""},
    {"cookie", ""},
    {"date", ""},
    {"etag", ""},
    {"expect", ""},
    {"expires", ""},
    {"from", ""},
    {"host", ""},
    {"if-match", ""},
    {"if-modified-since", ""},
    {"if-none-match", ""},
    {"if-range", ""},
    {"if-unmodified-since", ""},
    {"last-modified", ""},
    {"link", ""},
    {"location", ""},
    {"max-forwards", ""},
    {"proxy-authenticate", ""},
    {"proxy-authorization", ""},
    {"range", ""},
    {"referer", ""},
    {"refresh", ""},
    {"retry-after", ""},
    {"server", ""},
    {"set-cookie", ""},
    {"strict-transport-security", ""},
    {"transfer-encoding", ""},
    {"user-agent", ""},
    {"vary", ""},
    {"via", ""},
    {"www-authenticate", ""},
};

constexpr uint8_t id_of(std::string_view name) {
  for (size_t id = 1; id < kKnownNameCount; ++id) {
    if (kKnownNames[id].name == name) return static_cast<uint8_t>(id);
  }
  return 0;
}

constexpr auto build_table() {
  std::array<StaticEntry, kStaticCount + 1> out{};
  for (size_t i = 1; i <= kStaticCount; ++i) {
    uint8_t id = id_of(kPairs[i].name);
    out[i].known_name = id;
    out[i].field.name = kKnownNames[id].name;
    out[i].field.value = kPairs[i].value;
    out[i].field.hash = combined_hash(kKnownNames[id].hash, bytes_hash(kPairs[i].value));
    out[i].field.token = token_of_known_name(id);
  }
  return out;
}

constexpr auto build_names() {
  std::array<uint8_t, kKnownNameCount> out{};
  for (size_t i = kStaticCount; i >= 1; --i) out[id_of(kPairs[i].name)] = static_cast<uint8_t>(i);
  return out;
}

constexpr bool all_names_known() {
  for (size_t i = 1; i <= kStaticCount; ++i) {
    if (id_of(kPairs[i].name) == 0) return false;
  }
  return true;
}
static_assert(all_names_known());

}  // namespace

constinit const std::array<StaticEntry, kStaticCount + 1> kStaticTable = build_table();
constinit const std::array<uint8_t, kKnownNameCount> kStaticIndexOfName = build_names();

}  // namespace weir::http::h2
