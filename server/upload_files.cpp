// See upload_files.h.
#include "server/upload_files.h"

#include <sstream>
#include <string_view>

#include "proto/base/file.h"

namespace mh::server {
namespace {

constexpr std::string_view kMagic = "manyhands-upload 1";
// The last line: a file that was cut anywhere lacks it.
constexpr std::string_view kEnd = "end";
constexpr std::uint64_t kBytesMax = 64 * 1024;

}  // namespace

std::string upload_info_text(const UploadInfo& info) {
  std::ostringstream text;
  text << kMagic << '\n'
       << info.owner << '\n'
       << info.length << '\n'
       << info.digest.hex() << '\n'
       << to_unix_ms(info.expires) << '\n'
       << kEnd << '\n';
  return std::move(text).str();
}

Result<UploadInfo> read_upload_info(const std::filesystem::path& file) {
  MH_TRY(std::string content, read_file(file, kBytesMax));
  std::istringstream input(std::move(content));
  UploadInfo info;
  std::string magic;
  std::string hex;
  std::string end;
  std::int64_t expires_ms = 0;
  std::getline(input, magic);
  std::getline(input, info.owner);
  input >> info.length >> hex >> expires_ms >> end;
  if (!input || magic != kMagic || end != kEnd || info.length == 0) {
    return fail(Errc::kDataLoss, file.string() + " is cut or of another version");
  }
  MH_TRY(info.digest, Digest::from_hex(hex));
  info.expires = from_unix_ms(expires_ms);
  return info;
}

}  // namespace mh::server
