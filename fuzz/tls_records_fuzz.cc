// TLS 1.3 records as a client with the right keys may send them. Input: for each record a byte that chooses (its lowest
// bit: bytes that nobody sealed), a content type, a length and so many bytes.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "check.h"
#include "net/tls_records.h"

namespace {

using namespace weir;
using net::ContentType;
using net::TlsRecords;
using net::TrafficKey;

std::unique_ptr<TrafficKey> key(TrafficKey::Use use, uint8_t fill) {
  return TrafficKey::make(0x1301, use, std::vector<uint8_t>(32, fill));
}

constexpr uint8_t kData = static_cast<uint8_t>(ContentType::ApplicationData);
constexpr uint8_t kHandshake = static_cast<uint8_t>(ContentType::Handshake);

// What the server answered: one record of an alert or a KeyUpdate, which its peer can open.
void check_answer(Buffer& answer, TrafficKey& listener, TlsRecords::Opened opened) {
  if (answer.empty()) return;
  CHECK(TlsRecords::record_size(answer.data()) == answer.size());
  std::vector<uint8_t> content(answer.size());
  uint8_t type = 0;
  int64_t size = listener.open(answer.bytes(), content.data(), type);
  if (type == kHandshake) {
    CHECK(size == 5 && content[0] == 24 && content[4] == 0 && opened == TlsRecords::Opened::Ok);
    CHECK(listener.update());
  } else {
    CHECK(type == static_cast<uint8_t>(ContentType::Alert) && size == 2 && content[0] == 2);
    CHECK(opened == TlsRecords::Opened::Failed);
  }
  answer.release();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  BufferPool pool;
  Buffer record(pool), answer(pool);
  TlsRecords server(key(TrafficKey::Use::Seal, 1), key(TrafficKey::Use::Open, 2));
  auto client = key(TrafficKey::Use::Seal, 2);
  auto listener = key(TrafficKey::Use::Open, 1);
  uint32_t late = 0;
  auto opened = TlsRecords::Opened::Ok;
  while (size >= 3 && opened == TlsRecords::Opened::Ok) {
    bool in_the_clear = data[0] & 1;
    uint8_t type = data[1];
    std::span<const uint8_t> content(data + 3, std::min<size_t>(data[2], size - 3));
    data += 3 + content.size();
    size -= 3 + content.size();
    record.release();
    if (in_the_clear) {
      const uint8_t header[] = {type, 3, 3, 0, static_cast<uint8_t>(content.size())};
      record.append(header, sizeof header);
      record.append(content);
    } else {
      CHECK(client->seal(record, static_cast<ContentType>(type), content));
    }
    std::vector<uint8_t> to(record.size());
    size_t got = 0;
    uint32_t late_before = late;
    opened = server.open(record.bytes(), to.data(), got, answer, late);
    CHECK(got <= content.size());
    if (in_the_clear) CHECK(opened == TlsRecords::Opened::Failed);
    if (opened != TlsRecords::Opened::Ok) CHECK(got == 0);
    if (!in_the_clear && type == kData && opened == TlsRecords::Opened::Ok) {
      CHECK(std::equal(content.begin(), content.end(), to.begin()) && got == content.size() && late == late_before);
    }
    check_answer(answer, *listener, opened);
    // A KeyUpdate: by its type, or as the padded content of none.
    size_t end = content.size();
    if (type == 0) {
      while (end > 0 && content[end - 1] == 0) --end;
      type = end > 0 ? content[end - 1] : uint8_t{0};
    }
    if (type == kHandshake && opened == TlsRecords::Opened::Ok) CHECK(client->update());
  }
  return 0;
}
