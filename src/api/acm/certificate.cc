#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>

#include "api/acm/local_ca.h"
#include "api/support.h"

namespace weir::api {
namespace {

constexpr const char* kKind = "acm.certificate";
constexpr size_t kNamesMax = 100;
// Loopback addresses that load balancers of this machine get first.
constexpr int kLoopbackNames = 8;

[[noreturn]] void raise_missing(const std::string& id) {
  raise("ResourceNotFoundException", fmt::format("Could not find certificate {}.", id));
}

Json load_certificate(Context& context, const Json& input) {
  std::string id = text(input, "CertificateArn");
  Json certificate = find(context, kKind, id);
  if (certificate.is_null()) raise_missing(id);
  return certificate;
}

std::string checked_domain(const std::string& domain) {
  std::string_view plain = domain;
  if (plain.starts_with("*.")) plain.remove_prefix(2);
  bool valid = !plain.empty() && plain.size() <= 253 && plain.front() != '.' && plain.front() != '-' &&
               plain.back() != '.' && plain.back() != '-' && plain.find("..") == std::string_view::npos &&
               std::all_of(plain.begin(), plain.end(), [](unsigned char c) {
                 return std::isalnum(c) || c == '-' || c == '.' || c == '_';
               });
  if (!valid) {
    raise("ValidationException",
          fmt::format("1 validation error detected: Value '{}' at 'domainName' failed to satisfy constraint: Member "
                      "must satisfy regular expression pattern: (\\*\\.)?(((?!-)[A-Za-z0-9-]{{0,62}}[A-Za-z0-9])\\.)+"
                      "((?!-)[A-Za-z0-9-]{{1,62}}[A-Za-z0-9])", domain));
  }
  return domain;
}

std::vector<std::string> requested_names(const Json& input) {
  std::vector<std::string> names{checked_domain(text(input, "DomainName"))};
  for (const auto& name : array(input, "SubjectAlternativeNames")) {
    std::string domain = checked_domain(name.is_string() ? name.get<std::string>() : "");
    if (std::find(names.begin(), names.end(), domain) == names.end()) names.push_back(domain);
  }
  if (names.size() > kNamesMax) {
    raise("LimitExceededException", "A certificate can have at most 100 names.");
  }
  return names;
}

// What clients of this machine use besides the requested names.
std::vector<std::string> local_names(const Context& context) {
  std::vector<std::string> names{"localhost", fmt::format("*.{}.elb.localhost", context.region)};
  for (int last = 1; last <= kLoopbackNames; ++last) names.push_back(fmt::format("127.0.0.{}", last));
  return names;
}

std::string save_key(const Context& context, const std::string& id, const std::string& key_pem) {
  std::string directory = context.state_dir + "/certificates";
  mkdir(directory.c_str(), 0700);
  std::string path = fmt::format("{}/{}.key", directory, id);
  if (auto written = write_private_file(path, key_pem); !written) {
    raise("InternalFailure", "The key could not be stored: " + written.error().message, 500);
  }
  return path;
}

Json validation_options(const std::vector<std::string>& names, const std::string& method) {
  Json options = Json::array();
  for (const auto& name : names) {
    options.push_back({{"DomainName", name}, {"ValidationDomain", name}, {"ValidationStatus", "SUCCESS"},
                       {"ValidationMethod", method}});
  }
  return options;
}

Json describe_pem(const std::string& pem) {
  auto info = inspect_certificate(pem);
  if (!info) raise("ValidationException", "The certificate is not valid: " + info.error().message);
  return {{"Subject", info->subject},          {"Issuer", info->issuer},
          {"Serial", info->serial},            {"KeyAlgorithm", info->key_algorithm},
          {"SignatureAlgorithm", "SHA256WITHECDSA"}, {"NotBefore", info->not_before},
          {"NotAfter", info->not_after},       {"SubjectAlternativeNames", info->names}};
}

Json make_certificate(Context& context, const Json& input, const std::string& id) {
  std::vector<std::string> names = requested_names(input);
  std::vector<std::string> extra = local_names(context);
  std::vector<std::string> all = names;
  std::copy_if(extra.begin(), extra.end(), std::back_inserter(all), [&names](const std::string& name) {
    return std::find(names.begin(), names.end(), name) == names.end();
  });
  auto issued = context.ca->issue(all, context.clock.unix_ms() / 1000);
  if (!issued) raise("InternalFailure", "The certificate could not be issued: " + issued.error().message, 500);
  Json certificate = describe_pem(issued->certificate_pem);
  double now = now_seconds(context);
  certificate.update({{"CertificateArn", arn(context, "acm", "certificate/" + id)},
                      {"DomainName", names.front()},
                      {"SubjectAlternativeNames", names},
                      {"DomainValidationOptions",
                       validation_options(names, text(input, "ValidationMethod", "DNS"))},
                      {"Status", "ISSUED"},
                      {"Type", "AMAZON_ISSUED"},
                      {"CreatedAt", now},
                      {"IssuedAt", now},
                      {"RenewalEligibility", "INELIGIBLE"},
                      {"Tags", tags_of(input)},
                      {"weir", {{"certificate_pem", issued->certificate_pem},
                                {"chain_pem", issued->chain_pem},
                                {"key_file", save_key(context, id, issued->key_pem)},
                                {"extra_names", extra},
                                {"token", text(input, "IdempotencyToken")}}}});
  return certificate;
}

Json request_certificate(Context& context, const Json& input) {
  if (context.ca == nullptr) raise("InternalFailure", "There is no certificate authority here.", 500);
  std::string method = text(input, "ValidationMethod", "DNS");
  if (method != "DNS" && method != "EMAIL" && method != "HTTP") {
    raise("ValidationException", fmt::format("1 validation error detected: Value '{}' at 'validationMethod' failed to "
                                             "satisfy constraint: Member must satisfy enum value set: [DNS, EMAIL, "
                                             "HTTP]", method));
  }
  std::string token = text(input, "IdempotencyToken");
  Json result;
  transaction(context, [&] {
    if (!token.empty()) {
      for (const auto& other : list_where(context, kKind, "DomainName", text(input, "DomainName"))) {
        if (weir_text(other, "token") == token) result = {{"CertificateArn", other["CertificateArn"]}};
      }
      if (!result.is_null()) return;
    }
    Json certificate = make_certificate(context, input, context.random.uuid());
    put(context, kKind, text(certificate, "CertificateArn"), certificate);
    result = {{"CertificateArn", certificate["CertificateArn"]}};
  });
  return result;
}

// The JSON protocol carries blobs in base64; plain PEM is taken as it is.
std::string blob(const Json& input, const char* member) {
  std::string given = text(input, member);
  if (given.empty() || given.find("-----BEGIN") != std::string::npos) return given;
  std::erase_if(given, [](unsigned char c) { return std::isspace(c); });
  std::string decoded(given.size(), '\0');
  int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                             reinterpret_cast<const unsigned char*>(given.data()), static_cast<int>(given.size()));
  if (size < 0) raise("ValidationException", fmt::format("The {} field is not valid base64.", member));
  decoded.resize(static_cast<size_t>(size));
  while (!decoded.empty() && decoded.back() == '\0') decoded.pop_back();
  return decoded;
}

Json import_certificate(Context& context, const Json& input) {
  std::string pem = blob(input, "Certificate");
  std::string key = blob(input, "PrivateKey");
  if (pem.empty()) raise("ValidationException", "The certificate field is empty.");
  if (auto fits = check_key_pair(pem, key); !fits) {
    raise("ValidationException", "The certificate and its key do not fit: " + fits.error().message);
  }
  Json certificate = describe_pem(pem);
  Json names = certificate["SubjectAlternativeNames"];
  std::string existing = text(input, "CertificateArn");
  transaction(context, [&] {
    std::string id = existing.empty() ? context.random.uuid() : existing.substr(existing.rfind('/') + 1);
    if (!existing.empty()) load_certificate(context, input);
    certificate.update({{"CertificateArn", arn(context, "acm", "certificate/" + id)},
                        {"DomainName", names.empty() ? Json("") : names[0]},
                        {"Status", "ISSUED"},
                        {"Type", "IMPORTED"},
                        {"ImportedAt", now_seconds(context)},
                        {"CreatedAt", now_seconds(context)},
                        {"RenewalEligibility", "INELIGIBLE"},
                        {"Tags", tags_of(input)},
                        {"weir", {{"certificate_pem", pem},
                                  {"chain_pem", blob(input, "CertificateChain")},
                                  {"key_file", save_key(context, id, key)},
                                  {"extra_names", Json::array()}}}});
    put(context, kKind, text(certificate, "CertificateArn"), certificate);
  });
  return {{"CertificateArn", certificate["CertificateArn"]}};
}

std::set<std::string> users_of(Context& context, const std::string& id) {
  std::set<std::string> users;
  for (const auto& listener : list(context, "elbv2.listener")) {
    Json certificates = array(listener, "Certificates");
    if (has(listener, "weir")) {
      for (const auto& extra : array(listener["weir"], "extra_certificates")) certificates.push_back(extra);
    }
    for (const auto& certificate : certificates) {
      if (text(certificate, "CertificateArn") == id) users.insert(text(listener, "LoadBalancerArn"));
    }
  }
  return users;
}

Json describe_certificate(Context& context, const Json& input) {
  Json certificate = load_certificate(context, input);
  certificate["InUseBy"] = users_of(context, text(certificate, "CertificateArn"));
  certificate.erase("Tags");
  return {{"Certificate", public_view(certificate)}};
}

Json get_certificate(Context& context, const Json& input) {
  Json certificate = load_certificate(context, input);
  return {{"Certificate", certificate["weir"]["certificate_pem"]},
          {"CertificateChain", certificate["weir"]["chain_pem"]}};
}

Json list_certificates(Context& context, const Json&) {
  Json summaries = Json::array();
  for (const auto& certificate : list(context, kKind)) {
    summaries.push_back({{"CertificateArn", certificate["CertificateArn"]},
                         {"DomainName", certificate["DomainName"]},
                         {"Status", certificate["Status"]},
                         {"Type", certificate["Type"]}});
  }
  return {{"CertificateSummaryList", summaries}};
}

Json delete_certificate(Context& context, const Json& input) {
  std::string key_file;
  transaction(context, [&] {
    Json certificate = load_certificate(context, input);
    std::string id = text(certificate, "CertificateArn");
    if (!users_of(context, id).empty()) {
      raise("ResourceInUseException", fmt::format("Certificate {} is in use.", id));
    }
    key_file = weir_text(certificate, "key_file");
    erase(context, kKind, id);
  });
  unlink(key_file.c_str());
  return Json::object();
}

Json add_tags(Context& context, const Json& input) {
  Json tags = tags_of(input);
  transaction(context, [&] {
    Json certificate = load_certificate(context, input);
    merge_tags(certificate["Tags"], tags);
    put(context, kKind, text(certificate, "CertificateArn"), certificate);
  });
  return Json::object();
}

Json take_tags(Context& context, const Json& input) {
  transaction(context, [&] {
    Json certificate = load_certificate(context, input);
    remove_tags(certificate["Tags"], array(input, "Tags"));
    put(context, kKind, text(certificate, "CertificateArn"), certificate);
  });
  return Json::object();
}

Json list_tags(Context& context, const Json& input) {
  return {{"Tags", array(load_certificate(context, input), "Tags")}};
}

}  // namespace

void add_acm_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "acm",
      {{"RequestCertificate", request_certificate},
       {"ImportCertificate", import_certificate},
       {"DescribeCertificate", describe_certificate},
       {"GetCertificate", get_certificate},
       {"ListCertificates", list_certificates},
       {"DeleteCertificate", delete_certificate},
       {"AddTagsToCertificate", add_tags},
       {"RemoveTagsFromCertificate", take_tags},
       {"ListTagsForCertificate", list_tags}});
}

}  // namespace weir::api
