// Ed25519 keys and signatures against the vectors of their standards.
#include "proto/base/signature.h"

#include <gtest/gtest.h>

namespace mh {
namespace {

std::string_view raw(const Signature& signature) {
  return {reinterpret_cast<const char*>(signature.data()), signature.size()};
}

std::string hex_of(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
    text.push_back(kHex[static_cast<unsigned char>(c) & 15]);
  }
  return text;
}

// RFC 8032, 7.1, test 1, as PKCS #8.
constexpr const char* kKeyOfTest1 =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    "-----END PRIVATE KEY-----\n";

TEST(SigningKey, SignsAsTheStandardSays) {
  const auto key = SigningKey::from_pem(kKeyOfTest1);
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(to_hex(key->public_key()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  EXPECT_EQ(
      hex_of(raw(key->sign(""))),
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701"
      "cf9b46bd25bf5f0595bbe24655141438e7a100b");
}

TEST(SigningKey, IsReadBackAndChecksItsSignaturesOnly) {
  const SigningKey key = SigningKey::make();
  const auto again = SigningKey::from_pem(key.pem());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->public_key(), key.public_key());
  const Signature signature = key.sign("text");
  EXPECT_EQ(again->sign("text"), signature);
  EXPECT_TRUE(is_signed_by(key.public_key(), "text", raw(signature)));
  EXPECT_FALSE(is_signed_by(key.public_key(), "texT", raw(signature)));
  EXPECT_FALSE(is_signed_by(SigningKey::make().public_key(), "text", raw(signature)));
  EXPECT_FALSE(is_signed_by(key.public_key(), "text", raw(signature).substr(1)));
  EXPECT_FALSE(is_signed_by(key.public_key(), "text", ""));
}

TEST(SigningKey, DerivesOtherSecretsForOtherPurposes) {
  const SigningKey key = SigningKey::make();
  EXPECT_EQ(key.derive("a"), key.derive("a"));
  EXPECT_NE(key.derive("a"), key.derive("b"));
}

TEST(SigningKey, RefusesWhatIsNoKey) {
  EXPECT_FALSE(SigningKey::from_pem(""));
  EXPECT_FALSE(
      SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"));
  EXPECT_FALSE(SigningKey::from_pem(std::string(100'000, 'A')));
}

TEST(PublicKey, IsReadFromHexAndPem) {
  const SigningKey key = SigningKey::make();
  const auto hex = parse_public_key(" " + to_hex(key.public_key()) + "\n");
  ASSERT_TRUE(hex);
  EXPECT_EQ(*hex, key.public_key());
  const auto pem = parse_public_key(
      "-----BEGIN PUBLIC KEY-----\n"
      "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
      "-----END PUBLIC KEY-----\n");
  ASSERT_TRUE(pem);
  EXPECT_EQ(to_hex(*pem), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  for (const char* bad : {"", "12", "-----BEGIN PUBLIC KEY-----", kKeyOfTest1})
    EXPECT_FALSE(parse_public_key(bad)) << bad;
}

// RFC 4231, test case 1 with its key of 20 bytes filled up: HMAC pads with zeros itself.
TEST(KeyedHash, IsHmac) {
  Digest key;
  for (std::size_t i = 0; i < 20; ++i) key.bytes[i] = 0x0b;
  EXPECT_EQ(keyed_hash(key, "Hi There").hex(),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

}  // namespace
}  // namespace mh
