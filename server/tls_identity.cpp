// See tls_identity.h.
#include "server/tls_identity.h"

#include <unistd.h>

#include <algorithm>
#include <array>

#include "proto/base/file.h"

namespace mh::server {
namespace {

constexpr std::uint64_t kPemBytesMax = 256 * 1024;
// Clients that know the fingerprint do not look at the dates, and no other client can check such a
// certificate: an early end would only be a trap.
constexpr std::chrono::hours kLifetime(24 * 365 * 20);
// Clocks of others may be behind.
constexpr std::chrono::hours kBackdate(24);

Result<std::string> read_if_there(const std::filesystem::path& path) {
  auto text = read_file(path, kPemBytesMax);
  if (!text && text.error().code == Errc::kNotFound) return std::string();
  return text;
}

Result<TlsIdentity> make(const ServerFolder& folder, const std::string& key_pem,
                         const std::vector<std::string>& names, TimePoint now) {
  TlsIdentity identity;
  identity.key_pem = key_pem;
  MH_TRY(identity.certificate_pem,
         net::make_certificate(key_pem, names, now - kBackdate, now + kLifetime));
  MH_TRY(identity.facts, net::read_certificate(identity.certificate_pem));
  // The key first: a certificate without it would be no use.
  MH_TRY_VOID(write_file_atomically(folder.tls_key(), key_pem, 0600));
  MH_TRY_VOID(write_file_atomically(folder.tls_certificate(), identity.certificate_pem, 0600));
  return identity;
}

}  // namespace

std::optional<Digest> TlsIdentity::pin() const {
  if (!facts.is_self_signed) return std::nullopt;
  return facts.fingerprint;
}

std::vector<std::string> certificate_names(std::vector<std::string> given) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) == 0 && net::is_certificate_name(host.data()))
    given.emplace_back(host.data());
  for (const char* own : {"localhost", "127.0.0.1", "::1"}) given.emplace_back(own);
  // One stays of each, where it stood first.
  std::vector<std::string> names;
  for (std::string& name : given) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

Result<TlsIdentity> open_tls_identity(const ServerFolder& folder,
                                      const std::vector<std::string>& names, TimePoint now) {
  TlsIdentity identity;
  MH_TRY(identity.certificate_pem, read_if_there(folder.tls_certificate()));
  MH_TRY(identity.key_pem, read_if_there(folder.tls_key()));
  if (identity.key_pem.empty() && !identity.certificate_pem.empty())
    return fail(Errc::kDataLoss, folder.tls_key().string() +
                                     " is missing: copy it from a backup, or make a new one "
                                     "with 'manyhands-server certificate " +
                                     folder.root.string() +
                                     " --new-key' (every client must then join anew)");
  if (identity.key_pem.empty()) return make(folder, net::make_tls_key(), names, now);
  if (identity.certificate_pem.empty()) return make(folder, identity.key_pem, names, now);
  auto facts = net::read_certificate(identity.certificate_pem);
  if (!facts)
    return fail(Errc::kDataLoss, folder.tls_certificate().string() + " " + facts.error().message +
                                     ": delete it, and it is made anew for the same key");
  identity.facts = *std::move(facts);
  return identity;
}

Result<TlsIdentity> read_tls_identity(const std::filesystem::path& certificate,
                                      const std::filesystem::path& key) {
  TlsIdentity identity;
  for (const auto& [path, text, option] :
       {std::tuple(certificate, &identity.certificate_pem, "--tls-certificate "),
        std::tuple(key, &identity.key_pem, "--tls-key ")}) {
    auto content = read_file(path, kPemBytesMax);
    if (!content) return fail(Errc::kInvalidArgument, option + content.error().message);
    *text = *std::move(content);
  }
  auto facts = net::read_certificate(identity.certificate_pem);
  if (!facts)
    return fail(Errc::kInvalidArgument,
                "--tls-certificate " + certificate.string() + " " + facts.error().message);
  identity.facts = *std::move(facts);
  return identity;
}

Result<TlsIdentity> renew_tls_identity(const ServerFolder& folder, std::vector<std::string> names,
                                       bool is_new_key, TimePoint now) {
  if (!names.empty()) {
    names = certificate_names(std::move(names));
  } else {
    MH_TRY(const std::string old, read_if_there(folder.tls_certificate()));
    if (const auto facts = net::read_certificate(old)) names = facts->names;
    if (names.empty()) names = certificate_names();
  }
  std::string key;
  if (!is_new_key) {
    MH_TRY(key, read_if_there(folder.tls_key()));
  }
  if (key.empty()) key = net::make_tls_key();
  return make(folder, key, names, now);
}

}  // namespace mh::server
