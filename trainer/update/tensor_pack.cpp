// Writing, reading and screening packs; the format is described in tensor_pack.h.
#include "trainer/update/tensor_pack.h"

#include <cmath>
#include <cstring>
#include <string>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

namespace mh::update {
namespace {

constexpr std::string_view kMagic = "MHPACK1\n";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kDtypeF32 = 1;
constexpr std::size_t kCrcOffset = 88;

Error bad(const std::string& what) { return fail(Errc::kInvalidArgument, "tensor pack: " + what); }

std::string expected_text(std::uint64_t found, std::uint64_t expected) {
  return std::to_string(found) + ", expected " + std::to_string(expected);
}

bool is_within_limits(const PackHeader& header) {
  const bool many_slots = header.kind == PackKind::kOptimizerState;
  return (many_slots ? header.slots <= kPackSlotsMax : header.slots == 1) &&
         header.element_count <= kPackElementsMax;
}

/// Fields after the CRC has been found right; `payload_bytes` as stored.
Status check_fields(const PackHeader& header, std::uint32_t kind, std::uint64_t payload_bytes) {
  if (kind < 1 || kind > 3) return bad("kind is " + std::to_string(kind) + ", allowed are 1 to 3");
  if (header.element_count > kPackElementsMax) {
    return bad("element_count is " + std::to_string(header.element_count) + ", limit is " +
               std::to_string(kPackElementsMax));
  }
  if (!is_within_limits(header)) {
    return bad("slots is " + std::to_string(header.slots) + ", " +
               std::string(pack_kind_name(header.kind)) + " may have " +
               (header.kind == PackKind::kOptimizerState ? "up to " + std::to_string(kPackSlotsMax)
                                                         : std::string("only 1")));
  }
  if (payload_bytes != header.payload_bytes()) {
    return bad("payload_bytes is " + expected_text(payload_bytes, header.payload_bytes()));
  }
  return {};
}

std::size_t first_not_finite(std::span<const float> values) {
  std::size_t index = 0;
  while (index < values.size() && std::isfinite(values[index])) ++index;
  return index;
}

}  // namespace

std::string_view pack_kind_name(PackKind kind) {
  switch (kind) {
    case PackKind::kParameters:
      return "parameters";
    case PackKind::kGradientSum:
      return "gradient sum";
    case PackKind::kOptimizerState:
      return "optimizer state";
  }
  return "unknown";
}

std::span<const float> PackView::values() const {
  MH_CHECK(reinterpret_cast<std::uintptr_t>(payload.data()) % alignof(float) == 0);
  return {reinterpret_cast<const float*>(payload.data()), payload.size() / sizeof(float)};
}

std::span<const float> PackView::slot(std::uint32_t index) const {
  MH_CHECK(index < header.slots);
  return values().subspan(index * header.element_count, header.element_count);
}

std::uint64_t pack_size(PackKind kind, std::uint32_t slots, std::uint64_t element_count) {
  PackHeader header;
  header.kind = kind;
  header.slots = slots;
  header.element_count = element_count;
  MH_CHECK(is_within_limits(header));
  return kPackHeaderBytes + header.payload_bytes();
}

std::uint64_t update_size(std::uint64_t element_count) {
  return pack_size(PackKind::kGradientSum, 1, element_count);
}

void write_pack_header(const PackHeader& header, std::span<std::byte, kPackHeaderBytes> out) {
  MH_CHECK(is_within_limits(header));
  std::byte* at = out.data();
  std::memcpy(at, kMagic.data(), kMagic.size());
  store_le<std::uint32_t>(at + 8, kVersion);
  store_le<std::uint32_t>(at + 12, static_cast<std::uint32_t>(header.kind));
  store_le<std::uint32_t>(at + 16, kDtypeF32);
  store_le<std::uint32_t>(at + 20, header.slots);
  store_le<std::uint64_t>(at + 24, header.element_count);
  store_le<std::uint64_t>(at + 32, header.payload_bytes());
  store_le<std::uint64_t>(at + 40, header.step);
  store_le<std::uint64_t>(at + 48, header.sample_count);
  std::memcpy(at + 56, header.layout_digest.bytes.data(), header.layout_digest.bytes.size());
  store_le<std::uint32_t>(at + kCrcOffset, crc32(out.first(kCrcOffset)));
  store_le<std::uint32_t>(at + 92, 0);
}

std::vector<std::byte> make_pack(const PackHeader& header, std::span<const float> values) {
  MH_CHECK(values.size() == header.slots * header.element_count);
  std::vector<std::byte> bytes(kPackHeaderBytes + header.payload_bytes());
  write_pack_header(header, std::span(bytes).first<kPackHeaderBytes>());
  if (!values.empty())
    std::memcpy(bytes.data() + kPackHeaderBytes, values.data(), values.size_bytes());
  return bytes;
}

Result<PackView> view_pack(std::span<const std::byte> bytes) {
  if (bytes.size() < kPackHeaderBytes) {
    return bad("it has " + std::to_string(bytes.size()) + " bytes, the header alone has " +
               std::to_string(kPackHeaderBytes));
  }
  const std::byte* at = bytes.data();
  if (as_text(bytes.first(kMagic.size())) != kMagic) return bad("it does not begin with MHPACK1");
  if (const auto version = load_le<std::uint32_t>(at + 8); version != kVersion) {
    return bad("version is " + expected_text(version, kVersion));
  }
  if (load_le<std::uint32_t>(at + kCrcOffset) != crc32(bytes.first(kCrcOffset))) {
    return fail(Errc::kDataLoss, "tensor pack: the header's checksum is wrong");
  }
  if (const auto dtype = load_le<std::uint32_t>(at + 16); dtype != kDtypeF32) {
    return bad("dtype is " + std::to_string(dtype) + ", only 1 (f32) is known");
  }
  if (load_le<std::uint32_t>(at + 92) != 0) return bad("bytes 92 to 95 are not zero");
  const auto kind = load_le<std::uint32_t>(at + 12);
  PackView view;
  view.header.kind = static_cast<PackKind>(kind);
  view.header.slots = load_le<std::uint32_t>(at + 20);
  view.header.element_count = load_le<std::uint64_t>(at + 24);
  view.header.step = load_le<std::uint64_t>(at + 40);
  view.header.sample_count = load_le<std::uint64_t>(at + 48);
  std::memcpy(view.header.layout_digest.bytes.data(), at + 56,
              view.header.layout_digest.bytes.size());
  MH_TRY_VOID(check_fields(view.header, kind, load_le<std::uint64_t>(at + 32)));
  view.payload = bytes.subspan(kPackHeaderBytes);
  if (view.payload.size() != view.header.payload_bytes()) {
    return bad("length is " +
               expected_text(bytes.size(), kPackHeaderBytes + view.header.payload_bytes()));
  }
  return view;
}

Result<PackView> view_pack(std::span<const std::byte> bytes, PackKind kind,
                           const Digest& layout_digest, std::uint64_t element_count) {
  MH_TRY(PackView view, view_pack(bytes));
  if (view.header.kind != kind) {
    return bad("it holds a " + std::string(pack_kind_name(view.header.kind)) + ", " +
               std::string(pack_kind_name(kind)) + " expected");
  }
  if (view.header.element_count != element_count) {
    return bad("element_count is " + expected_text(view.header.element_count, element_count));
  }
  if (view.header.layout_digest != layout_digest) {
    return bad("layout is " + view.header.layout_digest.hex() + ", expected " +
               layout_digest.hex() + ": it belongs to another model");
  }
  return view;
}

Result<UpdateStats> screen_update(std::span<const std::byte> bytes,
                                  const UpdateExpectation& expected) {
  MH_TRY(const PackView view,
         view_pack(bytes, PackKind::kGradientSum, expected.layout_digest, expected.element_count));
  if (view.header.step != expected.step) {
    return bad("step is " + expected_text(view.header.step, expected.step));
  }
  if (view.header.sample_count != expected.sample_count) {
    return bad("sample_count is " + expected_text(view.header.sample_count, expected.sample_count));
  }
  const std::span<const float> values = view.values();
  UpdateStats stats;
  stats.norm = l2_norm(values);
  if (!std::isfinite(stats.norm)) {
    const std::size_t index = first_not_finite(values);
    return bad("element " + std::to_string(index) + " is " +
               (std::isnan(values[index]) ? "NaN" : "infinite") + ", all must be finite");
  }
  return stats;
}

double sum_of_squares(std::span<const float> values) {
  constexpr std::size_t kLanes = 8;
  double lanes[kLanes] = {};
  const float* __restrict at = values.data();
  const std::size_t whole = values.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double value = at[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (std::size_t i = whole; i < values.size(); ++i) {
    const double value = at[i];
    lanes[i - whole] += value * value;
  }
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

double l2_norm(std::span<const float> values) { return std::sqrt(sum_of_squares(values)); }

}  // namespace mh::update
