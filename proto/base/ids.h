// Strong ids: HostId, JobId … hold a 64-bit number and do not convert into one another.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace mh {

template <class Tag>
class StrongId {
 public:
  constexpr StrongId() = default;
  constexpr explicit StrongId(std::uint64_t value) : value_(value) {}
  constexpr std::uint64_t value() const { return value_; }
  // 0 names nothing.
  constexpr bool is_valid() const { return value_ != 0; }
  friend constexpr auto operator<=>(StrongId, StrongId) = default;

 private:
  std::uint64_t value_ = 0;
};

template <class Tag>
std::string to_string(StrongId<Tag> id) {
  return std::to_string(id.value());
}

using HostId = StrongId<struct HostTag>;
using JobId = StrongId<struct JobTag>;
using DatasetId = StrongId<struct DatasetTag>;
using WorkunitId = StrongId<struct WorkunitTag>;
using ResultId = StrongId<struct ResultTag>;
using AccountId = StrongId<struct AccountTag>;

}  // namespace mh

template <class Tag>
struct std::hash<mh::StrongId<Tag>> {
  std::size_t operator()(mh::StrongId<Tag> id) const noexcept {
    return std::hash<std::uint64_t>()(id.value());
  }
};
