#include "api/acm/openssl_support.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "api/acm/local_ca.h"

namespace weir::api {
namespace {

constexpr size_t kFileMax = 1 << 20;

std::string contents_of(BIO* memory) {
  char* data = nullptr;
  long size = BIO_get_mem_data(memory, &data);
  return {data, static_cast<size_t>(size)};
}

// Refuses to ask at the terminal for the password of an encrypted key.
int no_password(char*, int, int, void*) { return 0; }

std::string name_text(X509_NAME* name) {
  BioPtr out(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253);
  return contents_of(out.get());
}

int64_t seconds_of(const ASN1_TIME* time) {
  std::tm broken{};
  if (ASN1_TIME_to_tm(time, &broken) != 1) return 0;
  return timegm(&broken);
}

std::string algorithm_of(EVP_PKEY* key) {
  if (EVP_PKEY_base_id(key) == EVP_PKEY_RSA) return "RSA_" + std::to_string(EVP_PKEY_bits(key));
  int bits = EVP_PKEY_bits(key);
  if (EVP_PKEY_base_id(key) == EVP_PKEY_EC) {
    return bits == 256 ? "EC_prime256v1" : bits == 384 ? "EC_secp384r1" : "EC_secp521r1";
  }
  return "";
}

std::vector<std::string> dns_names(X509* certificate) {
  std::vector<std::string> names;
  auto* list = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; list != nullptr && i < sk_GENERAL_NAME_num(list); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(list, i);
    if (name->type != GEN_DNS) continue;
    names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  GENERAL_NAMES_free(list);
  return names;
}

}  // namespace

std::unexpected<Error> openssl_error(const std::string& what) {
  char reason[256];
  ERR_error_string_n(ERR_peek_last_error(), reason, sizeof reason);
  ERR_clear_error();
  return fail(what + ": " + reason);
}

Result<KeyPtr> generate_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("generating a key");
  return key;
}

Result<std::string> certificate_to_pem(X509* certificate) {
  BioPtr out(BIO_new(BIO_s_mem()));
  if (!out || PEM_write_bio_X509(out.get(), certificate) != 1) return openssl_error("writing a certificate");
  return contents_of(out.get());
}

Result<std::string> key_to_pem(EVP_PKEY* key) {
  BioPtr out(BIO_new(BIO_s_mem()));
  if (!out || PEM_write_bio_PKCS8PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return openssl_error("writing a key");
  }
  return contents_of(out.get());
}

Result<X509Ptr> certificate_from_pem(const std::string& pem) {
  BioPtr in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  X509Ptr certificate(in ? PEM_read_bio_X509(in.get(), nullptr, no_password, nullptr) : nullptr);
  if (!certificate) return openssl_error("reading a certificate");
  return certificate;
}

Result<KeyPtr> key_from_pem(const std::string& pem) {
  BioPtr in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  KeyPtr key(in ? PEM_read_bio_PrivateKey(in.get(), nullptr, no_password, nullptr) : nullptr);
  if (!key) return openssl_error("reading a private key");
  return key;
}

std::string serial_of(X509* certificate) {
  BignumPtr number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  char* digits = number ? BN_bn2hex(number.get()) : nullptr;
  std::string plain = digits != nullptr ? digits : "";
  OPENSSL_free(digits);
  std::string shown;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (i > 0 && i % 2 == 0) shown += ':';
    shown += static_cast<char>(plain[i] >= 'A' && plain[i] <= 'F' ? plain[i] - 'A' + 'a' : plain[i]);
  }
  return shown;
}

Result<std::string> read_file(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno("reading " + path, errno);
  std::string contents;
  char buffer[4096];
  ssize_t got = 0;
  while ((got = read(fd, buffer, sizeof buffer)) > 0 && contents.size() < kFileMax) {
    contents.append(buffer, static_cast<size_t>(got));
  }
  int error = got < 0 ? errno : 0;
  close(fd);
  if (error != 0) return fail_errno("reading " + path, error);
  if (contents.size() >= kFileMax) return fail("reading " + path + ": larger than 1 MiB", EFBIG);
  return contents;
}

Result<CertificateInfo> inspect_certificate(const std::string& pem) {
  WEIR_TRY_ASSIGN(X509Ptr certificate, certificate_from_pem(pem));
  CertificateInfo info;
  info.subject = name_text(X509_get_subject_name(certificate.get()));
  info.issuer = name_text(X509_get_issuer_name(certificate.get()));
  info.serial = serial_of(certificate.get());
  info.key_algorithm = algorithm_of(X509_get0_pubkey(certificate.get()));
  info.names = dns_names(certificate.get());
  info.not_before = seconds_of(X509_get0_notBefore(certificate.get()));
  info.not_after = seconds_of(X509_get0_notAfter(certificate.get()));
  return info;
}

Result<void> check_key_pair(const std::string& certificate_pem, const std::string& key_pem) {
  WEIR_TRY_ASSIGN(X509Ptr certificate, certificate_from_pem(certificate_pem));
  WEIR_TRY_ASSIGN(KeyPtr key, key_from_pem(key_pem));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return fail("the private key does not belong to the certificate");
  }
  return {};
}

Result<void> write_private_file(const std::string& path, const std::string& contents) {
  std::string temporary = path + ".new";
  int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return fail_errno("writing " + temporary, errno);
  size_t written = 0;
  int error = 0;
  while (written < contents.size() && error == 0) {
    ssize_t count = write(fd, contents.data() + written, contents.size() - written);
    if (count < 0 && errno != EINTR) error = errno;
    if (count > 0) written += static_cast<size_t>(count);
  }
  if (error == 0 && fsync(fd) != 0) error = errno;
  close(fd);
  if (error == 0 && rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) return fail_errno("writing " + path, error);
  return {};
}

}  // namespace weir::api
