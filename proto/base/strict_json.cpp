// Parsing of hostile JSON; see strict_json.h.
#include "proto/base/strict_json.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "proto/base/utf8.h"

namespace mh {
namespace {

using Json = nlohmann::json;

/// Of a stranger's text in a message.
constexpr std::size_t kExcerptBytesMax = 200;

/// Deepest nesting, found without building anything.
int nesting_of(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

/// Remembers the keys of the objects that are open, and the first that is repeated.
class KeyWatch {
 public:
  bool operator()(int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open_.emplace_back();
    if (event == Json::parse_event_t::object_end) open_.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!open_.back().insert(key).second && repeated_.empty())
        repeated_ = "'" + plain_text(key, kExcerptBytesMax) + "'";
    }
    return true;
  }
  const std::string& repeated() const { return repeated_; }

 private:
  std::vector<std::set<std::string, std::less<>>> open_;
  std::string repeated_;
};

Error bad(const std::string& what) { return fail(Errc::kInvalidArgument, what); }

}  // namespace

Status parse_strict_json(std::string_view text, std::uint64_t bytes_max, int depth_max, Json& out) {
  if (text.size() > bytes_max) {
    return bad(std::to_string(text.size()) + " bytes of JSON, limit is " +
               std::to_string(bytes_max));
  }
  if (nesting_of(text) > depth_max) {
    return bad("JSON nested deeper than " + std::to_string(depth_max));
  }
  try {
    KeyWatch watch;
    out = Json::parse(text, std::ref(watch));
    if (!watch.repeated().empty()) return bad("key " + watch.repeated() + " stands twice");
    return {};
  } catch (const Json::parse_error& error) {
    return bad("not JSON: error near byte " + std::to_string(error.byte));
  } catch (const Json::exception& error) {
    return bad("not JSON: " + plain_text(error.what(), kExcerptBytesMax));
  }
}

}  // namespace mh
