// tus requests as texts, for tests that speak it over a plain socket.
#pragma once

#include <string>

#include "tests/unit/net_io/server_fixture.h"

namespace mh::net {

class UploadsTest : public ServerFixture {
 protected:
  static std::string request(const std::string& method, const std::string& path,
                             const std::string& fields, const std::string& body = "",
                             const std::string& owner = "ada") {
    return method + " " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + owner +
           "\r\nTus-Resumable: 1.0.0\r\n" + fields +
           (body.empty() ? "" : "Content-Length: " + std::to_string(body.size()) + "\r\n") +
           "\r\n" + body;
  }
  static std::string metadata_of(const Digest& digest) {
    return "Upload-Metadata: filename eA==,sha256 " + to_base64(as_bytes(digest.hex())) + "\r\n";
  }
  static std::string create_text(const std::string& content, bool with_body) {
    return request("POST", "/upload",
                   "Upload-Length: " + std::to_string(content.size()) + "\r\n" +
                       metadata_of(sha256(content)) + (with_body ? kType : ""),
                   with_body ? content : "");
  }
  static std::string patch_text(const std::string& path, std::uint64_t offset,
                                const std::string& body, const std::string& owner = "ada") {
    return request("PATCH", path, "Upload-Offset: " + std::to_string(offset) + "\r\n" + kType, body,
                   owner);
  }
  std::string ask(const std::string& text) {
    RawSocket socket(port_);
    socket.send(text);
    return socket.read_reply();
  }
  static std::string field(const std::string& reply, const std::string& name) {
    const std::size_t at = reply.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const std::size_t begin = at + name.size() + 4;
    return reply.substr(begin, reply.find("\r\n", begin) - begin);
  }
  std::string create(const std::string& content) {
    return field(ask(create_text(content, false)), "Location");
  }

  static inline const std::string kType = "Content-Type: application/offset+octet-stream\r\n";
};

}  // namespace mh::net
