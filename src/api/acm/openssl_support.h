// Owners and conversions for OpenSSL's certificates and keys.
#pragma once

#include <memory>
#include <string>

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/result.h"

namespace weir::api {

struct OpensslFree {
  void operator()(X509* x) const { X509_free(x); }
  void operator()(EVP_PKEY* x) const { EVP_PKEY_free(x); }
  void operator()(BIGNUM* x) const { BN_free(x); }
  void operator()(BIO* x) const { BIO_free(x); }
};
using X509Ptr = std::unique_ptr<X509, OpensslFree>;
using KeyPtr = std::unique_ptr<EVP_PKEY, OpensslFree>;
using BignumPtr = std::unique_ptr<BIGNUM, OpensslFree>;
using BioPtr = std::unique_ptr<BIO, OpensslFree>;

// "WHAT: OpenSSL's reason".
std::unexpected<Error> openssl_error(const std::string& what);
Result<KeyPtr> generate_key();  // ECDSA P-256
Result<std::string> certificate_to_pem(X509* certificate);
Result<std::string> key_to_pem(EVP_PKEY* key);
Result<X509Ptr> certificate_from_pem(const std::string& pem);
Result<KeyPtr> key_from_pem(const std::string& pem);
std::string serial_of(X509* certificate);
// At most 1 MiB. Error code is errno.
Result<std::string> read_file(const std::string& path);

}  // namespace weir::api
