#include "net/tls.h"

#include <linux/tls.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <shared_mutex>

#include "base/assert.h"
#include "net/tls_certificates.h"
#include "net/tls_io.h"
#include "net/transport.h"

namespace weir::net {

// The BIO between OpenSSL and a Transport: reads what the transport received, writes records for it to send.
struct TlsBio {
  static TlsIo& of(const SSL* ssl) { return *static_cast<TlsIo*>(BIO_get_data(SSL_get_rbio(ssl))); }
  static int read(BIO* bio, char* bytes, int size) {
    auto* io = static_cast<TlsIo*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (io->in_left == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    size_t n = std::min(static_cast<size_t>(size), io->in_left);
    std::memcpy(bytes, io->in, n);
    io->in += n;
    io->in_left -= n;
    return static_cast<int>(n);
  }
  static int write(BIO* bio, const char* bytes, int size) {
    auto* io = static_cast<TlsIo*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    std::span<const uint8_t> written(reinterpret_cast<const uint8_t*>(bytes), static_cast<size_t>(size));
    ContentType type = std::exchange(io->next_record, ContentType::ApplicationData);
    if (io->sealing == nullptr) {
      io->out.append(written);
    } else if (!io->sealing->seal(io->out, type, written)) {
      return -1;
    }
    return size;
  }
  // What OpenSSL asks of a BIO whose kernel can do TLS; the numbers of the internal ones stand in openssl/bio.h.
  static constexpr int kSetKtls = 72, kNextRecordType = 74, kNextRecordIsData = 75;
  static long control(BIO* bio, int command, long number, void* argument) {
    auto* io = static_cast<TlsIo*>(BIO_get_data(bio));
    switch (command) {
      case BIO_CTRL_FLUSH: return 1;
      case kSetKtls: return number != 0 && take_sealing(*io, argument) ? 1 : 0;
      case BIO_CTRL_GET_KTLS_SEND: return io->sealing != nullptr ? 1 : 0;
      case kNextRecordType: io->next_record = static_cast<ContentType>(number); return 1;
      case kNextRecordIsData: io->next_record = ContentType::ApplicationData; return 1;
      default: return 0;
    }
  }
  // OpenSSL offers the keys for what it is going to write. Those of the server's application data are taken: they are
  // the first that it offers after it has told their secret, by which we know how they go on.
  static bool take_sealing(TlsIo& io, const void* offer) {
    tls_crypto_info info;
    std::memcpy(&info, offer, sizeof info);
    if (info.version != TLS_1_3_VERSION || io.secrets == nullptr || io.secrets->server_size == 0) return false;
    auto take = [&]<class Keys>(uint16_t suite, const Keys& keys) {
      uint8_t nonce[TrafficKey::kNonceBytes];
      std::memcpy(nonce, keys.salt, sizeof keys.salt);
      std::memcpy(nonce + sizeof keys.salt, keys.iv, sizeof keys.iv);
      io.sealing = TrafficKey::make(suite, TrafficKey::Use::Seal, io.secrets->server(), keys.key, nonce);
      return io.sealing != nullptr;
    };
    switch (info.cipher_type) {
      case TLS_CIPHER_AES_GCM_128: return take(0x1301, *static_cast<const tls12_crypto_info_aes_gcm_128*>(offer));
      case TLS_CIPHER_AES_GCM_256: return take(0x1302, *static_cast<const tls12_crypto_info_aes_gcm_256*>(offer));
      case TLS_CIPHER_CHACHA20_POLY1305:
        return take(0x1303, *static_cast<const tls12_crypto_info_chacha20_poly1305*>(offer));
      default: return false;
    }
  }
  // "LABEL <client random> <secret>" in hexadecimal digits, as SSL_CTX_set_keylog_callback(3) has it.
  static void note_secret(const SSL* ssl, const char* line) {
    std::string_view text(line);
    bool server = text.starts_with("SERVER_TRAFFIC_SECRET_0 ");
    if (!server && !text.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) return;
    TlsIo& io = of(ssl);
    if (io.secrets == nullptr) io.secrets = std::make_unique<TrafficSecrets>();
    size_t size = 0;
    uint8_t* to = server ? io.secrets->server_bytes : io.secrets->client_bytes;
    if (OPENSSL_hexstr2buf_ex(to, TrafficSecrets::kBytesMax, &size, line + text.rfind(' ') + 1, '\0') != 1) return;
    (server ? io.secrets->server_size : io.secrets->client_size) = static_cast<uint8_t>(size);
  }
  static BIO_METHOD* method() {
    static BIO_METHOD* m = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir transport");
      WEIR_ASSERT(made != nullptr);
      BIO_meth_set_read(made, read);
      BIO_meth_set_write(made, write);
      BIO_meth_set_ctrl(made, control);
      return made;
    }();
    return m;
  }
  // Null when memory is short.
  static SSL* attach(SSL* ssl, TlsIo& io) {
    BIO* bio = ssl == nullptr ? nullptr : BIO_new(method());
    if (bio == nullptr) {
      SSL_free(ssl);
      return nullptr;
    }
    BIO_set_data(bio, &io);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return ssl;
  }
};

namespace {

constexpr unsigned char kAlpnH2[] = {2, 'h', '2'};
// One ticket per handshake: gRPC clients open few connections, and each resumption brings the next ticket.
constexpr size_t kTicketsPerHandshake = 1;

// Key exchange groups, by preference; those that this OpenSSL does not know are left out.
void set_groups(SSL_CTX* ctx, const std::vector<std::string>& groups) {
  std::string known;
  for (const std::string& group : groups) {
    if (SSL_CTX_set1_groups_list(ctx, group.c_str()) == 1) known += (known.empty() ? "" : ":") + group;
  }
  if (!known.empty()) SSL_CTX_set1_groups_list(ctx, known.c_str());
  ERR_clear_error();
}

// Counts what a peer wants once the handshake is done. Each KeyUpdate passes one step of the handshake's machine in
// this state. Above the limit the rest of what was received is withheld: the connection is over.
void note_late_message(const SSL* ssl, int where, int value) {
  OSSL_HANDSHAKE_STATE state = SSL_get_state(ssl);
  bool key_update = where != SSL_CB_WRITE_ALERT && (state == TLS_ST_SR_KEY_UPDATE || state == TLS_ST_CR_KEY_UPDATE);
  bool renegotiation = where == SSL_CB_WRITE_ALERT && (value & 0xff) == SSL_AD_NO_RENEGOTIATION;
  if (!key_update && !renegotiation) return;
  TlsIo& io = TlsBio::of(ssl);
  if (++io.late_messages > Transport::kLateMessagesMax) io.in_left = 0;
}

// level: OpenSSL's security level. 0 permits what TLS 1.0 and 1.1 need (SHA-1 in signatures).
Result<SslContextPtr> make_ssl_context(const SSL_METHOD* method, const TlsRules& rules, int level) {
  SslContextPtr ctx(SSL_CTX_new(method));
  if (!ctx) return openssl_failure("SSL_CTX_new");
  SSL_CTX_set_security_level(ctx.get(), level);
  SSL_CTX_set_min_proto_version(ctx.get(), rules.version_min);
  SSL_CTX_set_max_proto_version(ctx.get(), rules.version_max);
  // SSL_CTX_set_cipher_list wants one at least, even where only TLS 1.3 is spoken.
  std::string ciphers = rules.ciphers.empty() ? "ECDHE-ECDSA-AES128-GCM-SHA256" : rules.ciphers;
  ciphers += ":@SECLEVEL=" + std::to_string(level);  // else the list brings the system's level back
  if (SSL_CTX_set_cipher_list(ctx.get(), ciphers.c_str()) != 1) return openssl_failure("cipher suites " + ciphers);
  if (!rules.suites.empty() && SSL_CTX_set_ciphersuites(ctx.get(), rules.suites.c_str()) != 1) {
    return openssl_failure("cipher suites " + rules.suites);
  }
  set_groups(ctx.get(), rules.groups);
  SSL_CTX_set_options(ctx.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_info_callback(ctx.get(), note_late_message);
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
  return ctx;
}

}  // namespace

// --- tickets ------------------------------------------------------------------------------------------------

struct TlsTicketKeys::Impl {
  struct Key {
    unsigned char name[16];
    unsigned char hmac[32];
    unsigned char aes[32];
  };
  static_assert(sizeof(Key) == kBytes);
  std::shared_mutex mutex;
  Key current;
  Key previous;

  static void fill(Key& key) {
    WEIR_ASSERT(RAND_bytes(reinterpret_cast<unsigned char*>(&key), sizeof key) == 1);
  }
};

TlsTicketKeys::TlsTicketKeys() : impl_(std::make_unique<Impl>()) {
  Impl::fill(impl_->current);
  Impl::fill(impl_->previous);
}

TlsTicketKeys::~TlsTicketKeys() { OPENSSL_cleanse(&impl_->current, 2 * kBytes); }

void TlsTicketKeys::rotate() {
  Impl::Key fresh;
  Impl::fill(fresh);
  std::unique_lock lock(impl_->mutex);
  impl_->previous = impl_->current;
  impl_->current = fresh;
}

struct TlsTicketCallback {
  using Key = TlsTicketKeys::Impl::Key;

  // SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 go on, 2 go on and issue a new ticket, 0 full handshake, -1 error.
  static int run(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                 int sealing);

  static int init(const Key& key, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int sealing) {
    static EVP_CIPHER* const kAes = EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr);
    char digest[] = "SHA256";
    auto* hmac = const_cast<unsigned char*>(key.hmac);
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, hmac, sizeof key.hmac),
                                 OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};
    if (EVP_CipherInit_ex2(cipher, kAes, key.aes, iv, sealing, nullptr) != 1) return -1;
    return EVP_MAC_CTX_set_params(mac, params) == 1 ? 1 : -1;
  }
};

// --- servers ------------------------------------------------------------------------------------------------

struct TlsServerContext::Impl {
  Impl(const Clock& clock_in, std::shared_ptr<TlsTicketKeys> tickets_in)
      : clock(clock_in), tickets(std::move(tickets_in)) {}
  const Clock& clock;
  std::shared_ptr<TlsTicketKeys> tickets;
  CertificateChoice certificates;
  std::vector<std::string> ids;
};

struct TlsServerCallbacks {
  static const TlsServerContext::Impl& impl(SSL* ssl) { return *TlsBio::of(ssl).server->impl_; }

  static int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                         unsigned int in_size, void*) {
    auto* chosen = const_cast<unsigned char**>(out);
    int result = SSL_select_next_proto(chosen, out_size, kAlpnH2, sizeof kAlpnH2, in, in_size);
    // Else no_application_protocol (RFC 7301 §3.2).
    return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  // Accepts any name: the session then remembers it.
  static int accept_name(SSL*, int*, void*) { return SSL_TLSEXT_ERR_OK; }

  // Not called when a session is resumed.
  static int choose_certificate(SSL* ssl, void*) {
    const TlsServerContext::Impl& self = impl(ssl);
    int chosen = self.certificates.choose(ssl, self.clock.unix_ms() / 1000);
    TlsBio::of(ssl).certificate = chosen;
    if (chosen > 0) SSL_set_SSL_CTX(ssl, self.certificates.context(chosen));
    return 1;
  }
};

int TlsTicketCallback::run(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                           int sealing) {
  TlsTicketKeys::Impl& keys = *TlsServerCallbacks::impl(ssl).tickets->impl_;
  std::shared_lock lock(keys.mutex);
  if (sealing) {
    if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1) return -1;
    std::memcpy(name, keys.current.name, sizeof keys.current.name);
    return init(keys.current, iv, cipher, mac, 1);
  }
  if (std::memcmp(name, keys.current.name, sizeof keys.current.name) == 0) {
    return init(keys.current, iv, cipher, mac, 0);
  }
  if (std::memcmp(name, keys.previous.name, sizeof keys.previous.name) != 0) return 0;
  return init(keys.previous, iv, cipher, mac, 0) == 1 ? 2 : -1;
}

TlsServerContext::TlsServerContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsServerContext::~TlsServerContext() = default;

Result<std::shared_ptr<const TlsServerContext>> TlsServerContext::make(const std::vector<TlsCertificate>& certificates,
                                                                       const TlsRules& rules, const Clock& clock,
                                                                       std::shared_ptr<TlsTicketKeys> tickets) {
  if (certificates.empty()) return fail("an HTTPS listener needs a certificate");
  auto impl = std::make_unique<Impl>(clock, std::move(tickets));
  int level = rules.version_min < TLS1_2_VERSION ? 0 : 1;
  for (const TlsCertificate& certificate : certificates) {
    WEIR_TRY_ASSIGN(SslContextPtr ctx, make_ssl_context(TLS_server_method(), rules, level));
    SSL_CTX_set_options(ctx.get(), SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_keylog_callback(ctx.get(), TlsBio::note_secret);
    static constexpr unsigned char kSessionContext[] = "weir";
    SSL_CTX_set_session_id_context(ctx.get(), kSessionContext, sizeof kSessionContext - 1);
    SSL_CTX_set_session_cache_mode(ctx.get(), SSL_SESS_CACHE_OFF);  // tickets only: no shared cache, no lock
    SSL_CTX_set_num_tickets(ctx.get(), kTicketsPerHandshake);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx.get(), TlsTicketCallback::run);
    SSL_CTX_set_alpn_select_cb(ctx.get(), TlsServerCallbacks::select_alpn, nullptr);
    SSL_CTX_set_tlsext_servername_callback(ctx.get(), TlsServerCallbacks::accept_name);
    SSL_CTX_set_cert_cb(ctx.get(), TlsServerCallbacks::choose_certificate, nullptr);
    WEIR_TRY(impl->certificates.add(std::move(ctx), certificate));
    impl->ids.push_back(certificate.id);
  }
  return std::shared_ptr<const TlsServerContext>(new TlsServerContext(std::move(impl)));
}

const std::string& TlsServerContext::certificate_id(int place) const { return impl_->ids[static_cast<size_t>(place)]; }

ssl_st* TlsServerContext::new_session(TlsIo& io, ssl_session_st*) const {
  io.server = this;
  SSL* ssl = TlsBio::attach(SSL_new(impl_->certificates.default_context()), io);
  if (ssl != nullptr) SSL_set_accept_state(ssl);
  return ssl;
}

// --- clients ------------------------------------------------------------------------------------------------

struct TlsClientContext::Impl {
  SslContextPtr context;

  // Keeps the latest ticket; true: taken over.
  static int keep_session(SSL* ssl, SSL_SESSION* session) {
    TlsIo& io = TlsBio::of(ssl);
    if (io.fresh_session != nullptr) SSL_SESSION_free(io.fresh_session);
    io.fresh_session = session;
    return 1;
  }
};

TlsClientContext::TlsClientContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsClientContext::~TlsClientContext() = default;

Result<std::shared_ptr<const TlsClientContext>> TlsClientContext::make(const TlsRules& rules) {
  auto impl = std::make_unique<Impl>();
  // Level 0: what the target's certificate looks like does not matter, since nobody validates it.
  WEIR_TRY_ASSIGN(impl->context, make_ssl_context(TLS_client_method(), rules, 0));
  SSL_CTX* ctx = impl->context.get();
  SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(ctx, Impl::keep_session);
  if (SSL_CTX_set_alpn_protos(ctx, kAlpnH2, sizeof kAlpnH2) != 0) return openssl_failure("ALPN");
  return std::shared_ptr<const TlsClientContext>(new TlsClientContext(std::move(impl)));
}

ssl_st* TlsClientContext::new_session(TlsIo& io, ssl_session_st* resume) const {
  SSL* ssl = TlsBio::attach(SSL_new(impl_->context.get()), io);
  if (ssl == nullptr) return nullptr;
  if (resume != nullptr) SSL_set_session(ssl, resume);
  SSL_set_connect_state(ssl);
  return ssl;
}

void TlsSessionEnd::operator()(ssl_session_st* session) const { SSL_SESSION_free(session); }

// --- failures -----------------------------------------------------------------------------------------------

std::string_view to_string(TlsFailure failure) {
  switch (failure) {
    case TlsFailure::None: return "";
    case TlsFailure::NotTls: return "not TLS";
    case TlsFailure::NoSharedVersion: return "no shared version";
    case TlsFailure::NoSharedCipher: return "no shared cipher";
    case TlsFailure::NoSharedProtocol: return "no shared protocol";
    case TlsFailure::PeerAlert: return "refused by the peer";
    case TlsFailure::PeerClosed: return "closed by the peer";
    case TlsFailure::Malformed: return "malformed";
  }
  return "";
}

TlsFailure tls_failure_of(unsigned long error_code) {
  if (ERR_GET_LIB(error_code) != ERR_LIB_SSL) return TlsFailure::Malformed;
  int reason = ERR_GET_REASON(error_code);
  if (reason > SSL_AD_REASON_OFFSET) return TlsFailure::PeerAlert;
  switch (reason) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_WRONG_VERSION_NUMBER: return TlsFailure::NotTls;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_VERSION_TOO_HIGH:
    case SSL_R_NO_PROTOCOLS_AVAILABLE: return TlsFailure::NoSharedVersion;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM: return TlsFailure::NoSharedCipher;
    case SSL_R_NO_APPLICATION_PROTOCOL: return TlsFailure::NoSharedProtocol;
    default: return TlsFailure::Malformed;
  }
}

}  // namespace weir::net
