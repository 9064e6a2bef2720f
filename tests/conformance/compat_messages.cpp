// See compat_messages.h.
#include "tests/conformance/compat_messages.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

namespace mh::net {
namespace {

constexpr std::size_t kMessageBytesMax = 16 * 1024 * 1024;
constexpr const char* kTypePrefix = "type.googleapis.com/";

// How many bytes came before the end of the input.
std::size_t read_all(std::span<char> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t count = ::read(STDIN_FILENO, out.data() + done, out.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

}  // namespace

Result<bool> read_compat_message(Message& message) {
  std::array<char, 4> length;
  const std::size_t found = read_all(length);
  if (found == 0) return false;
  std::size_t size = 0;
  for (const char byte : length) size = size << 8 | static_cast<unsigned char>(byte);
  if (found < length.size() || size > kMessageBytesMax)
    return fail(Errc::kDataLoss, "stdin does not hold a message of the runner");
  std::string bytes(size, '\0');
  if (read_all(bytes) < size || !message.ParseFromString(bytes))
    return fail(Errc::kDataLoss, "a message of the runner is cut short or malformed");
  return true;
}

Status write_compat_message(const Message& message) {
  const std::string body = message.SerializeAsString();
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8)
    bytes += static_cast<char>(body.size() >> shift & 0xFF);
  bytes += body;
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t count = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      return fail(Errc::kInternal, std::string("cannot write to stdout: ") + std::strerror(errno));
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

HeaderList grouped(const Headers& headers) {
  HeaderList list;
  for (const auto& [name, value] : headers) {
    const auto known = std::find_if(
        list.begin(), list.end(),
        [&name = name](const conformance::Header& header) { return iequals(header.name(), name); });
    conformance::Header* header = known == list.end() ? list.Add() : &*known;
    header->set_name(name);
    header->add_value(value);
  }
  return list;
}

Headers flattened(const HeaderList& headers) {
  Headers list;
  for (const conformance::Header& header : headers) {
    for (const std::string& value : header.value()) list.add(header.name(), value);
  }
  return list;
}

ErrorDetail to_detail(const google::protobuf::Any& any) {
  ErrorDetail detail;
  detail.type = any.type_url().substr(any.type_url().rfind('/') + 1);
  detail.value = any.value();
  return detail;
}

google::protobuf::Any to_any(const ErrorDetail& detail) {
  google::protobuf::Any any;
  any.set_type_url(kTypePrefix + detail.type);
  any.set_value(detail.value);
  return any;
}

}  // namespace mh::net
