// See trainer_messages.h.
#include "client/daemon/trainer_messages.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "client/daemon/trainer_talk.h"
#include "proto/base/utf8.h"

namespace mh::client {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kTextBytesMax = 4096;

std::string frame(const Json& message) {
  const std::string body = message.dump(-1, ' ', false, Json::error_handler_t::replace);
  const auto length = static_cast<std::uint32_t>(body.size());
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + body;
}

// Takes members out of a message and remembers the first thing wrong.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}

  std::uint64_t number(const char* key) {
    const auto found = json_.find(key);
    if (found != json_.end() && found->is_number_unsigned()) return found->get<std::uint64_t>();
    complain(key, "a whole number from 0");
    return 0;
  }
  double real(const char* key) {
    const auto found = json_.find(key);
    // JSON has no NaN: a loss that is not finite arrives as null.
    if (found != json_.end() && found->is_null()) return std::nan("");
    if (found != json_.end() && found->is_number()) return found->get<double>();
    complain(key, "a number");
    return 0;
  }
  std::string text(const char* key) {
    const auto found = json_.find(key);
    if (found != json_.end() && found->is_string()) {
      return plain_text(found->get_ref<const std::string&>(), kTextBytesMax);
    }
    complain(key, "a text");
    return {};
  }
  Status status() const {
    if (problem_.empty()) return {};
    return fail(Errc::kInvalidArgument, "the trainer sent a message whose " + problem_);
  }

 private:
  void complain(const char* key, const char* wanted) {
    if (problem_.empty()) problem_ = std::string("'") + key + "' is not " + wanted;
  }

  const Json& json_;
  std::string problem_;
};

}  // namespace

std::string compute_frame(const Assignment& assignment, const TrainerFolders& folders) {
  const bool is_gradient = assignment.kind == WorkKind::kGradient;
  Json message = {{"type", "compute"},
                  {"result_id", assignment.result.value()},
                  {"kind", is_gradient ? "gradient" : "evaluation"},
                  {"job_path", folders.blob(assignment.job_digest).string()},
                  {"job_digest", assignment.job_digest.hex()},
                  {"parameters_path", folders.blob(assignment.parameters_digest).string()},
                  {"parameters_digest", assignment.parameters_digest.hex()},
                  {"manifest_path", folders.blob(assignment.manifest_digest).string()},
                  {"manifest_digest", assignment.manifest_digest.hex()},
                  {"chunk_dir", folders.cache.string()},
                  {"step", assignment.step},
                  {"begin", assignment.begin},
                  {"end", assignment.end},
                  {"split", assignment.split}};
  if (is_gradient) message["update_path"] = folders.update(assignment.result).string();
  return frame(message);
}

std::string cancel_frame(ResultId result) {
  return frame({{"type", "cancel"}, {"result_id", result.value()}});
}

std::string exit_frame() { return frame({{"type", "exit"}}); }

Result<TrainerMessage> parse_trainer_message(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object())
    return fail(Errc::kInvalidArgument, "the trainer sent something that is no JSON object");
  Reader reader(json);
  const std::string type = reader.text("type");
  TrainerMessage message;
  if (type == "ready") {
    message = TrainerReady{.device = reader.text("device"),
                           .device_model = reader.text("device_model"),
                           .threads = static_cast<std::uint32_t>(
                               std::min<std::uint64_t>(reader.number("threads"), 4096)),
                           .note = reader.text("note")};
  } else if (type == "progress") {
    message = TrainerProgress{ResultId(reader.number("result_id")), reader.number("samples_done")};
  } else if (type == "done") {
    TrainerDone done{.result = ResultId(reader.number("result_id")),
                     .loss_sum = reader.real("loss_sum"),
                     .correct_count = reader.number("correct_count"),
                     .compute_ms = reader.number("compute_ms"),
                     .update_bytes = reader.number("update_bytes"),
                     .update_digest = {}};
    if (done.update_bytes > 0) {
      MH_TRY(done.update_digest, Digest::from_hex(reader.text("update_digest")));
    }
    message = done;
  } else if (type == "failed") {
    message = TrainerFailure{ResultId(reader.number("result_id")), reader.text("error")};
  } else {
    return fail(Errc::kInvalidArgument,
                "the trainer sent a message of unknown type '" + plain_text(type, 40) + "'");
  }
  MH_TRY_VOID(reader.status());
  return message;
}

Result<std::optional<std::string>> FrameCutter::next() {
  std::uint32_t length = 0;
  if (buffer_.size() < sizeof length) return std::optional<std::string>();
  std::memcpy(&length, buffer_.data(), sizeof length);
  if (length > kFrameBytesMax)
    return fail(Errc::kInvalidArgument, "the trainer sent a frame of " + std::to_string(length) +
                                            " bytes, the limit is " +
                                            std::to_string(kFrameBytesMax));
  if (buffer_.size() - sizeof length < length) return std::optional<std::string>();
  std::string body = buffer_.substr(sizeof length, length);
  buffer_.erase(0, sizeof length + length);
  return std::optional<std::string>(std::move(body));
}

}  // namespace mh::client
