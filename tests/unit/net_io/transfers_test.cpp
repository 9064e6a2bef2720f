// Downloads and uploads of the client: whole, after cuts, damaged, refused.
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "tests/unit/net_io/scripted_server.h"
#include "tests/unit/net_io/server_fixture.h"

namespace mh::net {
namespace {

namespace fs = std::filesystem;

class TransfersTest : public ServerFixture {
 protected:
  static Url url_of(std::uint16_t port) {
    return *parse_url("http://127.0.0.1:" + std::to_string(port));
  }
  static std::string pattern(std::size_t size) {
    std::string content(size, '\0');
    for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 31 + i / 997);
    return content;
  }
  static std::string read(const fs::path& path) {
    const auto content = read_file(path, 1ull << 30);
    return content.has_value() ? *content : "(missing)";
  }
  void write(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }
  fs::path target() const { return folder_ / "blob"; }
  fs::path part() const { return folder_ / "blob.part"; }
};

TEST_F(TransfersTest, ADownloadIsVerifiedAndAppearsWhole) {
  start();
  const std::string content = pattern(3'000'000);
  const Digest digest = blobs_->add(content);
  BlockingClient client(url());
  std::vector<std::uint64_t> steps;
  DownloadOptions options;
  options.durable = true;
  options.progress = [&steps](std::uint64_t done, std::uint64_t) { steps.push_back(done); };
  const auto report = client.download(digest, target(), options);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->bytes_moved, content.size());
  EXPECT_TRUE(read(target()) == content);
  EXPECT_FALSE(fs::exists(part()));
  EXPECT_EQ(steps.back(), content.size());
  const Digest empty = blobs_->add("");
  EXPECT_TRUE(client.download(empty, folder_ / "empty").has_value());
  EXPECT_EQ(read(folder_ / "empty"), "");
}

TEST_F(TransfersTest, ADownloadGoesOnAfterCuts) {
  start();
  const std::string content = pattern(3'000'000);
  const Digest digest = blobs_->add(content);
  CuttingRelay relay(port_, 800'000, 3);
  BlockingClient client(url_of(relay.port()));
  const auto report = client.download(digest, target());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(read(target()) == content);
  // Nothing was fetched twice.
  EXPECT_EQ(report->bytes_moved, content.size());
  EXPECT_EQ(relay.connection_count(), 4);
}

TEST_F(TransfersTest, ADownloadLeavesItsPartForTheNextTry) {
  start();
  const std::string content = pattern(2'000'000);
  const Digest digest = blobs_->add(content);
  {
    CuttingRelay relay(port_, 800'000, 100);
    HttpClientOptions options;
    options.resume_count_max = 0;
    BlockingClient client(url_of(relay.port()), options);
    EXPECT_EQ(client.download(digest, target()).error().code, Errc::kUnavailable);
  }
  EXPECT_FALSE(fs::exists(target()));
  const std::uint64_t kept = fs::file_size(part());
  EXPECT_GT(kept, 100'000U);
  BlockingClient client(url());
  const auto report = client.download(digest, target());
  EXPECT_EQ(report->bytes_moved, content.size() - kept);
  EXPECT_EQ(report->bytes_total, content.size());
  EXPECT_TRUE(read(target()) == content);
}

TEST_F(TransfersTest, ADamagedPartIsFetchedAnew) {
  start();
  const std::string content = pattern(10'000);
  const Digest digest = blobs_->add(content);
  BlockingClient client(url());
  for (const std::string& left :
       {std::string("rubbish"), std::string(20'000, 'x'), std::string(10'000, 'x')}) {
    write(part(), left);
    const auto report = client.download(digest, target());
    ASSERT_TRUE(report.has_value()) << report.error().message;
    EXPECT_TRUE(read(target()) == content);
    fs::remove(target());
  }
  // A part that is whole already moves nothing.
  write(part(), content);
  EXPECT_EQ(client.download(digest, target())->bytes_moved, 0U);
}

TEST_F(TransfersTest, ADownloadThatLiesIsDataLoss) {
  start();
  const std::string content = pattern(1000);
  const std::string reply = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + content;
  ScriptedServer server({{reply}});
  BlockingClient client(url_of(server.port()));
  EXPECT_EQ(client.download(sha256("other"), target()).error().code, Errc::kDataLoss);
  EXPECT_FALSE(fs::exists(target()));
  EXPECT_FALSE(fs::exists(part()));
  EXPECT_EQ(client.fetch(sha256("other"), 1000).error().code, Errc::kDataLoss);
}

TEST_F(TransfersTest, WrongBytesOfAProxyAreFetchedAnewPastItsCache) {
  const std::string content = pattern(1000);
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
  ScriptedServer server({{head + std::string(1000, 'x')}, {head + content}});
  BlockingClient client(url_of(server.port()));
  const auto report = client.download(sha256(content), target());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(read(target()) == content);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_EQ(requests[0].find("Cache-Control"), std::string::npos);
  EXPECT_NE(requests[1].find("Cache-Control: no-cache"), std::string::npos);
  EXPECT_EQ(requests[1].find("Range"), std::string::npos) << "nothing of it is kept";
}

TEST_F(TransfersTest, SmallBlobsAreFetchedAnewPastACache) {
  const std::string content = "0123456789";
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
  ScriptedServer server({{head + "9876543210"}, {head + content}});
  BlockingClient client(url_of(server.port()));
  const auto fetched = client.fetch(sha256(content), 100);
  ASSERT_TRUE(fetched.has_value()) << fetched.error().message;
  EXPECT_EQ(*fetched, content);
}

// A cut, then bytes of another server: the mixture is found out and fetched from the start.
TEST_F(TransfersTest, BytesOfTwoServersThatDoNotFitAreFetchedAnew) {
  const std::string content = pattern(1000);
  const std::string cut =
      "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + content.substr(0, 400);
  const std::string wrong_rest =
      "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 400-999/1000\r\n"
      "Content-Length: 600\r\n\r\n" +
      std::string(600, 'x');
  const std::string whole = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + content;
  ScriptedServer server({{cut}, {wrong_rest}, {whole}});
  BlockingClient client(url_of(server.port()));
  const auto report = client.download(sha256(content), target());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(read(target()) == content);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_NE(requests[1].find("Range: bytes=400-"), std::string::npos);
  EXPECT_NE(requests[1].find("If-Range: \"" + sha256(content).hex() + "\""), std::string::npos);
}

// Another blob under the same path (its tag differs): a server answers If-Range with all of it.
TEST_F(TransfersTest, AServerThatIgnoresTheRangeIsTakenFromTheStart) {
  const std::string content = pattern(1000);
  write(part(), std::string(300, 'y'));
  ScriptedServer server({{"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + content}});
  BlockingClient client(url_of(server.port()));
  const auto report = client.download(sha256(content), target());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(read(target()) == content);
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(TransfersTest, ADownloadGoesOnAfterARestartOfTheServer) {
  HttpServerOptions hasty;
  hasty.stop_timeout = 1ms;
  start(hasty);
  const std::string content = pattern(30'000'000);
  const Digest digest = blobs_->add(content);
  BlockingClient client(url());
  int restarts = 0;
  DownloadOptions options;
  options.progress = [&](std::uint64_t done, std::uint64_t) {
    if (restarts >= 3 || done < static_cast<std::uint64_t>(restarts + 1) * 5'000'000) return;
    ++restarts;
    stop();
    start(hasty, port_);
  };
  const auto report = client.download(digest, target(), options);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(restarts, 3);
  EXPECT_TRUE(read(target()) == content);
  EXPECT_EQ(report->bytes_moved, content.size()) << "nothing was fetched twice";
}

TEST_F(TransfersTest, AnUploadGoesOnAfterARestartOfTheServer) {
  HttpServerOptions hasty;
  hasty.stop_timeout = 1ms;
  start(hasty);
  const std::string content = pattern(30'000'000);
  write(folder_ / "file", content);
  BlockingClient client(url(), client_options());
  int restarts = 0;
  const auto progress = [&](std::uint64_t done, std::uint64_t) {
    if (restarts >= 3 || done < static_cast<std::uint64_t>(restarts + 1) * 8'000'000) return;
    ++restarts;
    stop();
    start(hasty, port_);
  };
  const auto report = client.upload(folder_ / "file", sha256(content), progress);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(restarts, 3);
  EXPECT_TRUE(blobs_->content(sha256(content)) == content);
  EXPECT_EQ(sink_->count(), 1U) << "one upload, gone on with";
}

TEST_F(TransfersTest, AskingForTheRestOfAnUploadThatAnEarlierRunBegan) {
  const std::string resumed =
      "HTTP/1.1 201 Created\r\nLocation: /upload/a\r\nUpload-Offset: 2\r\nContent-Length: "
      "0\r\n\r\n";
  const std::string taken = "HTTP/1.1 204 No Content\r\nUpload-Offset: 3\r\n\r\n";
  ScriptedServer server({{resumed, taken}});
  HttpClientOptions options;
  options.single_request_bytes_max = 0;
  BlockingClient client(url_of(server.port()), options);
  const auto report = client.upload_bytes("abc", sha256("abc"));
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->bytes_moved, 1U);
  EXPECT_NE(server.requests()[0].find(",resume MQ=="), std::string::npos);
  EXPECT_NE(server.requests()[1].find("Upload-Offset: 2\r\n"), std::string::npos);
}

TEST_F(TransfersTest, ADownloadIsBoundedBeforeAByteIsWritten) {
  start();
  const Digest digest = blobs_->add(pattern(10'000));
  BlockingClient client(url());
  DownloadOptions options;
  options.bytes_max = 9'999;
  EXPECT_EQ(client.download(digest, target(), options).error().code, Errc::kResourceExhausted);
  EXPECT_EQ(client.fetch(digest, 9'999).error().code, Errc::kResourceExhausted);
  EXPECT_EQ(client.fetch(digest, 10'000)->size(), 10'000U);
}

TEST_F(TransfersTest, ADownloadSaysWhatTheServerSaid) {
  start();
  BlockingClient client(url());
  const auto missing = client.download(sha256("missing"), target());
  EXPECT_EQ(missing.error().code, Errc::kNotFound);
  EXPECT_NE(missing.error().message.find("no blob"), std::string::npos);
  ScriptedServer page(
      {{"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx"}});
  BlockingClient lost(url_of(page.port()));
  EXPECT_EQ(lost.download(sha256("x"), target()).error().code, Errc::kUnknown);
  EXPECT_FALSE(fs::exists(target()));
  ScriptedServer moved(
      {{"HTTP/1.1 301 Moved\r\nLocation: http://b/\r\nContent-Length: 0\r\n\r\n"}});
  BlockingClient redirected(url_of(moved.port()));
  const auto redirect = redirected.fetch(sha256("x"), 10);
  EXPECT_NE(redirect.error().message.find("http://b/"), std::string::npos);
}

TEST_F(TransfersTest, AFolderThatIsNotThereIsNamed) {
  start();
  const Digest digest = blobs_->add(pattern(10'000));
  BlockingClient client(url());
  const auto nowhere = client.download(digest, folder_ / "no" / "such" / "folder");
  ASSERT_FALSE(nowhere.has_value());
  EXPECT_NE(nowhere.error().message.find("no/such"), std::string::npos);
}

TEST_F(TransfersTest, SmallUploadsAreOneRequest) {
  start();
  const std::string content = pattern(320'000);
  write(folder_ / "file", content);
  BlockingClient client(url(), client_options());
  const auto report = client.upload(folder_ / "file", sha256(content));
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->bytes_moved, content.size());
  EXPECT_EQ(server_->stats().requests, 1U);
  EXPECT_TRUE(blobs_->content(sha256(content)) == content);
  EXPECT_TRUE(client.upload_bytes("", sha256("")).has_value());
  EXPECT_TRUE(client.upload_bytes("abc", sha256("abc")).has_value());
}

TEST_F(TransfersTest, LargeUploadsGoOnAfterCuts) {
  start();
  const std::string content = pattern(3'000'000);
  write(folder_ / "file", content);
  CuttingRelay relay(port_, 800'000, 3);
  HttpClientOptions options = client_options();
  options.single_request_bytes_max = 100'000;
  BlockingClient client(url_of(relay.port()), options);
  std::uint64_t last = 0;
  const auto report = client.upload(folder_ / "file", sha256(content),
                                    [&last](std::uint64_t done, std::uint64_t) { last = done; });
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(blobs_->content(sha256(content)) == content);
  EXPECT_EQ(last, content.size());
  EXPECT_EQ(sink_->count(), 1U);
  // What had arrived before a cut was not sent again.
  EXPECT_EQ(report->bytes_moved, content.size());
  EXPECT_GE(relay.connection_count(), 4);
}

TEST_F(TransfersTest, SmallUploadsThatWereCutGoOnWhereTheyStood) {
  start();
  const std::string content = pattern(3'000'000);
  CuttingRelay relay(port_, 2'000'000, 1);
  BlockingClient client(url_of(relay.port()), client_options());
  const auto report = client.upload_bytes(content, sha256(content));
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(blobs_->content(sha256(content)) == content);
  EXPECT_EQ(sink_->count(), 1U);
  EXPECT_LT(report->bytes_moved, 2'000'000U) << "what had arrived was not sent again";
}

TEST_F(TransfersTest, AnUploadOfWhatIsThereMovesNothing) {
  start();
  const std::string content = pattern(500'000);
  blobs_->add(content);
  HttpClientOptions options = client_options();
  options.single_request_bytes_max = 100'000;
  BlockingClient client(url(), options);
  const auto report = client.upload_bytes(content, sha256(content));
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->bytes_moved, 0U);
  EXPECT_EQ(report->bytes_total, content.size());
}

TEST_F(TransfersTest, RefusedUploadsSayWhy) {
  start();
  BlockingClient anonymous(url(), HttpClientOptions());
  EXPECT_EQ(anonymous.upload_bytes("abc", sha256("abc")).error().code, Errc::kUnauthenticated);
  BlockingClient client(url(), client_options());
  const auto wrong = client.upload_bytes("abc", sha256("abd"));
  EXPECT_EQ(wrong.error().code, Errc::kDataLoss);
  const std::string full(666, 'f');
  const auto refused = client.upload_bytes(full, sha256(full));
  EXPECT_EQ(refused.error().code, Errc::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("the disk is full"), std::string::npos);
  EXPECT_FALSE(client.upload(folder_ / "missing", sha256("")).has_value());
  // A long body that is refused at once: the sentence arrives although the body is not read.
  const std::string large = pattern(8'000'000);
  const auto early = anonymous.upload_bytes(large, sha256(large));
  EXPECT_EQ(early.error().code, Errc::kUnauthenticated) << early.error().message;
}

TEST_F(TransfersTest, ARefusalInTheMiddleOfABodyEndsTheConnection) {
  start();
  // Two pieces, and a rest shorter than any request.
  const std::string content = pattern(2 * 65'536 + 100);
  write(folder_ / "file", content);
  BlockingClient anonymous(url(), HttpClientOptions());
  // Before each piece but the first: the answer is there before the body is.
  const auto slowly = [](std::uint64_t, std::uint64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  };
  for (int i = 0; i < 3; ++i) {
    const auto refused = anonymous.upload(folder_ / "file", sha256(content), slowly);
    // Not that the rest of one body is no head of a request.
    EXPECT_EQ(refused.error().code, Errc::kUnauthenticated) << refused.error().message;
  }
  EXPECT_EQ(server_->stats().requests, 3U);
}

TEST_F(TransfersTest, AServerThatTakesNoBytesIsGivenUp) {
  const std::string created =
      "HTTP/1.1 201 Created\r\nLocation: /upload/a\r\nUpload-Offset: 0\r\nContent-Length: "
      "0\r\n\r\n";
  const std::string taken = "HTTP/1.1 204 No Content\r\nUpload-Offset: 0\r\n\r\n";
  ScriptedServer server({{created, taken, taken, taken, taken, taken, taken, taken, taken}});
  HttpClientOptions options;
  options.single_request_bytes_max = 0;
  options.resume_count_max = 2;
  BlockingClient client(url_of(server.port()), options);
  EXPECT_EQ(client.upload_bytes("abc", sha256("abc")).error().code, Errc::kUnavailable);
  EXPECT_LE(server.requests().size(), 6U);
}

TEST_F(TransfersTest, AnUploadThatTheServerDroppedIsMadeAnew) {
  start();
  const std::string dropped = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
  const std::string created =
      "HTTP/1.1 201 Created\r\nLocation: http://proxy/upload/a\r\nUpload-Offset: 0\r\n"
      "Content-Length: 0\r\n\r\n";
  const std::string taken = "HTTP/1.1 204 No Content\r\nUpload-Offset: 3\r\n\r\n";
  ScriptedServer server({{created, dropped, created, taken}});
  HttpClientOptions options;
  options.single_request_bytes_max = 0;
  BlockingClient client(url_of(server.port()), options);
  const auto report = client.upload_bytes("abc", sha256("abc"));
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->bytes_moved, 3U);
  EXPECT_TRUE(server.requests()[3].starts_with("PATCH /upload/a HTTP/1.1\r\n"));
}

TEST_F(TransfersTest, AFileThatShrinksWhileItIsUploadedIsNamed) {
  start();
  write(folder_ / "file", pattern(1'000'000));
  HttpClientOptions options = client_options();
  BlockingClient client(url(), options);
  const auto shrink = [this](std::uint64_t, std::uint64_t) {
    fs::resize_file(folder_ / "file", 300'000);
  };
  const auto report = client.upload(folder_ / "file", sha256("x"), shrink);
  EXPECT_EQ(report.error().code, Errc::kDataLoss);
  EXPECT_NE(report.error().message.find("shorter"), std::string::npos);
}

}  // namespace
}  // namespace mh::net
