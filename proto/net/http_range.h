// What a GET or HEAD of an immutable blob is answered with: whole, one range, not modified, or
// nothing. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "proto/net/message.h"

namespace mh::net {

struct BlobReply {
  /// Status and headers; no body.
  HttpResponse head;
  /// The bytes to send: [begin, end).
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// `etag` is the quoted digest. Ranges of other units, several ranges and malformed ones are
/// ignored (the whole blob is sent), as RFC 9110 allows; a range outside the blob is a 416.
BlobReply plan_blob_reply(const Headers& request, std::uint64_t blob_bytes,
                          const std::string& etag);

}  // namespace mh::net
