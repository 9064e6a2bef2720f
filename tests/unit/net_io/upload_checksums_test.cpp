// The checksum extension of tus, uploads whose digest is not announced, and uploads that a second
// creation goes on with.
#include <openssl/sha.h>

#include "tests/unit/net_io/uploads_fixture.h"

namespace mh::net {
namespace {

class UploadChecksumsTest : public UploadsTest {
 protected:
  static std::string sha1_of(const std::string& text) {
    unsigned char digest[SHA_DIGEST_LENGTH];
    ::SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
    return "Upload-Checksum: sha1 " + to_base64(std::as_bytes(std::span(digest))) + "\r\n";
  }
  static std::string sha256_of(const std::string& text) {
    return "Upload-Checksum: sha256 " + to_base64(as_bytes(sha256(text).raw())) + "\r\n";
  }
  static std::string patch(const std::string& path, std::uint64_t offset, const std::string& body,
                           const std::string& fields) {
    return request("PATCH", path,
                   "Upload-Offset: " + std::to_string(offset) + "\r\n" + kType + fields, body);
  }
  std::string offset_of(const std::string& path) {
    return field(ask(request("HEAD", path, "Connection: close\r\n")), "Upload-Offset");
  }
};

TEST_F(UploadChecksumsTest, RightOnesOfBothKindsAreTaken) {
  start();
  const std::string content(700'000, 'k');
  const std::string path = create(content);
  const std::string first = content.substr(0, 300'000);
  EXPECT_EQ(status_of_reply(ask(patch(path, 0, first, sha1_of(first)))), 204);
  EXPECT_EQ(offset_of(path), "300000");
  const std::string second = content.substr(300'000);
  EXPECT_EQ(status_of_reply(ask(patch(path, 300'000, second, sha256_of(second)))), 204);
  EXPECT_TRUE(blobs_->contains(sha256(content)));
}

TEST_F(UploadChecksumsTest, AWrongOneIs460AndNothingOfThePieceIsKept) {
  start();
  const std::string content(700'000, 'w');
  const std::string path = create(content);
  ask(patch(path, 0, content.substr(0, 100'000), ""));
  RawSocket socket(port_);
  // Several pieces of the server's, of which the last tells.
  socket.send(patch(path, 100'000, content.substr(100'000, 500'000), sha1_of("other")));
  const std::string reply = socket.read_reply();
  EXPECT_EQ(status_of_reply(reply), 460);
  EXPECT_NE(reply.find("checksum"), std::string::npos);
  EXPECT_EQ(offset_of(path), "100000");
  // The connection goes on, and so does the upload.
  const std::string rest = content.substr(100'000);
  socket.send(patch(path, 100'000, rest, sha1_of(rest)));
  EXPECT_EQ(status_of_reply(socket.read_reply()), 204);
  EXPECT_TRUE(blobs_->contains(sha256(content)));
}

TEST_F(UploadChecksumsTest, AWrongOneOfTheLastPieceKeepsTheBlobFromAppearing) {
  start();
  const std::string content(10'000, 'l');
  const std::string path = create(content);
  EXPECT_EQ(status_of_reply(ask(patch(path, 0, content, sha256_of("other")))), 460);
  EXPECT_FALSE(blobs_->contains(sha256(content)));
  EXPECT_EQ(offset_of(path), "0");
  EXPECT_EQ(status_of_reply(ask(patch(path, 0, content, sha256_of(content)))), 204);
  EXPECT_TRUE(blobs_->contains(sha256(content)));
}

TEST_F(UploadChecksumsTest, AreCheckedInTheRequestThatCreates) {
  start();
  const std::string content(10'000, 'c');
  std::string text = create_text(content, true);
  const auto insert = [&](const std::string& fields) {
    std::string with = text;
    return with.insert(with.find("Content-Length"), fields);
  };
  const std::string refused = ask(insert(sha1_of("other")));
  EXPECT_EQ(status_of_reply(refused), 460);
  EXPECT_EQ(offset_of(field(refused, "Location")), "0");
  EXPECT_EQ(status_of_reply(ask(insert(sha1_of(content)))), 201);
  EXPECT_TRUE(blobs_->contains(sha256(content)));
}

TEST_F(UploadChecksumsTest, OfACutRequestNothingIsKept) {
  start();
  const std::string content(900'000, 'x');
  const std::string path = create(content);
  {
    RawSocket socket(port_);
    const std::string whole = patch(path, 0, content, sha1_of(content));
    socket.send(whole.substr(0, whole.size() - 100'000));
    ASSERT_TRUE(wait_until([this] { return sink_->offset_of("upload-1") > 0; }));
    socket.close();
  }
  EXPECT_TRUE(wait_until([this] { return sink_->offset_of("upload-1") == 0; }));
  EXPECT_EQ(offset_of(path), "0");
}

TEST_F(UploadChecksumsTest, ThatAreNoneAreRefused) {
  start();
  const std::string path = create("0123456789");
  for (const std::string value :
       {"md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1", "sha1 !!", "sha1 eA==", "", "sha256 eA=="}) {
    const std::string reply = ask(patch(path, 0, "0123", "Upload-Checksum: " + value + "\r\n"));
    EXPECT_EQ(status_of_reply(reply), 400) << value;
  }
  const std::string twice = sha1_of("0123") + sha1_of("0123");
  EXPECT_EQ(status_of_reply(ask(patch(path, 0, "0123", twice))), 400);
  EXPECT_EQ(offset_of(path), "0");
}

TEST_F(UploadChecksumsTest, ABlobThatIsNotAnnouncedGetsItsOwnName) {
  start();
  const std::string content = "bytes of a client that knows nothing of digests";
  for (const std::string metadata :
       {"", "Upload-Metadata: \r\n", "Upload-Metadata: name eA==\r\n"}) {
    const std::string made = ask(request(
        "POST", "/upload", "Upload-Length: " + std::to_string(content.size()) + "\r\n" + metadata));
    ASSERT_EQ(status_of_reply(made), 201) << made;
    const std::string reply = ask(patch_text(field(made, "Location"), 0, content));
    EXPECT_EQ(status_of_reply(reply), 204);
    EXPECT_EQ(field(reply, "Content-Location"), "/blob/sha256/" + sha256(content).hex());
    EXPECT_TRUE(blobs_->contains(sha256(content)));
  }
}

}  // namespace
}  // namespace mh::net
