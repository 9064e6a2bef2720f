// See http_range.h.
#include "proto/net/http_range.h"

#include <algorithm>
#include <optional>

namespace mh::net {
namespace {

struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  // begin == end: outside the blob
};

// One "bytes=…" range; nothing if it is to be ignored.
std::optional<Range> parse_range(std::string_view text, std::uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  if (text.size() <= kUnit.size() || !iequals(text.substr(0, kUnit.size()), kUnit))
    return std::nullopt;
  text = trim(text.substr(kUnit.size()));
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos || text.find(',') != std::string_view::npos)
    return std::nullopt;
  const std::string_view first_text = text.substr(0, dash);
  const std::string_view last_text = text.substr(dash + 1);
  const auto first = parse_decimal(first_text);
  const auto last = parse_decimal(last_text);
  if ((!first && !first_text.empty()) || (!last && !last_text.empty()) || (!first && !last))
    return std::nullopt;
  // "-500": the last 500 bytes.
  if (!first) return Range{size - std::min(*last, size), size};
  if (last && *last < *first) return std::nullopt;
  if (*first >= size) return Range{size, size};
  return Range{*first, last ? std::min(*last, size - 1) + 1 : size};
}

bool lists_tag(const Headers& request, std::string_view name, const std::string& etag) {
  for (const auto& [field, value] : request) {
    if (!iequals(field, name)) continue;
    for (std::string_view item : split_list(value)) {
      if (item.starts_with("W/")) item.remove_prefix(2);
      if (item == "*" || item == etag) return true;
    }
  }
  return false;
}

}  // namespace

BlobReply plan_blob_reply(const Headers& request, std::uint64_t blob_bytes,
                          const std::string& etag) {
  BlobReply reply;
  reply.end = blob_bytes;
  reply.head.headers.add("ETag", etag);
  reply.head.headers.add("Cache-Control", "public, max-age=31536000, immutable");
  reply.head.headers.add("Accept-Ranges", "bytes");
  if (lists_tag(request, "If-None-Match", etag)) {
    reply.head.status = 304;
    reply.end = 0;
    return reply;
  }
  reply.head.headers.add("X-Content-Type-Options", "nosniff");
  reply.head.headers.add("Content-Type", "application/octet-stream");
  const auto condition = request.find("If-Range");
  if (request.count("Range") != 1 || (condition && *condition != etag)) return reply;
  const auto range = parse_range(trim(*request.find("Range")), blob_bytes);
  if (!range) return reply;
  reply.begin = range->begin;
  reply.end = range->end;
  const std::string total = std::to_string(blob_bytes);
  if (range->begin == range->end) {
    reply.head.status = 416;
    reply.head.headers.add("Content-Range", "bytes */" + total);
    return reply;
  }
  reply.head.status = 206;
  reply.head.headers.add("Content-Range", "bytes " + std::to_string(range->begin) + "-" +
                                              std::to_string(range->end - 1) + "/" + total);
  return reply;
}

}  // namespace mh::net
