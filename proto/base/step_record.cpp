// Step records to and from JSON; see step_record.h. Written by hand rather than by a JSON library,
// because these bytes are hashed: the order of the keys and the digits of a number are ours.
#include "proto/base/step_record.h"

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "proto/base/signature.h"
#include "proto/base/strict_json.h"

namespace mh {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "manyhands-record/1";
constexpr int kRecordDepthMax = 4;
constexpr std::array<std::pair<RecordKind, std::string_view>, 3> kKinds = {
    {{RecordKind::kStep, "step"},
     {RecordKind::kRewind, "rewind"},
     {RecordKind::kReapply, "reapply"}}};
constexpr std::size_t kPseudonymDigits = 16;
// Numbers beyond it are not kept exactly by every JSON reader.
constexpr std::uint64_t kNumberMax = std::uint64_t{1} << 53;

std::string text_json(std::string_view text) {
  return Json(text).dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

// The shortest that reads back as the same; adding 0 makes a negative zero look like zero.
std::string number_json(double value) {
  if (!std::isfinite(value)) return "null";
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value + 0.0).ptr;
  return {text.data(), end};
}

std::string digest_json(const Digest& digest) {
  return digest.is_zero() ? "\"\"" : "\"" + digest.hex() + "\"";
}

// Takes values out of an object by key and keeps the first error; after one, answers are empty.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {
    if (!object.is_object()) complain("the record", "is no object");
  }

  std::uint64_t number(const char* key, std::uint64_t most = kNumberMax) {
    const Json* value = find(key);
    if (value == nullptr) return 0;
    const bool fits = value->is_number_unsigned() && value->get<std::uint64_t>() <= most;
    if (!fits) complain(key, "is no whole number from 0 to " + std::to_string(most));
    return fits ? value->get<std::uint64_t>() : 0;
  }
  double real(const char* key) {
    const Json* value = find(key);
    if (value == nullptr) return 0;
    if (!value->is_number()) complain(key, "is no number");
    return value->is_number() ? value->get<double>() : 0;
  }
  std::string text(const char* key, std::size_t bytes_max) {
    const Json* value = find(key);
    if (value == nullptr) return {};
    if (!value->is_string() || value->get_ref<const std::string&>().size() > bytes_max) {
      complain(key, "is no text of at most " + std::to_string(bytes_max) + " bytes");
      return {};
    }
    return value->get<std::string>();
  }
  Digest digest(const char* key, bool may_be_none) {
    const std::string hex = text(key, 64);
    if (hex.empty() && may_be_none) return {};
    const auto digest = Digest::from_hex(hex);
    if (!digest) complain(key, "is no SHA-256 in hex");
    return digest ? *digest : Digest{};
  }
  const Json* list(const char* key, std::size_t count_max) {
    const Json* value = find(key);
    if (value == nullptr) return nullptr;
    if (value->is_array() && value->size() <= count_max) return value;
    complain(key, "is no list of at most " + std::to_string(count_max));
    return nullptr;
  }
  void complain(const std::string& key, const std::string& what) {
    if (error_.empty()) error_ = key + " " + what;
  }
  const std::string& error() const { return error_; }

 private:
  const Json* find(const char* key) {
    if (!error_.empty()) return nullptr;
    const auto found = object_.find(key);
    if (found != object_.end()) return &*found;
    complain(key, "is missing");
    return nullptr;
  }

  const Json& object_;
  std::string error_;
};

bool is_pseudonym(std::string_view text) {
  return text.size() == kPseudonymDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void read_updates(Reader& reader, StepRecord& record) {
  const Json* list = reader.list("updates", kRecordUpdatesMax);
  if (list == nullptr) return;
  std::uint64_t samples = 0;
  record.updates.reserve(list->size());
  for (const Json& item : *list) {
    const std::string which = "updates[" + std::to_string(record.updates.size()) + "]";
    if (!item.is_object()) return reader.complain(which, "is no object");
    Reader fields(item);
    RecordedUpdate update;
    update.begin = fields.number("begin");
    update.end = fields.number("end");
    update.digest = fields.digest("update", false);
    update.host = fields.text("host", kPseudonymDigits);
    if (!fields.error().empty()) return reader.complain(which + ":", fields.error());
    const bool is_in_order = record.updates.empty() || update.begin >= record.updates.back().end;
    if (update.begin >= update.end || !is_in_order)
      return reader.complain(which, "has an empty range, or one before its predecessor's end");
    if (!is_pseudonym(update.host)) return reader.complain(which, "has no pseudonym of a host");
    samples += update.end - update.begin;
    record.updates.push_back(std::move(update));
  }
  if (samples != record.sample_count)
    reader.complain("samples", "is " + std::to_string(record.sample_count) + ", the updates have " +
                                   std::to_string(samples));
}

RecordKind read_kind(Reader& reader) {
  const std::string name = reader.text("kind", 16);
  for (const auto& [kind, known] : kKinds) {
    if (known == name) return kind;
  }
  reader.complain("kind", "is none of step, rewind, reapply");
  return RecordKind::kStep;
}

Error damaged(std::string what) { return fail(Errc::kDataLoss, std::move(what)); }

}  // namespace

std::string_view record_kind_name(RecordKind kind) {
  for (const auto& [known, name] : kKinds) {
    if (known == kind) return name;
  }
  return "?";
}

std::string to_json(const StepRecord& record) {
  std::string json = "{\"format\":\"" + std::string(kFormat) + "\"";
  const auto add = [&json](const char* key, const std::string& value) {
    json += std::string(",\"") + key + "\":" + value;
  };
  json.reserve(1'024 + 150 * record.updates.size());
  add("job", to_string(record.job));
  add("job_digest", digest_json(record.job_digest));
  add("sequence", std::to_string(record.sequence));
  add("previous", digest_json(record.previous));
  add("kind", "\"" + std::string(record_kind_name(record.kind)) + "\"");
  add("step", std::to_string(record.step));
  add("parameters_before", digest_json(record.parameters_before));
  add("parameters_after", digest_json(record.parameters_after));
  add("optimizer_before", digest_json(record.optimizer_before));
  add("optimizer_after", digest_json(record.optimizer_after));
  add("rule", text_json(record.rule));
  add("samples", std::to_string(record.sample_count));
  add("loss", number_json(record.loss));
  add("accuracy", number_json(record.accuracy));
  add("gradient_norm", number_json(record.gradient_norm));
  add("learning_rate", number_json(record.learning_rate));
  add("time_ms", std::to_string(record.time_ms));
  if (!record.reason.empty()) add("reason", text_json(record.reason));
  json += ",\"updates\":[";
  for (const RecordedUpdate& update : record.updates) {
    if (json.back() != '[') json += ',';
    json += "{\"begin\":" + std::to_string(update.begin) +
            ",\"end\":" + std::to_string(update.end) + ",\"update\":\"" + update.digest.hex() +
            "\",\"host\":\"" + update.host + "\"}";
  }
  return json + "]}";
}

Result<StepRecord> parse_step_record(std::string_view text) {
  Json json;
  MH_TRY_VOID(parse_strict_json(text, kRecordBytesMax, kRecordDepthMax, json));
  Reader reader(json);
  if (reader.text("format", 64) != kFormat)
    reader.complain("format", "is not " + std::string(kFormat));
  StepRecord record;
  record.job = JobId(reader.number("job"));
  record.job_digest = reader.digest("job_digest", false);
  record.sequence = reader.number("sequence");
  record.previous = reader.digest("previous", true);
  record.kind = read_kind(reader);
  record.step = reader.number("step");
  record.parameters_before = reader.digest("parameters_before", false);
  record.parameters_after = reader.digest("parameters_after", false);
  record.optimizer_before = reader.digest("optimizer_before", true);
  record.optimizer_after = reader.digest("optimizer_after", true);
  record.rule = reader.text("rule", kRecordTextBytesMax);
  record.sample_count = reader.number("samples");
  record.loss = reader.real("loss");
  record.accuracy = reader.real("accuracy");
  record.gradient_norm = reader.real("gradient_norm");
  record.learning_rate = reader.real("learning_rate");
  record.time_ms = static_cast<std::int64_t>(reader.number("time_ms"));
  if (record.kind == RecordKind::kRewind)
    record.reason = reader.text("reason", kRecordTextBytesMax);
  read_updates(reader, record);
  if (!reader.error().empty()) return fail(Errc::kInvalidArgument, reader.error());
  if (to_json(record) != text)
    return fail(Errc::kInvalidArgument, "is not written as it should be (order of keys, digits)");
  return record;
}

std::string signed_text(const Digest& record) { return std::string(kFormat) + " " + record.hex(); }

std::string host_pseudonym(const Digest& secret, JobId job, HostId host) {
  return keyed_hash(secret, "host " + to_string(host) + " of job " + to_string(job))
      .hex()
      .substr(0, kPseudonymDigits);
}

Result<StepRecord> RecordChain::add(std::string_view json) {
  auto record = parse_step_record(json);
  if (!record) return damaged(record.error().message);
  std::string wrong = complaint(*record);
  if (wrong.empty()) wrong = misplaced(*record);
  if (!wrong.empty()) return damaged(std::move(wrong));
  take(*record);
  head_ = sha256(json);
  return record;
}

std::string RecordChain::complaint(const StepRecord& record) const {
  if (record.sequence != count_)
    return "its sequence number is " + std::to_string(record.sequence) + ", expected " +
           std::to_string(count_);
  if (record.previous != head_)
    return "it follows a record " + record.previous.hex() + ", the one before it is " + head_.hex();
  if (count_ == 0) return record.kind == RecordKind::kStep ? "" : "the first record is no step";
  if (record.job != job_) return "it is of job " + to_string(record.job);
  if (record.job_digest != job_digest_)
    return "its job_digest is " + record.job_digest.hex() + ", it was " + job_digest_.hex();
  return {};
}

std::string RecordChain::misplaced(const StepRecord& record) const {
  if (count_ == 0) return {};
  const Digest* parameters = &parameters_;
  const Digest* optimizer = &optimizer_;
  if (record.kind == RecordKind::kRewind) {
    if (!sequence_of(record.step))
      return "it takes step " + std::to_string(record.step) + " again, which is not among those " +
             "that count";
    const Line& line = line_[record.step - line_begin_];
    parameters = &line.parameters_before;
    optimizer = &line.optimizer_before;
  } else if (record.step != steps_done()) {
    return "it is of step " + std::to_string(record.step) + ", expected " +
           std::to_string(steps_done());
  }
  if (record.parameters_before != *parameters)
    return "it starts from parameters " + record.parameters_before.hex() +
           ", the step before it made " + parameters->hex();
  if (record.optimizer_before != *optimizer)
    return "it starts from optimizer state " + record.optimizer_before.hex() +
           ", the step before it made " + optimizer->hex();
  return {};
}

void RecordChain::take(const StepRecord& record) {
  if (count_ == 0) {
    first_step_ = line_begin_ = record.step;
    job_ = record.job;
    job_digest_ = record.job_digest;
  }
  if (record.kind == RecordKind::kRewind) line_.resize(record.step - line_begin_);
  line_.push_back({record.sequence, record.parameters_before, record.optimizer_before});
  if (line_.size() > kRewindStepsMax) {
    line_.pop_front();
    ++line_begin_;
  }
  parameters_ = record.parameters_after;
  optimizer_ = record.optimizer_after;
  ++count_;
}

std::optional<std::uint64_t> RecordChain::sequence_of(std::uint64_t step) const {
  if (step < line_begin_ || step >= steps_done()) return std::nullopt;
  return line_[step - line_begin_].sequence;
}

}  // namespace mh
