#include "api/acm/local_ca.h"

#include <sys/stat.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <openssl/x509v3.h>

#include "api/acm/openssl_support.h"
#include "api/test_world.h"

namespace weir::api {
namespace {

constexpr int64_t kNow = 1'763'850'030;

// 1: the chain and the name verify at `now`; else OpenSSL's error code, negated.
int verify(const std::string& leaf_pem, const std::string& authority_pem, const char* host, int64_t now) {
  X509Ptr leaf = std::move(*certificate_from_pem(leaf_pem));
  X509Ptr authority = std::move(*certificate_from_pem(authority_pem));
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, authority.get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, leaf.get(), nullptr);
  X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_time(parameters, now);
  if (host[0] >= '0' && host[0] <= '9') {
    X509_VERIFY_PARAM_set1_ip_asc(parameters, host);
  } else {
    X509_VERIFY_PARAM_set1_host(parameters, host, 0);
  }
  int result = X509_verify_cert(context) == 1 ? 1 : -X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return result;
}

TEST(LocalCa, IssuesCertificatesThatVerifyForTheirNamesOnly) {
  TestWorld world;
  auto issued = world.ca->issue({"chat.example.com", "*.us-east-1.elb.localhost", "localhost", "127.0.0.1"}, kNow);
  ASSERT_TRUE(issued) << issued.error().message;
  const std::string& leaf = issued->certificate_pem;
  const std::string& authority = world.ca->certificate_pem();
  for (const char* host : {"chat.example.com", "x-1.us-east-1.elb.localhost", "localhost", "127.0.0.1"}) {
    EXPECT_EQ(verify(leaf, authority, host, kNow), 1) << host;
  }
  EXPECT_EQ(verify(leaf, authority, "other.example.com", kNow), -X509_V_ERR_HOSTNAME_MISMATCH);
  EXPECT_EQ(verify(leaf, authority, "127.0.0.9", kNow), -X509_V_ERR_IP_ADDRESS_MISMATCH);
  EXPECT_EQ(verify(leaf, authority, "localhost", kNow + 396 * 86400), -X509_V_ERR_CERT_HAS_EXPIRED);
  EXPECT_TRUE(check_key_pair(leaf, issued->key_pem));
}

TEST(LocalCa, IsTheSameAfterARestartAndKeepsItsKeyPrivate) {
  TestWorld world;
  auto again = LocalCa::open(world.directory + "/ca", kNow + 1);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->certificate_pem(), world.ca->certificate_pem());
  struct stat status {};
  ASSERT_EQ(stat((world.directory + "/ca/ca.key").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST(LocalCa, RefusesNamesThatAreNotHosts) {
  TestWorld world;
  for (const char* name : {"", "a,DNS:b", "a b", "a\nb", "URI:x"}) EXPECT_FALSE(world.ca->issue({name}, kNow)) << name;
  EXPECT_FALSE(world.ca->issue({}, kNow));
}

TEST(Certificate, IsIssuedAtOnceAndNotDeletedWhileInUse) {
  TestWorld world;
  world.listener();
  auto described = world.call("acm", "DescribeCertificate", {{"CertificateArn", world.certificate()}})["Certificate"];
  EXPECT_EQ(described["Status"], "ISSUED");
  EXPECT_EQ(described["KeyAlgorithm"], "EC_prime256v1");
  EXPECT_EQ(described["InUseBy"], nlohmann::json::array({world.balancer()}));
  EXPECT_FALSE(described.contains("weir"));
  EXPECT_EQ(world.error("acm", "DeleteCertificate", {{"CertificateArn", world.certificate()}}),
            "ResourceInUseException: Certificate " + world.certificate() + " is in use.");
  world.call("elbv2", "DeleteListener", {{"ListenerArn", world.listener()}});
  EXPECT_EQ(world.error("acm", "DeleteCertificate", {{"CertificateArn", world.certificate()}}), "no error");
}

}  // namespace
}  // namespace weir::api
