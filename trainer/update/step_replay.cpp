// See step_replay.h.
#include "trainer/update/step_replay.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "proto/base/check.h"
#include "trainer/update/aggregate.h"
#include "trainer/update/optimizer.h"

namespace mh::update {
namespace {

constexpr std::size_t kHeaderFloats = kPackHeaderBytes / sizeof(float);

std::span<float> values_of(std::vector<float>& pack) {
  return std::span(pack).subspan(kHeaderFloats);
}

void write_header(const PackHeader& header, std::vector<float>& pack) {
  write_pack_header(header, std::as_writable_bytes(std::span(pack)).first<kPackHeaderBytes>());
}

Status check_step(const PackView& pack, std::uint64_t step) {
  if (pack.header.step == step) return {};
  return fail(Errc::kInvalidArgument, "is of step " + std::to_string(pack.header.step) +
                                          ", expected " + std::to_string(step));
}

void copy_pack(std::span<const std::byte> pack, std::vector<float>& out) {
  out.resize(pack.size() / sizeof(float));
  std::memcpy(out.data(), pack.data(), pack.size());
}

}  // namespace

Status StepReplay::begin(std::uint64_t step, std::span<const std::byte> parameters,
                         std::span<const std::byte> optimizer) {
  MH_TRY(const PackView pack, view_pack(parameters));
  if (pack.header.kind != PackKind::kParameters)
    return fail(Errc::kInvalidArgument, "is no parameters");
  const bool is_known = layout_.element_count > 0;
  if (is_known && (pack.header.element_count != layout_.element_count ||
                   pack.header.layout_digest != layout_.layout_digest))
    return fail(Errc::kInvalidArgument, "has another layout than the parameters before");
  MH_TRY_VOID(check_step(pack, step));
  layout_ = pack.header;
  step_ = step;
  copy_pack(parameters, parameters_);
  MH_TRY_VOID(read_optimizer(optimizer));
  mean_.resize(layout_.element_count);
  is_first_ = true;
  sample_count_ = 0;
  return {};
}

Status StepReplay::read_optimizer(std::span<const std::byte> bytes) {
  const std::uint32_t slots = optimizer_slots(rule_.optimizer);
  if (bytes.empty()) {
    optimizer_.assign(slots == 0 ? 0 : kHeaderFloats + slots * layout_.element_count, 0);
    return {};
  }
  MH_TRY(const PackView pack,
         view_pack(bytes, PackKind::kOptimizerState, layout_.layout_digest, layout_.element_count));
  if (pack.header.slots != slots)
    return fail(Errc::kInvalidArgument, "has " + std::to_string(pack.header.slots) +
                                            " vectors of optimizer state, expected " +
                                            std::to_string(slots));
  MH_TRY_VOID(check_step(pack, step_));
  copy_pack(bytes, optimizer_);
  return {};
}

Result<std::span<const float>> StepReplay::read(std::span<const std::byte> update,
                                                std::uint64_t sample_count) const {
  MH_TRY(const PackView pack,
         view_pack(update, PackKind::kGradientSum, layout_.layout_digest, layout_.element_count));
  MH_TRY_VOID(check_step(pack, step_));
  if (pack.header.sample_count != sample_count)
    return fail(Errc::kInvalidArgument, "says that it is of " +
                                            std::to_string(pack.header.sample_count) +
                                            " samples, expected " + std::to_string(sample_count));
  return pack.values();
}

Status StepReplay::add(std::span<const std::byte> update, std::uint64_t sample_count) {
  MH_TRY(const std::span<const float> values, read(update, sample_count));
  const std::array shards{values};
  sum_.resize(layout_.element_count);
  MH_TRY_VOID(add_shards(sum_, shards, is_first_));
  is_first_ = false;
  sample_count_ += sample_count;
  return {};
}

Result<StepOutcome> StepReplay::finish() {
  if (is_first_) return fail(Errc::kInvalidArgument, "a step without updates");
  MH_TRY_VOID(mean_gradient(sum_, {}, sample_count_, mean_));
  return finish_with_gradient();
}

Result<StepOutcome> StepReplay::finish_with_gradient() {
  std::span<float> state;
  if (!optimizer_.empty()) state = values_of(optimizer_);
  MH_TRY(const StepOutcome outcome, take_step(rule_, step_, mean_, values_of(parameters_), state));
  PackHeader header = layout_;
  header.step = step_ + 1;
  write_header(header, parameters_);
  if (!optimizer_.empty()) {
    header.kind = PackKind::kOptimizerState;
    header.slots = optimizer_slots(rule_.optimizer);
    write_header(header, optimizer_);
  }
  return outcome;
}

}  // namespace mh::update
