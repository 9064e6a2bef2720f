// See upload_headers.h.
#include "proto/net/upload_headers.h"

#include <openssl/evp.h>

#include <array>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

namespace mh::net {
namespace {

EVP_MD_CTX* as_context(void* context) { return static_cast<EVP_MD_CTX*>(context); }

const EVP_MD* algorithm_of(std::string_view name) {
  if (name == "sha1") return EVP_sha1();
  if (name == "sha256") return EVP_sha256();
  return nullptr;
}

}  // namespace

Result<UploadAnnouncement> parse_upload_metadata(const Headers& headers) {
  UploadAnnouncement announcement;
  for (const std::string_view item : split_list(headers.find("Upload-Metadata").value_or(""))) {
    const std::size_t blank = item.find(' ');
    const std::string_view key = item.substr(0, blank);
    if (key == "resume") announcement.may_resume = true;
    if (key != "sha256") continue;
    const std::string_view value =
        blank == std::string_view::npos ? std::string_view() : trim(item.substr(blank));
    const auto text = from_base64(value);
    const auto digest = text.has_value() ? Digest::from_hex(as_text(*text))
                                         : Result<Digest>(fail(Errc::kInvalidArgument, ""));
    if (!digest.has_value())
      return fail(Errc::kInvalidArgument,
                  "sha256 in Upload-Metadata must be the base64 of the blob's SHA-256 in 64 "
                  "lower-case hex digits");
    announcement.digest = *digest;
  }
  return announcement;
}

void UploadChecksum::Free::operator()(void* context) const { EVP_MD_CTX_free(as_context(context)); }

Result<std::optional<UploadChecksum>> UploadChecksum::parse(const Headers& headers) {
  const auto header = headers.find("Upload-Checksum");
  if (!header) return std::optional<UploadChecksum>();
  const std::string_view text = trim(*header);
  const std::size_t blank = text.find(' ');
  const EVP_MD* algorithm = algorithm_of(text.substr(0, blank));
  if (algorithm == nullptr || headers.count("Upload-Checksum") != 1)
    return fail(Errc::kInvalidArgument, "Upload-Checksum must be one of " +
                                            std::string(kAlgorithms) +
                                            ", a blank and the checksum in base64");
  const auto expected =
      from_base64(blank == std::string_view::npos ? std::string_view() : trim(text.substr(blank)));
  const auto size = static_cast<std::size_t>(EVP_MD_get_size(algorithm));
  if (!expected.has_value() || expected->size() != size)
    return fail(Errc::kInvalidArgument,
                "Upload-Checksum: a checksum of this algorithm is the base64 of " +
                    std::to_string(size) + " bytes");
  UploadChecksum checksum;
  checksum.context_.reset(EVP_MD_CTX_new());
  MH_CHECK(checksum.context_ != nullptr);
  MH_CHECK(EVP_DigestInit_ex(as_context(checksum.context_.get()), algorithm, nullptr) == 1);
  checksum.expected_ = as_text(*expected);
  return std::optional<UploadChecksum>(std::move(checksum));
}

void UploadChecksum::update(std::span<const std::byte> bytes) {
  MH_CHECK(EVP_DigestUpdate(as_context(context_.get()), bytes.data(), bytes.size()) == 1);
}

bool UploadChecksum::is_right() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> actual{};
  unsigned int size = 0;
  MH_CHECK(EVP_DigestFinal_ex(as_context(context_.get()), actual.data(), &size) == 1);
  return expected_ == std::string_view(reinterpret_cast<const char*>(actual.data()), size);
}

}  // namespace mh::net
