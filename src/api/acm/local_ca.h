// The certificate authority of one state directory: a certificate that a template requests is issued by it at
// once. ECDSA P-256; the authority lives 10 years, leaves 395 days. The key file has mode 0600 and never
// leaves the machine. Thread: the control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace weir::api {

struct IssuedCertificate {
  std::string certificate_pem;
  std::string chain_pem;  // the authority's certificate
  std::string key_pem;    // PKCS#8
  std::string serial;     // hexadecimal, "aa:bb:…"
  int64_t not_before = 0; // seconds since the epoch
  int64_t not_after = 0;
};

struct CertificateInfo {
  std::string subject;
  std::string issuer;
  std::string serial;
  std::string key_algorithm;  // ACM's name: "EC_prime256v1", "RSA_2048", …
  std::vector<std::string> names;  // DNS names of the certificate
  int64_t not_before = 0;
  int64_t not_after = 0;
};

class LocalCa {
 public:
  // Opens the authority in `directory`, making both when missing. A key without its certificate, or files
  // that do not fit together, are an error.
  static Result<std::unique_ptr<LocalCa>> open(const std::string& directory, int64_t now_seconds);
  ~LocalCa();
  LocalCa(const LocalCa&) = delete;
  LocalCa& operator=(const LocalCa&) = delete;

  // Names are DNS names or IPv4 addresses; the first one becomes the subject's common name (if it fits).
  Result<IssuedCertificate> issue(const std::vector<std::string>& names, int64_t now_seconds) const;
  const std::string& certificate_pem() const;
  const std::string& certificate_path() const;

 private:
  struct Impl;
  explicit LocalCa(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Reads the first certificate of `pem`.
Result<CertificateInfo> inspect_certificate(const std::string& pem);
// Whether the private key belongs to the certificate.
Result<void> check_key_pair(const std::string& certificate_pem, const std::string& key_pem);
// Writes a file readable by the owner alone, durably, replacing it at once.
Result<void> write_private_file(const std::string& path, const std::string& contents);

}  // namespace weir::api
