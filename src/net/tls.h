// TLS with OpenSSL 3, for listeners and towards targets: versions, suites, certificates by SNI, tickets, ALPN h2. A
// session reads and writes through a BIO that never touches a socket (Transport owns that).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

struct ssl_st;
struct ssl_session_st;

namespace weir::net {

struct TlsIo;

struct TlsCertificate {
  std::string chain_pem;           // leaf first
  std::string key_pem;             // RSA or ECDSA
  std::vector<std::string> names;  // "a.example", "*.b.example" (one label, RFC 6125 §6.4.3)
  std::string id = {};             // how its owner knows it: the ARN
};

// What a security policy stands for. Suites and groups that the OpenSSL at hand lacks are left out.
struct TlsRules {
  int version_min = 0x0303;        // as on the wire: 0x0301 is TLS 1.0, 0x0304 TLS 1.3
  int version_max = 0x0304;
  std::string ciphers;             // OpenSSL's names, by preference, ':' between them: TLS 1.2 and below
  std::string suites;              // likewise, TLS 1.3
  std::vector<std::string> groups; // key exchange groups by preference
};

// The keys that seal session tickets. Contexts that share them resume each other's sessions. Any thread.
class TlsTicketKeys {
 public:
  static constexpr size_t kBytes = 16 + 32 + 32;  // name, HMAC key, AES key
  TlsTicketKeys();
  ~TlsTicketKeys();
  TlsTicketKeys(const TlsTicketKeys&) = delete;
  TlsTicketKeys& operator=(const TlsTicketKeys&) = delete;
  // A fresh key seals from now on; the latest one before it still opens, older ones do not.
  void rotate();

 private:
  friend struct TlsTicketCallback;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A session that a client may continue with the same server.
struct TlsSessionEnd {
  void operator()(ssl_session_st* session) const;
};
using TlsSession = std::unique_ptr<ssl_session_st, TlsSessionEnd>;

// Immutable once made; shared by workers and kept alive by the connections that came through it.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  // A session of this role whose records pass through `io`; the caller owns it. Null when memory is short.
  // resume: continue this one if the server agrees (client only); not taken over.
  virtual ssl_st* new_session(TlsIo& io, ssl_session_st* resume) const = 0;
};

class TlsServerContext final : public TlsContext {
 public:
  // The first certificate is the default: for no SNI, and for SNI that matches nothing (ELB listeners). Of several
  // that match the best one that the client can use is taken, in ELB's order: ECDSA before RSA, not expired, longer
  // hash, longer key, longer validity; then exact names before wildcards, and the order of the list.
  // `clock` tells what is expired. Fails when a certificate or key does not parse or they do not belong together.
  static Result<std::shared_ptr<const TlsServerContext>> make(const std::vector<TlsCertificate>& certificates,
                                                              const TlsRules& rules, const Clock& clock,
                                                              std::shared_ptr<TlsTicketKeys> tickets);
  ~TlsServerContext() override;
  TlsServerContext(const TlsServerContext&) = delete;
  TlsServerContext& operator=(const TlsServerContext&) = delete;
  ssl_st* new_session(TlsIo& io, ssl_session_st* resume) const override;
  // TlsCertificate::id of the certificate at this place.
  const std::string& certificate_id(int place) const;

 private:
  friend struct TlsServerCallbacks;
  friend struct TlsTicketCallback;
  struct Impl;
  explicit TlsServerContext(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Towards targets: ALPN h2, certificates are not validated (as ALB), no SNI.
class TlsClientContext final : public TlsContext {
 public:
  static Result<std::shared_ptr<const TlsClientContext>> make(const TlsRules& rules);
  ~TlsClientContext() override;
  TlsClientContext(const TlsClientContext&) = delete;
  TlsClientContext& operator=(const TlsClientContext&) = delete;
  ssl_st* new_session(TlsIo& io, ssl_session_st* resume) const override;

 private:
  struct Impl;
  explicit TlsClientContext(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Facts about a connection whose handshake is done. The texts live as long as the connection.
struct TlsInfo {
  std::string_view protocol;      // "TLSv1.3"
  std::string_view cipher;        // OpenSSL's name
  std::string_view key_exchange;  // the group: "x25519", "secp256r1"; empty for RSA key exchange
  std::string_view server_name;   // SNI; empty without one
  int certificate = -1;           // its place in what the context was made from; -1 when the session was resumed
  std::string_view certificate_id; // its id; empty when the session was resumed
  bool resumed = false;
};

// Why a handshake did not come about.
enum class TlsFailure : uint8_t {
  None,
  NotTls,           // other bytes, such as an HTTP request
  NoSharedVersion,
  NoSharedCipher,   // or group, or signature algorithm
  NoSharedProtocol, // ALPN without h2
  PeerAlert,        // the peer refused; the error says with which alert
  PeerClosed,       // the peer went away in the middle
  Malformed,        // messages that break the protocol, and the rest
};
std::string_view to_string(TlsFailure failure);  // "no shared version", …
// The reason behind an error of OpenSSL (ERR_get_error()).
TlsFailure tls_failure_of(unsigned long error_code);

}  // namespace weir::net
