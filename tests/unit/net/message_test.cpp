// Header lists, numbers, queries, addresses, gzip and back-off: the small parts.
#include "proto/net/message.h"

#include <gtest/gtest.h>

#include "proto/net/backoff.h"
#include "proto/net/gzip.h"
#include "proto/net/url.h"

namespace mh::net {
namespace {

TEST(Headers, CompareNamesWithoutCaseAndKeepOrder) {
  Headers headers = {{"Accept", "a"}, {"accept", "b"}, {"Host", "c"}};
  EXPECT_EQ(headers.find("ACCEPT"), "a");
  EXPECT_EQ(headers.count("accept"), 2U);
  headers.set("Accept", "d");
  EXPECT_EQ(headers.count("accept"), 1U);
  EXPECT_EQ(headers.size(), 2U);
  headers.remove("host");
  EXPECT_FALSE(headers.contains("Host"));
}

TEST(Message, ReadsNumbersStrictly) {
  EXPECT_EQ(parse_decimal("0"), 0U);
  EXPECT_EQ(parse_decimal("9999999999999999999"), 9'999'999'999'999'999'999U);
  for (const char* text : {"", "+1", "-1", "0x10", "1 ", "1,1", "10000000000000000000", "1e3"})
    EXPECT_FALSE(parse_decimal(text)) << text;
}

TEST(Message, SplitsListsAndLeavesOutEmptyItems) {
  const auto items = split_list(" gzip ,, br;q=0.5,\tidentity,");
  ASSERT_EQ(items.size(), 3U);
  EXPECT_EQ(items[0], "gzip");
  EXPECT_EQ(items[1], "br;q=0.5");
  EXPECT_EQ(items[2], "identity");
}

TEST(Message, KnowsHeaderNamesAndValues) {
  EXPECT_TRUE(is_header_name("X-Trace_1"));
  for (const char* name : {"", "a b", "a:", "ä", "a\n"}) EXPECT_FALSE(is_header_name(name));
  EXPECT_TRUE(is_header_value("any text"));
  EXPECT_FALSE(is_header_value("a\nb"));
  EXPECT_FALSE(is_header_value(std::string_view("a\0b", 3)));
}

TEST(Message, DecodesQueriesAndRefusesBrokenEscapes) {
  const auto query = parse_query("a=1&b=x%20y+z&&c&a=%C3%A9");
  ASSERT_TRUE(query.has_value());
  ASSERT_EQ(query->size(), 4U);
  EXPECT_EQ((*query)[1].second, "x y z");
  EXPECT_EQ((*query)[2].first, "c");
  EXPECT_EQ((*query)[3].second, "\xC3\xA9");
  for (const char* text : {"a=%", "a=%4", "a=%zz", "%=1"})
    EXPECT_FALSE(parse_query(text).has_value());
  std::string many;
  for (int i = 0; i < 65; ++i) many += "a&";
  EXPECT_FALSE(parse_query(many).has_value());
  EXPECT_EQ(percent_encode("a b/ü"), "a%20b%2F%C3%BC");
  EXPECT_EQ(*percent_decode("a%2Fb+c", false), "a/b+c");
}

TEST(Url, IsReadAndWritten) {
  const auto url = parse_url("http://Example.org:8470/base/#mhi_secret");
  ASSERT_TRUE(url.has_value());
  EXPECT_EQ(url->port, 8470);
  EXPECT_EQ(url->base_path, "/base");
  EXPECT_EQ(url->fragment, "mhi_secret");
  EXPECT_EQ(url->text(), "http://Example.org:8470/base");
  EXPECT_EQ(parse_url("http://[::1]:80")->authority(), "[::1]:80");
  EXPECT_EQ(parse_url("http://host")->port, 80);
  EXPECT_FALSE(parse_url("http://host")->is_tls);
  EXPECT_TRUE(parse_url("HTTPS://host")->is_tls);
  EXPECT_EQ(parse_url("https://host")->text(), "https://host:443");
}

TEST(Url, SaysWhatIsWrong) {
  for (const char* text :
       {"", "host:80", "httpss://host", "ftp://host", "http://", "http://host:0",
        "http://host:65536", "http://host:x", "http://user@host", "http://host?x", "http://ho st",
        "http://[::1", "http://host\r\nX: y", "http://ho$t"}) {
    const auto url = parse_url(text);
    ASSERT_FALSE(url.has_value()) << text;
    EXPECT_NE(url.error().message.find("https://example.org"), std::string::npos);
  }
}

TEST(Gzip, GivesBackWhatWasPackedAndNothingElse) {
  const std::string text(100'000, 'x');
  const std::string packed = gzip_compress(text);
  EXPECT_EQ(*gzip_inflate(packed, text.size()), text);
  EXPECT_EQ(gzip_inflate(packed, text.size() - 1).error().code, Errc::kResourceExhausted);
  EXPECT_EQ(gzip_inflate(packed + "x", 200'000).error().code, Errc::kInvalidArgument);
  EXPECT_EQ(gzip_inflate(packed.substr(0, packed.size() - 1), 200'000).error().code,
            Errc::kInvalidArgument);
  EXPECT_FALSE(gzip_inflate("no gzip", 100).has_value());
  EXPECT_EQ(*gzip_inflate(gzip_compress(""), 0), "");
}

TEST(Backoff, DoublesItsCeilingUpToTheLongest) {
  const BackoffOptions options;
  EXPECT_EQ(backoff_ceiling(options, 1), std::chrono::milliseconds(250));
  EXPECT_EQ(backoff_ceiling(options, 3), std::chrono::milliseconds(1000));
  EXPECT_EQ(backoff_ceiling(options, 60), std::chrono::seconds(60));
  Backoff backoff(1);
  for (int i = 0; i < 100; ++i) EXPECT_LE(backoff.next(), std::chrono::seconds(60));
  backoff.reset();
  EXPECT_LE(backoff.next(), std::chrono::milliseconds(250));
}

}  // namespace
}  // namespace mh::net
