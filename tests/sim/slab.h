// Things named by 64-bit handles that events can carry: place and generation, so that the handle of
// a thing that is gone finds nothing. No threads.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace mh::sim {

template <class T>
class Slab {
 public:
  std::uint64_t add(T value) {
    std::uint32_t place = 0;
    if (free_.empty()) {
      place = static_cast<std::uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      place = free_.back();
      free_.pop_back();
    }
    slots_[place].value.emplace(std::move(value));
    return (std::uint64_t{slots_[place].generation} << 32) | place;
  }

  // Null when it is gone. Valid until the next add().
  T* find(std::uint64_t handle) {
    const auto place = static_cast<std::uint32_t>(handle);
    if (place >= slots_.size()) return nullptr;
    Slot& slot = slots_[place];
    if (slot.generation != handle >> 32 || !slot.value) return nullptr;
    return &*slot.value;
  }

  // Handles of everything that is there.
  std::vector<std::uint64_t> handles() const {
    std::vector<std::uint64_t> found;
    for (std::size_t place = 0; place < slots_.size(); ++place) {
      if (slots_[place].value) {
        found.push_back((std::uint64_t{slots_[place].generation} << 32) | place);
      }
    }
    return found;
  }

  // Takes it out; nothing when it is gone.
  std::optional<T> take(std::uint64_t handle) {
    T* found = find(handle);
    if (found == nullptr) return std::nullopt;
    std::optional<T> taken(std::move(*found));
    const auto place = static_cast<std::uint32_t>(handle);
    slots_[place].value.reset();
    ++slots_[place].generation;
    free_.push_back(place);
    return taken;
  }

 private:
  struct Slot {
    std::uint32_t generation = 1;
    std::optional<T> value;
  };
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
};

}  // namespace mh::sim
