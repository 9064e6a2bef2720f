// Certificates that the server makes itself, fingerprints, join links.
#include "proto/net/certificate.h"

#include <gtest/gtest.h>

#include "proto/net/server_link.h"

namespace mh::net {
namespace {

const TimePoint kNow = from_unix_ms(1'700'000'000'000);

std::string certificate_for(const std::string& key, const std::vector<std::string>& names) {
  return make_certificate(key, names, kNow, kNow + std::chrono::hours(24 * 9000)).value();
}

TEST(Certificate, SaysWhatItWasMadeOf) {
  const auto pem = certificate_for(make_tls_key(), {"train.example.org", "127.0.0.1", "::1"});
  const CertificateFacts facts = read_certificate(pem).value();
  EXPECT_EQ(facts.names, (std::vector<std::string>{"train.example.org", "127.0.0.1", "::1"}));
  EXPECT_EQ(facts.begin, kNow);
  // Beyond 2049, where certificates write dates in another way.
  EXPECT_EQ(facts.end, kNow + std::chrono::hours(24 * 9000));
  EXPECT_TRUE(facts.is_self_signed);
}

TEST(Certificate, TheFingerprintIsThatOfTheKey) {
  const std::string key = make_tls_key();
  const auto first = read_certificate(certificate_for(key, {"one.example"}))->fingerprint;
  EXPECT_EQ(read_certificate(certificate_for(key, {"two.example"}))->fingerprint, first);
  EXPECT_NE(read_certificate(certificate_for(make_tls_key(), {"one.example"}))->fingerprint, first);
  const std::string text = fingerprint_text(first);
  EXPECT_EQ(text.size(), 43U);
  EXPECT_EQ(parse_fingerprint(text).value(), first);
}

TEST(Certificate, RefusesNamesThatAreNone) {
  const std::string key = make_tls_key();
  for (const char* name : {"", "a,DNS:b", "a:b", "a b", "über", "a/b"})
    EXPECT_EQ(make_certificate(key, {name}, kNow, kNow).error().code, Errc::kInvalidArgument)
        << name;
  EXPECT_FALSE(make_certificate(key, {}, kNow, kNow));
  EXPECT_FALSE(make_certificate("no key", {"a"}, kNow, kNow));
  EXPECT_FALSE(read_certificate(key));
  EXPECT_FALSE(read_certificate(""));
}

TEST(Fingerprint, RefusesWhatWasMistyped) {
  const std::string text = fingerprint_text(sha256("key"));
  EXPECT_FALSE(parse_fingerprint(text.substr(1)));
  EXPECT_FALSE(parse_fingerprint(text + "="));
  EXPECT_FALSE(parse_fingerprint(""));
  // The last character has two bits that decode to nothing.
  std::string twin = text;
  twin.back() = static_cast<char>(twin.back() + 1);
  EXPECT_FALSE(parse_fingerprint(twin));
}

TEST(ServerLink, IsReadAsItIsWritten) {
  const Digest fingerprint = sha256("key");
  const std::string text = server_link("https://h.example:8470", "mhi_x", fingerprint);
  EXPECT_EQ(text, "https://h.example:8470/#mhi_x@" + fingerprint_text(fingerprint));
  const ServerLink link = parse_server_link(text).value();
  EXPECT_EQ(link.server.text(), "https://h.example:8470");
  EXPECT_EQ(link.server.fragment, "");
  EXPECT_EQ(link.invitation, "mhi_x");
  EXPECT_EQ(link.fingerprint, fingerprint);
  EXPECT_EQ(server_link("https://h", "", std::nullopt), "https://h");
  EXPECT_EQ(server_link("https://h", "mhi_x", std::nullopt), "https://h/#mhi_x");
  EXPECT_EQ(parse_server_link(server_link("https://h", "", fingerprint))->fingerprint, fingerprint);
  EXPECT_EQ(parse_server_link("https://h/#mhi_x")->fingerprint, std::nullopt);
  EXPECT_FALSE(parse_server_link("https://h/#mhi_x@"));
  EXPECT_FALSE(parse_server_link("http://127.0.0.1/#mhi_x@" + fingerprint_text(fingerprint)));
}

TEST(ServerLink, PlainHttpStaysOnThisMachine) {
  for (const char* url : {"http://127.0.0.1:1", "http://127.8.9.1", "http://localhost",
                          "http://[::1]", "http://LOCALHOST:7", "https://example.org"})
    EXPECT_TRUE(check_plain_http(*parse_url(url), false, "--flag")) << url;
  for (const char* url : {"http://127.0.0.1.example.org", "http://example.org", "http://[::2]",
                          "http://128.0.0.1", "http://localhost.example"}) {
    EXPECT_EQ(check_plain_http(*parse_url(url), false, "--flag").error().code,
              Errc::kInvalidArgument)
        << url;
    EXPECT_TRUE(check_plain_http(*parse_url(url), true, "--flag")) << url;
  }
}

}  // namespace
}  // namespace mh::net
