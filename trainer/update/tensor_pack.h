// The tensor pack: how parameters, gradient sums and optimizer states lie on disk and on the wire.
//
//   offset size  field           all numbers little-endian
//        0    8  magic           "MHPACK1\n"
//        8    4  version         1
//       12    4  kind            1 parameters, 2 gradient sum, 3 optimizer state
//       16    4  dtype           1 = f32
//       20    4  slots           vectors in the payload: any number for an optimizer state, else 1
//       24    8  element_count   numbers in each vector
//       32    8  payload_bytes   slots × element_count × 4
//       40    8  step            parameters and optimizer state: steps done; gradient: steps done
//                                in the parameters that it was computed from
//       48    8  sample_count    gradient: samples summed; else 0
//       56   32  layout_digest   model::ModelPlan::layout_digest: what each element means
//       88    4  crc32           of bytes 0 to 87 (zlib's)
//       92    4  zero
//       96       payload         the vectors, one after another
//
// A pack is exactly 96 + payload_bytes long. It is named by the SHA-256 of all its bytes, which is
// what guards the payload; the CRC tells a damaged header from a wrong one. Numbers are never
// reused. Pure functions; no threads, no torch. Readers take hostile bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/sha256.h"

namespace mh::update {

inline constexpr std::size_t kPackHeaderBytes = 96;
/// Most vectors in a pack, and most elements of one (model::kParameterCountMax).
inline constexpr std::uint32_t kPackSlotsMax = 8;
inline constexpr std::uint64_t kPackElementsMax = std::uint64_t{1} << 30;

/// The values are persistent.
enum class PackKind : std::uint32_t { kParameters = 1, kGradientSum = 2, kOptimizerState = 3 };

/// "parameters", "gradient sum", "optimizer state".
std::string_view pack_kind_name(PackKind kind);

/// What a pack says of itself.
struct PackHeader {
  PackKind kind = PackKind::kParameters;
  /// 0 only for the state of an optimizer that has none.
  std::uint32_t slots = 1;
  std::uint64_t element_count = 0;
  std::uint64_t step = 0;
  std::uint64_t sample_count = 0;
  Digest layout_digest;

  std::uint64_t payload_bytes() const { return slots * element_count * 4; }
  bool operator==(const PackHeader&) const = default;
};

/// A pack in memory; `payload` points into the viewed bytes.
struct PackView {
  PackHeader header;
  std::span<const std::byte> payload;

  /// All vectors, slot after slot. Requires: the viewed bytes begin at a multiple of 4 (a memory
  /// map and a std::vector do).
  std::span<const float> values() const;
  /// One vector. Requires: slot < header.slots, and as values().
  std::span<const float> slot(std::uint32_t index) const;
};

/// Bytes of a whole pack. Requires: values within the limits above.
std::uint64_t pack_size(PackKind kind, std::uint32_t slots, std::uint64_t element_count);
/// Bytes of an update: pack_size(kGradientSum, 1, element_count).
std::uint64_t update_size(std::uint64_t element_count);

/// Writes the first 96 bytes, for callers that stream the payload. Requires: a header within
/// limits.
void write_pack_header(const PackHeader& header, std::span<std::byte, kPackHeaderBytes> out);

/// A whole pack. Requires: values.size() == header.slots × header.element_count.
std::vector<std::byte> make_pack(const PackHeader& header, std::span<const float> values);

/// Takes a pack apart; checks every field and the exact length; does not look at the payload.
/// Errors: kInvalidArgument with field, value and limit; kDataLoss when the header's CRC is wrong.
Result<PackView> view_pack(std::span<const std::byte> bytes);

/// The same, and the pack must be of this kind, layout and size.
/// Errors: as view_pack(); kInvalidArgument "is a gradient sum, parameters are expected".
Result<PackView> view_pack(std::span<const std::byte> bytes, PackKind kind,
                           const Digest& layout_digest, std::uint64_t element_count);

/// What an update must be.
struct UpdateExpectation {
  Digest layout_digest;
  std::uint64_t element_count = 0;
  std::uint64_t step = 0;
  std::uint64_t sample_count = 0;
};

struct UpdateStats {
  /// L2 norm of the gradient sum.
  double norm = 0;
};

/// The first rung of validation: kind, layout, size, step, sample count, and all values finite.
/// One pass over the payload. Errors: kInvalidArgument or kDataLoss, naming what is wrong, the
/// value and what was expected (for a value that is not finite, its index).
Result<UpdateStats> screen_update(std::span<const std::byte> bytes,
                                  const UpdateExpectation& expected);

/// Sum of squares in double, eight lanes in a fixed order: the same bits on every machine. Not
/// finite exactly when a value is not finite.
double sum_of_squares(std::span<const float> values);
/// Square root of it.
double l2_norm(std::span<const float> values);

}  // namespace mh::update
