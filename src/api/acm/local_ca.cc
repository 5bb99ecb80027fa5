#include "api/acm/local_ca.h"

#include <sys/stat.h>

#include <cerrno>

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "api/acm/openssl_support.h"

namespace weir::api {
namespace {

constexpr int64_t kDay = 24 * 60 * 60;
constexpr int64_t kAuthorityLife = 3650 * kDay;
constexpr int64_t kLeafLife = 395 * kDay;
constexpr int64_t kClockSkew = 60 * 60;
constexpr size_t kNamesMax = 100;
constexpr size_t kCommonNameMax = 64;

Result<void> add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()), X509_EXTENSION_free);
  if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return openssl_error("certificate extension " + std::string(OBJ_nid2sn(nid)));
  }
  return {};
}

// A certificate without extensions: random serial, names, validity, key.
Result<X509Ptr> new_certificate(const std::string& common_name, EVP_PKEY* key, int64_t now, int64_t life) {
  X509Ptr certificate(X509_new());
  if (!certificate || X509_set_version(certificate.get(), X509_VERSION_3) != 1) return openssl_error("certificate");
  BignumPtr serial(BN_new());
  if (!serial || BN_rand(serial.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) != 1 ||
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate.get())) == nullptr) {
    return openssl_error("serial number");
  }
  X509_NAME* name = X509_get_subject_name(certificate.get());
  auto add = [name](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.c_str()),
                                      -1, -1, 0) == 1;
  };
  if (!add("O", "Weir") || (common_name.size() <= kCommonNameMax && !add("CN", common_name))) {
    return openssl_error("subject");
  }
  if (ASN1_TIME_set(X509_getm_notBefore(certificate.get()), now - kClockSkew) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(certificate.get()), now + life) == nullptr ||
      X509_set_pubkey(certificate.get(), key) != 1) {
    return openssl_error("certificate");
  }
  return certificate;
}

Result<X509Ptr> make_authority(EVP_PKEY* key, int64_t now) {
  WEIR_TRY_ASSIGN(X509Ptr certificate, new_certificate("Weir local authority", key, now, kAuthorityLife));
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
  WEIR_TRY(add_extension(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  WEIR_TRY(add_extension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign"));
  WEIR_TRY(add_extension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash"));
  if (X509_sign(certificate.get(), key, EVP_sha256()) == 0) return openssl_error("signing the authority");
  return certificate;
}

std::string alternative_names(const std::vector<std::string>& names) {
  std::string list;
  for (const auto& name : names) {
    bool address = !name.empty() && name.find_first_not_of("0123456789.") == std::string::npos;
    list += (list.empty() ? "" : ",") + std::string(address ? "IP:" : "DNS:") + name;
  }
  return list;
}

// OpenSSL's extension syntax separates by commas and colons: only host characters may enter it.
Result<void> check_names(const std::vector<std::string>& names) {
  if (names.empty() || names.size() > kNamesMax) return fail("a certificate needs 1 to 100 names");
  for (const auto& name : names) {
    constexpr const char* allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*";
    if (name.empty() || name.size() > 253 || name.find_first_not_of(allowed) != std::string::npos) {
      return fail("'" + name + "' is not a host name");
    }
  }
  return {};
}

}  // namespace

struct LocalCa::Impl {
  X509Ptr certificate;
  KeyPtr key;
  std::string pem;
  std::string path;
};

LocalCa::LocalCa(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LocalCa::~LocalCa() = default;
const std::string& LocalCa::certificate_pem() const { return impl_->pem; }
const std::string& LocalCa::certificate_path() const { return impl_->path; }

Result<std::unique_ptr<LocalCa>> LocalCa::open(const std::string& directory, int64_t now_seconds) {
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno("mkdir " + directory, errno);
  auto impl = std::make_unique<Impl>();
  impl->path = directory + "/ca.pem";
  std::string key_path = directory + "/ca.key";
  auto key_pem = read_file(key_path);
  auto certificate_pem = read_file(impl->path);
  if (!certificate_pem && certificate_pem.error().code == ENOENT) {
    // Killed between the two files at the first start: nothing was issued yet.
    WEIR_TRY_ASSIGN(impl->key, generate_key());
    WEIR_TRY_ASSIGN(impl->certificate, make_authority(impl->key.get(), now_seconds));
    WEIR_TRY_ASSIGN(impl->pem, certificate_to_pem(impl->certificate.get()));
    WEIR_TRY_ASSIGN(std::string fresh_key, key_to_pem(impl->key.get()));
    WEIR_TRY(write_private_file(key_path, fresh_key));
    WEIR_TRY(write_private_file(impl->path, impl->pem));
    if (chmod(impl->path.c_str(), 0644) != 0) return fail_errno("chmod " + impl->path, errno);
    return std::unique_ptr<LocalCa>(new LocalCa(std::move(impl)));
  }
  if (!certificate_pem) return std::unexpected(certificate_pem.error());
  if (!key_pem) return std::unexpected(key_pem.error());
  WEIR_TRY(check_key_pair(*certificate_pem, *key_pem));
  WEIR_TRY_ASSIGN(impl->certificate, certificate_from_pem(*certificate_pem));
  WEIR_TRY_ASSIGN(impl->key, key_from_pem(*key_pem));
  impl->pem = *certificate_pem;
  return std::unique_ptr<LocalCa>(new LocalCa(std::move(impl)));
}

Result<IssuedCertificate> LocalCa::issue(const std::vector<std::string>& names, int64_t now_seconds) const {
  WEIR_TRY(check_names(names));
  WEIR_TRY_ASSIGN(KeyPtr key, generate_key());
  WEIR_TRY_ASSIGN(X509Ptr certificate, new_certificate(names.front(), key.get(), now_seconds, kLeafLife));
  X509* authority = impl_->certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(authority));
  WEIR_TRY(add_extension(certificate.get(), authority, NID_basic_constraints, "critical,CA:FALSE"));
  WEIR_TRY(add_extension(certificate.get(), authority, NID_key_usage, "critical,digitalSignature"));
  WEIR_TRY(add_extension(certificate.get(), authority, NID_ext_key_usage, "serverAuth"));
  WEIR_TRY(add_extension(certificate.get(), authority, NID_subject_key_identifier, "hash"));
  WEIR_TRY(add_extension(certificate.get(), authority, NID_authority_key_identifier, "keyid"));
  WEIR_TRY(add_extension(certificate.get(), authority, NID_subject_alt_name, alternative_names(names)));
  if (X509_sign(certificate.get(), impl_->key.get(), EVP_sha256()) == 0) return openssl_error("signing");
  IssuedCertificate issued;
  WEIR_TRY_ASSIGN(issued.certificate_pem, certificate_to_pem(certificate.get()));
  WEIR_TRY_ASSIGN(issued.key_pem, key_to_pem(key.get()));
  issued.chain_pem = impl_->pem;
  issued.serial = serial_of(certificate.get());
  issued.not_before = now_seconds - kClockSkew;
  issued.not_after = now_seconds + kLeafLife;
  return issued;
}

}  // namespace weir::api
