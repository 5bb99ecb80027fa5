#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <cstdlib>
#include <cstring>

namespace weir::net {

namespace {

// Freed blocks wait per thread and size class; the size stands in front of each block.
constexpr size_t kHeadBytes = 16;
constexpr int kClasses = 12;  // 32 B … 64 KiB
constexpr size_t kSmallest = 32;
constexpr size_t kKeptPerClass = 256;

struct FreeLists {
  void* first[kClasses] = {};
  size_t count[kClasses] = {};
};
thread_local FreeLists t_free;

// Gives a thread's blocks back when it ends; later frees of that thread (OpenSSL's own) go to the heap. Apart
// from the lists, so that these need no guard on the hot path; touched when a block comes from the heap.
struct FreeListsEnd {
  bool touched = false;
  ~FreeListsEnd() {
    for (int c = 0; c < kClasses; ++c) {
      while (t_free.first[c] != nullptr) {
        char* block = static_cast<char*>(t_free.first[c]);
        std::memcpy(&t_free.first[c], block + kHeadBytes, sizeof(void*));
        std::free(block);
      }
      t_free.count[c] = kKeptPerClass;
    }
  }
};
thread_local FreeListsEnd t_free_end;

int class_of(size_t bytes) {
  int c = 0;
  for (size_t size = kSmallest; size < bytes; size <<= 1) ++c;
  return c;
}

void* pool_malloc(size_t bytes, const char*, int) {
  int c = class_of(bytes);
  char* block;
  if (c < kClasses && t_free.first[c] != nullptr) {
    block = static_cast<char*>(t_free.first[c]);
    std::memcpy(&t_free.first[c], block + kHeadBytes, sizeof(void*));
    --t_free.count[c];
  } else {
    t_free_end.touched = true;
    size_t size = c < kClasses ? kSmallest << c : bytes;
    block = static_cast<char*>(std::malloc(size + kHeadBytes));
    if (block == nullptr) return nullptr;
  }
  std::memcpy(block, &bytes, sizeof bytes);
  return block + kHeadBytes;
}

void pool_free(void* pointer, const char*, int) {
  if (pointer == nullptr) return;
  char* block = static_cast<char*>(pointer) - kHeadBytes;
  size_t bytes;
  std::memcpy(&bytes, block, sizeof bytes);
  int c = class_of(bytes);
  if (c >= kClasses || t_free.count[c] >= kKeptPerClass) {
    std::free(block);
    return;
  }
  std::memcpy(block + kHeadBytes, &t_free.first[c], sizeof(void*));
  t_free.first[c] = block;
  ++t_free.count[c];
}

void* pool_realloc(void* pointer, size_t bytes, const char* file, int line) {
  if (pointer == nullptr) return pool_malloc(bytes, file, line);
  size_t old;
  std::memcpy(&old, static_cast<char*>(pointer) - kHeadBytes, sizeof old);
  void* fresh = pool_malloc(bytes, file, line);
  if (fresh == nullptr) return nullptr;
  std::memcpy(fresh, pointer, old < bytes ? old : bytes);
  pool_free(pointer, file, line);
  return fresh;
}

std::string openssl_reason() {
  char text[256] = "unknown error";
  if (unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return text;
}

struct CtxFree {
  void operator()(SSL_CTX* ctx) const { SSL_CTX_free(ctx); }
};
using CtxPtr = std::unique_ptr<SSL_CTX, CtxFree>;
struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, BioFree>;

Result<void> load_certificate(SSL_CTX* ctx, const TlsCertificate& c) {
  BioPtr chain(BIO_new_mem_buf(c.chain_pem.data(), static_cast<int>(c.chain_pem.size())));
  X509* leaf = PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr);
  if (leaf == nullptr) return fail("certificate does not parse: " + openssl_reason());
  int used = SSL_CTX_use_certificate(ctx, leaf);
  X509_free(leaf);
  if (used != 1) return fail("certificate is refused: " + openssl_reason());
  while (X509* next = PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr)) {
    if (SSL_CTX_add0_chain_cert(ctx, next) != 1) {
      X509_free(next);
      return fail("chain certificate is refused: " + openssl_reason());
    }
  }
  ERR_clear_error();
  BioPtr key_bio(BIO_new_mem_buf(c.key_pem.data(), static_cast<int>(c.key_pem.size())));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr);
  if (key == nullptr) return fail("private key does not parse: " + openssl_reason());
  used = SSL_CTX_use_PrivateKey(ctx, key);
  EVP_PKEY_free(key);
  if (used != 1 || SSL_CTX_check_private_key(ctx) != 1) {
    return fail("private key does not belong to the certificate: " + openssl_reason());
  }
  return {};
}

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned int in_size, void*) {
  static constexpr unsigned char kH2[] = {2, 'h', '2'};
  auto* chosen = const_cast<unsigned char**>(out);
  if (SSL_select_next_proto(chosen, out_size, kH2, sizeof kH2, in, in_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;  // no_application_protocol (RFC 7301 §3.2)
  }
  return SSL_TLSEXT_ERR_OK;
}

bool name_matches(std::string_view pattern, std::string_view host) {
  if (!pattern.starts_with("*."))
    return pattern.size() == host.size() && strncasecmp(pattern.data(), host.data(), host.size()) == 0;
  size_t dot = host.find('.');
  if (dot == std::string_view::npos || dot == 0) return false;
  std::string_view rest = host.substr(dot);
  pattern.remove_prefix(1);
  return pattern.size() == rest.size() && strncasecmp(pattern.data(), rest.data(), rest.size()) == 0;
}

}  // namespace

void use_pooled_openssl_memory() { CRYPTO_set_mem_functions(pool_malloc, pool_realloc, pool_free); }

struct TlsServerContext::Impl {
  struct Entry {
    CtxPtr ctx;
    std::vector<std::string> names;
  };
  std::vector<Entry> entries;

  static int choose_by_sni(SSL* ssl, int*, void* self) {
    const char* host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (host == nullptr) return SSL_TLSEXT_ERR_OK;
    for (const Entry& entry : static_cast<Impl*>(self)->entries) {
      for (const std::string& name : entry.names) {
        if (!name_matches(name, host)) continue;
        SSL_set_SSL_CTX(ssl, entry.ctx.get());
        return SSL_TLSEXT_ERR_OK;
      }
    }
    return SSL_TLSEXT_ERR_OK;
  }
};

TlsServerContext::TlsServerContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsServerContext::~TlsServerContext() = default;

Result<std::shared_ptr<const TlsServerContext>> TlsServerContext::make(
    const std::vector<TlsCertificate>& certificates, const std::string& policy) {
  if (certificates.empty()) return fail("an HTTPS listener needs a certificate");
  auto impl = std::make_unique<Impl>();
  for (const TlsCertificate& certificate : certificates) {
    CtxPtr ctx(SSL_CTX_new(TLS_server_method()));
    if (!ctx) return fail("SSL_CTX_new: " + openssl_reason());
    bool only_13 = policy.find("TLS13-1-3") != std::string::npos;
    SSL_CTX_set_min_proto_version(ctx.get(), only_13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(ctx.get(), TLS1_3_VERSION);
    SSL_CTX_set_cipher_list(ctx.get(),
                            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                            "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384");
    SSL_CTX_set_ciphersuites(ctx.get(),
                             "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set_options(ctx.get(), SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION |
                                       SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    static constexpr unsigned char kSessionContext[] = "weir";
    SSL_CTX_set_session_id_context(ctx.get(), kSessionContext, sizeof kSessionContext - 1);
    SSL_CTX_set_session_cache_mode(ctx.get(), SSL_SESS_CACHE_OFF);  // tickets only: no shared cache, no lock
    SSL_CTX_set_alpn_select_cb(ctx.get(), select_alpn, nullptr);
    SSL_CTX_set_tlsext_servername_callback(ctx.get(), Impl::choose_by_sni);
    SSL_CTX_set_tlsext_servername_arg(ctx.get(), impl.get());
    WEIR_TRY(load_certificate(ctx.get(), certificate));
    impl->entries.push_back({std::move(ctx), certificate.names});
  }
  return std::shared_ptr<const TlsServerContext>(new TlsServerContext(std::move(impl)));
}

ssl_st* TlsServerContext::new_session() const {
  SSL* ssl = SSL_new(impl_->entries[0].ctx.get());
  if (ssl != nullptr) SSL_set_accept_state(ssl);
  return ssl;
}

}  // namespace weir::net
