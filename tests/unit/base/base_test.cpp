// The vocabulary: results, ids, digests, bytes, files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "proto/base/ids.h"
#include "proto/base/random.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return fail(Errc::kInvalidArgument, std::to_string(number) + " is odd");
  return number / 2;
}

Result<int> quarter(int number) {
  MH_TRY(const int once, half(number));
  MH_TRY(const int twice, half(once));
  return twice;
}

TEST(Result, PassesErrorsUpUnchanged) {
  EXPECT_EQ(*quarter(12), 3);
  const auto failed = quarter(6);
  ASSERT_TRUE(failed.has_error());
  EXPECT_EQ(failed.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(failed.error().message, "3 is odd");
}

TEST(StrongId, OrdersAndPrintsAsItsNumber) {
  EXPECT_LT(HostId(2), HostId(10));
  EXPECT_EQ(to_string(JobId(7)), "7");
  EXPECT_FALSE(JobId().is_valid());
  static_assert(!std::is_convertible_v<HostId, JobId>);
}

// FIPS 180-2, appendix B.
TEST(Sha256, AgreesWithThePublishedVectors) {
  EXPECT_EQ(sha256("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, HashesAStreamLikeTheWhole) {
  Sha256 stream;
  stream.update("a");
  stream.update("bc");
  EXPECT_EQ(stream.finish(), sha256("abc"));
  EXPECT_EQ(stream.finish(), sha256(""));
}

TEST(Digest, AcceptsOnlyLowerCaseHexOfTheRightLength) {
  const Digest digest = sha256("abc");
  EXPECT_EQ(*Digest::from_hex(digest.hex()), digest);
  EXPECT_EQ(*Digest::from_bytes(digest.raw()), digest);
  EXPECT_FALSE(Digest::from_hex(std::string(64, 'A')));
  EXPECT_FALSE(Digest::from_hex(std::string(63, 'a')));
  EXPECT_FALSE(Digest::from_hex("../" + std::string(61, 'a')));
  EXPECT_FALSE(Digest::from_bytes("short"));
}

TEST(Base64, IsReadBackInEitherAlphabet) {
  for (const std::string text : {"", "a", "ab", "abc", "\xff\xfe\xfd\xfc"}) {
    EXPECT_EQ(as_text(*from_base64(to_base64(as_bytes(text)))), text);
    EXPECT_EQ(as_text(*from_base64(to_base64url(as_bytes(text)))), text);
  }
  EXPECT_EQ(to_base64(as_bytes("ab")), "YWI=");
  EXPECT_FALSE(from_base64("a"));
  EXPECT_FALSE(from_base64("ab*d"));
}

TEST(BytesReader, NeverReadsPastTheEnd) {
  BytesReader reader(as_bytes("\x01\x02\x03\x04\x05"));
  EXPECT_EQ(*reader.number<std::uint32_t>(), 0x04030201U);
  EXPECT_FALSE(reader.number<std::uint32_t>());
  EXPECT_EQ(reader.remaining(), 1U);
  EXPECT_FALSE(reader.take(UINT64_MAX));
}

TEST(Files, AppearWholeWithTheirModeAndAreReadWithALimit) {
  const auto folder = std::filesystem::temp_directory_path() / ("mh-file-" + random_token());
  std::filesystem::create_directory(folder);
  const auto path = folder / "secret";
  ASSERT_TRUE(write_file_atomically(path, "first", 0600));
  ASSERT_TRUE(write_file_atomically(path, "second", 0600));
  EXPECT_EQ(*read_file(path, 100), "second");
  EXPECT_EQ(read_file(path, 3).error().code, Errc::kResourceExhausted);
  EXPECT_EQ(read_file(folder / "none", 3).error().code, Errc::kNotFound);
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::filesystem::remove_all(folder);
}

TEST(Files, AFullDiskIsNamedAsSuch) {
  const UniqueFd full(::open("/dev/full", O_WRONLY));
  const Status written = write_all(full.get(), as_bytes("x"), "/dev/full");
  ASSERT_TRUE(written.has_error());
  EXPECT_EQ(written.error().code, Errc::kResourceExhausted);
  EXPECT_NE(written.error().message.find("disk full"), std::string::npos);
}

}  // namespace
}  // namespace mh
