#include "net/tls_records.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstring>

namespace weir::net {

namespace {

constexpr size_t kTagBytes = 16;
constexpr size_t kKeyBytesMax = 32;
constexpr size_t kOverheadBytes = TlsRecords::kHeaderBytes + 1 + kTagBytes;  // of a record, beside its content
constexpr uint8_t kKeyUpdate = 24;
constexpr uint8_t kWarning = 1, kFatal = 2;  // AlertLevel
// AlertDescription (RFC 8446 §6).
constexpr uint8_t kCloseNotify = 0, kUnexpectedMessage = 10, kBadRecordMac = 20, kRecordOverflow = 22,
                  kDecodeError = 50, kInternalError = 80, kUserCanceled = 90;

// HMAC (RFC 2104) of one text. EVP_MAC and EVP_KDF take several microseconds for it, and each handshake needs two.
bool hmac(const EVP_MD* digest, size_t block_bytes, std::span<const uint8_t> key, std::span<const uint8_t> text,
          uint8_t* out) {
  static thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> owned(EVP_MD_CTX_new(),
                                                                                         &EVP_MD_CTX_free);
  EVP_MD_CTX* const context = owned.get();
  uint8_t pad[128];
  auto digest_of = [&](uint8_t mask, std::span<const uint8_t> bytes) {
    std::memset(pad, mask, block_bytes);
    for (size_t i = 0; i < key.size(); ++i) pad[i] ^= key[i];
    return EVP_DigestInit_ex(context, digest, nullptr) == 1 && EVP_DigestUpdate(context, pad, block_bytes) == 1 &&
           EVP_DigestUpdate(context, bytes.data(), bytes.size()) == 1 &&
           EVP_DigestFinal_ex(context, out, nullptr) == 1;
  };
  bool done = context != nullptr && digest_of(0x36, text) &&
              digest_of(0x5c, {out, static_cast<size_t>(EVP_MD_get_size(digest))});
  OPENSSL_cleanse(pad, sizeof pad);
  return done;
}

}  // namespace

TrafficSecrets::~TrafficSecrets() {
  OPENSSL_cleanse(client_bytes, sizeof client_bytes);
  OPENSSL_cleanse(server_bytes, sizeof server_bytes);
}

struct TrafficKey::Suite {
  uint16_t number;
  EVP_MD* digest;
  size_t digest_bytes;  // of secrets, too
  size_t digest_block_bytes;
  EVP_CIPHER* cipher;
  size_t key_bytes;

  static const Suite* find(uint16_t number) {
    auto digest = [](const char* name) { return EVP_MD_fetch(nullptr, name, nullptr); };
    auto cipher = [](const char* name) { return EVP_CIPHER_fetch(nullptr, name, nullptr); };
    static const Suite kSuites[] = {
        {0x1301, digest("SHA256"), 32, 64, cipher("AES-128-GCM"), 16},
        {0x1302, digest("SHA384"), 48, 128, cipher("AES-256-GCM"), 32},
        {0x1303, digest("SHA256"), 32, 64, cipher("ChaCha20-Poly1305"), 32},
    };
    for (const Suite& suite : kSuites) {
      if (suite.number == number && suite.digest != nullptr && suite.cipher != nullptr) return &suite;
    }
    return nullptr;
  }
  // HKDF-Expand-Label (RFC 8446 §7.1) with an empty context, of at most one digest.
  bool expand_label(const uint8_t* secret, std::string_view label, uint8_t* out, size_t size) const {
    uint8_t info[64];
    uint8_t* p = info;
    *p++ = static_cast<uint8_t>(size >> 8);
    *p++ = static_cast<uint8_t>(size);
    *p++ = static_cast<uint8_t>(6 + label.size());
    p = std::copy_n("tls13 ", 6, p);
    p = std::copy(label.begin(), label.end(), p);
    *p++ = 0;  // context
    *p++ = 1;  // HKDF-Expand's first block
    uint8_t block[EVP_MAX_MD_SIZE];
    bool done = hmac(digest, digest_block_bytes, {secret, digest_bytes}, {info, p}, block);
    if (done) std::memcpy(out, block, size);
    OPENSSL_cleanse(block, sizeof block);
    return done;
  }
};

std::unique_ptr<TrafficKey> TrafficKey::of(uint16_t suite, Use use, std::span<const uint8_t> secret) {
  const Suite* known = Suite::find(suite);
  if (known == nullptr || secret.size() != known->digest_bytes) return nullptr;
  std::unique_ptr<TrafficKey> made(new TrafficKey(*known, use));
  std::copy(secret.begin(), secret.end(), made->secret_);
  made->context_ = EVP_CIPHER_CTX_new();
  return made->context_ != nullptr ? std::move(made) : nullptr;
}

std::unique_ptr<TrafficKey> TrafficKey::make(uint16_t suite, Use use, std::span<const uint8_t> secret) {
  auto made = of(suite, use, secret);
  return made != nullptr && made->derive() ? std::move(made) : nullptr;
}

std::unique_ptr<TrafficKey> TrafficKey::make(uint16_t suite, Use use, std::span<const uint8_t> secret,
                                             const uint8_t* key, const uint8_t* nonce) {
  auto made = of(suite, use, secret);
  return made != nullptr && made->begin(key, nonce) ? std::move(made) : nullptr;
}

TrafficKey::~TrafficKey() {
  EVP_CIPHER_CTX_free(context_);
  OPENSSL_cleanse(secret_, sizeof secret_);
}

bool TrafficKey::derive() {
  uint8_t key[kKeyBytesMax];
  uint8_t nonce[kNonceBytes];
  bool done = suite_.expand_label(secret_, "key", key, suite_.key_bytes) &&
              suite_.expand_label(secret_, "iv", nonce, sizeof nonce) && begin(key, nonce);
  OPENSSL_cleanse(key, sizeof key);
  return done;
}

bool TrafficKey::begin(const uint8_t* key, const uint8_t* nonce) {
  std::memcpy(iv_, nonce, sizeof iv_);
  sequence_ = 0;
  return EVP_CipherInit_ex(context_, suite_.cipher, nullptr, key, nullptr, use_ == Use::Seal ? 1 : 0) == 1;
}

bool TrafficKey::update() {
  uint8_t next[TrafficSecrets::kBytesMax];
  if (!suite_.expand_label(secret_, "traffic upd", next, suite_.digest_bytes)) return false;
  std::memcpy(secret_, next, suite_.digest_bytes);
  OPENSSL_cleanse(next, sizeof next);
  return derive();
}

// §5.3: the sequence number, XORed onto the end of the IV.
void TrafficKey::next_nonce(uint8_t* nonce) {
  std::memcpy(nonce, iv_, kNonceBytes);
  uint64_t tail;
  std::memcpy(&tail, nonce + 4, sizeof tail);
  tail ^= __builtin_bswap64(sequence_++);
  std::memcpy(nonce + 4, &tail, sizeof tail);
}

bool TrafficKey::seal(Buffer& out, ContentType type, std::span<const uint8_t> content,
                      std::span<const uint8_t> more) {
  const size_t size = content.size() + more.size();
  const size_t length = size + 1 + kTagBytes;
  uint8_t* const header = out.reserve(TlsRecords::kHeaderBytes + length);
  header[0] = static_cast<uint8_t>(ContentType::ApplicationData);
  header[1] = header[2] = 3;
  header[3] = static_cast<uint8_t>(length >> 8);
  header[4] = static_cast<uint8_t>(length);
  uint8_t* const body = header + TlsRecords::kHeaderBytes;
  uint8_t nonce[kNonceBytes];
  next_nonce(nonce);
  int n = 0;
  const auto inner = static_cast<uint8_t>(type);
  auto encrypt = [&](uint8_t* to, std::span<const uint8_t> bytes) {
    return bytes.empty() || EVP_EncryptUpdate(context_, to, &n, bytes.data(), static_cast<int>(bytes.size())) == 1;
  };
  bool done = EVP_EncryptInit_ex(context_, nullptr, nullptr, nullptr, nonce) == 1 &&
              EVP_EncryptUpdate(context_, nullptr, &n, header, TlsRecords::kHeaderBytes) == 1 &&
              encrypt(body, content) && encrypt(body + content.size(), more) && encrypt(body + size, {&inner, 1}) &&
              EVP_EncryptFinal_ex(context_, body + size + 1, &n) == 1 &&
              EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_GET_TAG, kTagBytes, body + size + 1) == 1;
  if (done) out.commit(TlsRecords::kHeaderBytes + length);
  return done;
}

int64_t TrafficKey::open(std::span<const uint8_t> record, uint8_t* to, uint8_t& type) {
  if (record.size() < TlsRecords::kHeaderBytes + kTagBytes) return -1;
  const uint8_t* const body = record.data() + TlsRecords::kHeaderBytes;
  size_t size = record.size() - TlsRecords::kHeaderBytes - kTagBytes;
  uint8_t nonce[kNonceBytes];
  next_nonce(nonce);
  int n = 0;
  bool done = EVP_DecryptInit_ex(context_, nullptr, nullptr, nullptr, nonce) == 1 &&
              EVP_DecryptUpdate(context_, nullptr, &n, record.data(), TlsRecords::kHeaderBytes) == 1 &&
              (size == 0 || EVP_DecryptUpdate(context_, to, &n, body, static_cast<int>(size)) == 1) &&
              EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_SET_TAG, kTagBytes, const_cast<uint8_t*>(body) + size) == 1 &&
              EVP_DecryptFinal_ex(context_, to + size, &n) == 1;
  if (!done) return -1;
  while (size > 0 && to[size - 1] == 0) --size;  // §5.4
  type = size > 0 ? to[size - 1] : 0;
  return size > 0 ? static_cast<int64_t>(size - 1) : 0;
}

bool TlsRecords::update_seal_key(Buffer& out) {
  constexpr uint8_t kNotRequested[] = {kKeyUpdate, 0, 0, 1, 0};
  return seal_->seal(out, ContentType::Handshake, kNotRequested) && seal_->update();
}

bool TlsRecords::seal(Buffer& out, std::span<const uint8_t> content) {
  size_t records = (content.size() + kContentBytesMax - 1) / kContentBytesMax;
  out.reserve(content.size() + records * kOverheadBytes);
  while (!content.empty()) {
    size_t size = std::min(content.size(), kContentBytesMax);
    if (!seal_one(out, content.first(size), {})) return false;
    content = content.subspan(size);
  }
  return true;
}

bool TlsRecords::seal_one(Buffer& out, std::span<const uint8_t> content, std::span<const uint8_t> more) {
  if (seal_->records() >= records_per_key_max_ && !update_seal_key(out)) return false;
  return seal_->seal(out, ContentType::ApplicationData, content, more);
}

void TlsRecords::send_alert(uint8_t level, uint8_t alert, Buffer& out) {
  const uint8_t content[] = {level, alert};
  if (!closed_) seal_->seal(out, ContentType::Alert, content);
  closed_ = true;
}

void TlsRecords::close_notify(Buffer& out) { send_alert(kWarning, kCloseNotify, out); }

size_t TlsRecords::record_size(const uint8_t* header) {
  size_t size = kHeaderBytes + (size_t{header[3]} << 8 | header[4]);
  return size <= kRecordBytesMax ? size : 0;
}

TlsRecords::Opened TlsRecords::refuse_too_long(Buffer& out) { return fail(kRecordOverflow, "record too long", out); }

TlsRecords::Opened TlsRecords::fail(uint8_t alert, std::string_view why, Buffer& out) {
  send_alert(kFatal, alert, out);
  ERR_clear_error();  // what OpenSSL left there would be taken for another connection's
  error_ = why;
  return Opened::Failed;
}

TlsRecords::Opened TlsRecords::open(std::span<const uint8_t> record, uint8_t* to, size_t& size, Buffer& out,
                                    uint32_t& late_messages) {
  size = 0;
  // Behind the handshake every record is of this type outside.
  if (record[0] != static_cast<uint8_t>(ContentType::ApplicationData)) {
    return fail(kUnexpectedMessage, "unexpected record type", out);
  }
  uint8_t type = 0;
  int64_t content = open_->open(record, to, type);
  if (content < 0) return fail(kBadRecordMac, "bad record mac", out);
  if (content > static_cast<int64_t>(kContentBytesMax)) return refuse_too_long(out);
  auto bytes = static_cast<size_t>(content);
  if (type == static_cast<uint8_t>(ContentType::ApplicationData)) [[likely]] {
    empty_in_row_ = bytes == 0 ? empty_in_row_ + 1 : 0;
    if (empty_in_row_ > kEmptyInRowMax) return fail(kUnexpectedMessage, "too many empty records", out);
    size = bytes;
    return Opened::Ok;
  }
  ++late_messages;
  if (type == static_cast<uint8_t>(ContentType::Handshake)) return take_key_update({to, bytes}, out);
  if (type == static_cast<uint8_t>(ContentType::Alert) && bytes == 2) return take_alert({to, bytes});
  return fail(kUnexpectedMessage, "unexpected message", out);
}

// It ends with its record (§5.1), so it stands alone in it: behind it other keys hold.
TlsRecords::Opened TlsRecords::take_key_update(std::span<const uint8_t> message, Buffer& out) {
  if (message.empty() || message[0] != kKeyUpdate) return fail(kUnexpectedMessage, "unexpected message", out);
  if (message.size() != 5 || message[1] != 0 || message[2] != 0 || message[3] != 1 || message[4] > 1) {
    return fail(kDecodeError, "malformed KeyUpdate", out);
  }
  bool answer = message[4] == 1 && !closed_;
  if (!open_->update() || (answer && !update_seal_key(out))) return fail(kInternalError, "key update", out);
  return Opened::Ok;
}

// §6: whatever level it claims, an alert ends the connection, but for user_canceled, behind which close_notify comes.
TlsRecords::Opened TlsRecords::take_alert(std::span<const uint8_t> alert) {
  if (alert[1] == kCloseNotify) return Opened::Closed;
  if (alert[1] == kUserCanceled) return Opened::Ok;
  error_ = "alert of the peer";
  return Opened::Failed;
}

}  // namespace weir::net
