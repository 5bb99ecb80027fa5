// The record layer of TLS 1.3 behind the handshake (RFC 8446 §5), in OpenSSL's place: seals from where bytes stand into
// the buffer for the socket, opens from where they were read, and needs a fraction of the memory of a session.
//
// OpenSSL shakes hands and derives the secrets; its EVP does the encryption here, too. One thread. For net/ only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/buffer.h"

struct evp_cipher_ctx_st;

namespace weir::net {

enum class ContentType : uint8_t { ChangeCipherSpec = 20, Alert = 21, Handshake = 22, ApplicationData = 23 };

// The secrets of one connection as the handshake derives them (RFC 8446 §7.1); wiped when it goes.
struct TrafficSecrets {
  static constexpr size_t kBytesMax = 48;
  TrafficSecrets() = default;
  ~TrafficSecrets();
  TrafficSecrets(const TrafficSecrets&) = delete;
  TrafficSecrets& operator=(const TrafficSecrets&) = delete;
  std::span<const uint8_t> client() const { return {client_bytes, client_size}; }
  std::span<const uint8_t> server() const { return {server_bytes, server_size}; }
  uint8_t client_bytes[kBytesMax];
  uint8_t server_bytes[kBytesMax];
  uint8_t client_size = 0;  // 0: not known yet
  uint8_t server_size = 0;
};

// Keys, nonce and sequence number of one direction.
class TrafficKey {
 public:
  enum class Use : uint8_t { Seal, Open };
  // suite: its number on the wire (0x1301 …). Null: not a suite of RFC 8446 with AES-GCM or ChaCha20-Poly1305, a secret
  // of another length, or memory is short.
  static std::unique_ptr<TrafficKey> make(uint16_t suite, Use use, std::span<const uint8_t> secret);
  // The same where key and nonce of the secret are known already (key size of the suite, kNonceBytes).
  static std::unique_ptr<TrafficKey> make(uint16_t suite, Use use, std::span<const uint8_t> secret, const uint8_t* key,
                                          const uint8_t* nonce);
  static constexpr size_t kNonceBytes = 12;
  ~TrafficKey();
  TrafficKey(const TrafficKey&) = delete;
  TrafficKey& operator=(const TrafficKey&) = delete;

  // Appends one record of `content` and `more` to `out`: at most kContentBytesMax bytes. False: OpenSSL failed, and
  // `out` is as before.
  bool seal(Buffer& out, ContentType type, std::span<const uint8_t> content, std::span<const uint8_t> more = {});
  // Opens one whole record, header included, to `to`, where record.size() bytes fit. Returns the size of the content;
  // -1: it is not authentic. Padding is taken off; a record of nothing else has type 0.
  int64_t open(std::span<const uint8_t> record, uint8_t* to, uint8_t& type);
  // The next generation (§7.2). False: OpenSSL failed.
  bool update();
  uint64_t records() const { return sequence_; }  // with the present keys

 private:
  struct Suite;
  TrafficKey(const Suite& suite, Use use) : suite_(suite), use_(use) {}
  static std::unique_ptr<TrafficKey> of(uint16_t suite, Use use, std::span<const uint8_t> secret);
  bool derive();
  bool begin(const uint8_t* key, const uint8_t* nonce);
  void next_nonce(uint8_t* nonce);

  const Suite& suite_;
  const Use use_;
  evp_cipher_ctx_st* context_ = nullptr;
  uint64_t sequence_ = 0;
  uint8_t iv_[kNonceBytes];
  uint8_t secret_[TrafficSecrets::kBytesMax];
};

// Both directions of a server's connection: what a client may still send is data, KeyUpdate and alerts.
class TlsRecords {
 public:
  static constexpr size_t kHeaderBytes = 5;
  static constexpr size_t kContentBytesMax = 16384;
  static constexpr size_t kRecordBytesMax = kHeaderBytes + kContentBytesMax + 256;
  // After so many records a key is replaced (§5.5: 2^24.5 of AES-GCM).
  static constexpr uint64_t kRecordsPerKeyMax = 1u << 23;
  static constexpr uint32_t kEmptyInRowMax = 32;  // records without content that are taken one behind the other

  TlsRecords(std::unique_ptr<TrafficKey> seal, std::unique_ptr<TrafficKey> open,
             uint64_t records_per_key_max = kRecordsPerKeyMax)
      : seal_(std::move(seal)), open_(std::move(open)), records_per_key_max_(records_per_key_max) {}

  // Appends `content` to `out`, in as few records as there can be. False: OpenSSL failed.
  bool seal(Buffer& out, std::span<const uint8_t> content);
  // Appends one record of both.
  bool seal_one(Buffer& out, std::span<const uint8_t> content, std::span<const uint8_t> more);
  // The last record: behind it nothing is answered any more (§6.1). Once.
  void close_notify(Buffer& out);

  enum class Opened : uint8_t { Ok, Closed, Failed };
  // One whole record: its data goes to `to`, where record.size() bytes fit, and its size to `size`. What must be
  // answered is appended to `out`, also the alert of a failure. Records that are not data are counted in late_messages.
  Opened open(std::span<const uint8_t> record, uint8_t* to, size_t& size, Buffer& out, uint32_t& late_messages);
  // The size of the record that begins with these kHeaderBytes; 0: it is too long.
  static size_t record_size(const uint8_t* header);
  Opened refuse_too_long(Buffer& out);
  std::string_view error() const { return error_; }  // of a failure

 private:
  Opened take_key_update(std::span<const uint8_t> message, Buffer& out);
  Opened take_alert(std::span<const uint8_t> alert);
  Opened fail(uint8_t alert, std::string_view why, Buffer& out);
  void send_alert(uint8_t level, uint8_t alert, Buffer& out);
  bool update_seal_key(Buffer& out);

  std::unique_ptr<TrafficKey> seal_, open_;
  uint64_t records_per_key_max_;
  uint32_t empty_in_row_ = 0;
  bool closed_ = false;  // an alert has ended what we say
  std::string_view error_;
};

}  // namespace weir::net
