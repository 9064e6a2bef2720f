// JSON of the trainer's messages; see serve_messages.h.
#include "trainer/engine/serve_messages.h"

#include <nlohmann/json.hpp>

#include "proto/base/utf8.h"

namespace mh::engine {
namespace {

using Json = nlohmann::json;

/// Longest error text that is sent.
constexpr std::size_t kErrorBytesMax = 2'000;

/// Reads members of one message; the first thing wrong is kept in error().
class Fields {
 public:
  explicit Fields(const Json& message) : message_(message) {}

  std::uint64_t number(const char* name) {
    const auto found = message_.find(name);
    if (found == message_.end() || !found->is_number_unsigned()) {
      complain(name, "a number of at least 0");
      return 0;
    }
    return found->get<std::uint64_t>();
  }

  std::string text(const char* name) {
    const auto found = message_.find(name);
    if (found == message_.end() || !found->is_string()) {
      complain(name, "a text");
      return {};
    }
    return found->get<std::string>();
  }

  std::string path(const char* name) {
    std::string value = text(name);
    if (value.empty() || value.find('\0') != std::string::npos) complain(name, "a path");
    return value;
  }

  Digest digest(const char* name) {
    Result<Digest> value = Digest::from_hex(text(name));
    if (!value) {
      complain(name, "64 hex digits");
      return {};
    }
    return *value;
  }

  const std::string& error() const { return error_; }

 private:
  void complain(const char* name, const char* wanted) {
    if (error_.empty()) error_ = std::string("member \"") + name + "\" must be " + wanted;
  }

  const Json& message_;
  std::string error_;
};

Request parse_compute(const Json& message, std::uint64_t result_id) {
  Fields fields(message);
  ComputeRequest request;
  request.result_id = result_id;
  const std::string kind = fields.text("kind");
  request.is_gradient = kind == "gradient";
  request.job_path = fields.path("job_path");
  request.job_digest = fields.digest("job_digest");
  request.parameters_path = fields.path("parameters_path");
  request.parameters_digest = fields.digest("parameters_digest");
  request.manifest_path = fields.path("manifest_path");
  request.manifest_digest = fields.digest("manifest_digest");
  request.chunk_dir = fields.path("chunk_dir");
  request.step = fields.number("step");
  request.begin = fields.number("begin");
  request.end = fields.number("end");
  request.split = fields.text("split");
  if (request.is_gradient) request.update_path = fields.path("update_path");
  if (!fields.error().empty()) return BadRequest{result_id, fields.error()};
  if (!request.is_gradient && kind != "evaluation") {
    return BadRequest{result_id, "kind \"" + kind + "\" is neither gradient nor evaluation"};
  }
  if (request.begin >= request.end) {
    return BadRequest{result_id, "begin " + std::to_string(request.begin) + " is not below end " +
                                     std::to_string(request.end)};
  }
  return request;
}

/// One line, with bytes that are no UTF-8 replaced.
std::string dump(const Json& message) {
  return message.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

Result<Request> parse_request(std::string_view body) {
  const Json message = Json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
  if (!message.is_object()) {
    return fail(Errc::kInvalidArgument,
                "a frame of " + std::to_string(body.size()) + " bytes holds no JSON object");
  }
  Fields fields(message);
  const std::string type = fields.text("type");
  if (type == "exit") return Request(ExitRequest{});
  if (type != "compute" && type != "cancel") {
    return fail(Errc::kInvalidArgument,
                "message type \"" + plain_text(type, 40) + "\" is none of compute, cancel, exit");
  }
  const std::uint64_t result_id = fields.number("result_id");
  if (!fields.error().empty()) return fail(Errc::kInvalidArgument, type + ": " + fields.error());
  if (type == "cancel") return Request(CancelRequest{result_id});
  return parse_compute(message, result_id);
}

std::string ready_message(const Device& device) {
  return dump({{"type", "ready"},
               {"device", device.name},
               {"device_model", device.model},
               {"threads", device.threads},
               {"note", device.note}});
}

std::string progress_message(std::uint64_t result_id, std::uint64_t samples_done,
                             std::uint64_t samples) {
  return dump({{"type", "progress"},
               {"result_id", result_id},
               {"samples_done", samples_done},
               {"samples", samples}});
}

std::string done_message(std::uint64_t result_id, const Computed& computed) {
  return dump({{"type", "done"},
               {"result_id", result_id},
               {"loss_sum", computed.sums.loss_sum},
               {"correct_count", computed.sums.correct_count},
               {"compute_ms", computed.compute_ms},
               {"update_bytes", computed.update_bytes},
               {"update_digest", computed.update_bytes > 0 ? computed.update_digest.hex() : ""}});
}

std::string failed_message(std::uint64_t result_id, std::string_view error) {
  return dump({{"type", "failed"},
               {"result_id", result_id},
               {"error", std::string(error.substr(0, kErrorBytesMax))}});
}

}  // namespace mh::engine
