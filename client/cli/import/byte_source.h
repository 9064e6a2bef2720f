// A file read from front to back, plain or gzip (told apart by its first bytes, not its name), in
// bounded memory.
// Flow: byte_source -> array_file -> import. Errors name the file and say what to do.
// Threads: one at a time; reads block on the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "proto/base/result.h"

namespace mh::cli {

class ByteSource {
 public:
  /// Errors: kNotFound, kInternal.
  static Result<ByteSource> open(const std::filesystem::path& path);
  ByteSource(ByteSource&&) noexcept;
  ByteSource& operator=(ByteSource&&) noexcept;
  ~ByteSource();

  /// Fills `out` as far as the file goes; the number of bytes, less than asked for only at the end.
  /// Errors: kInvalidArgument for gzip data that is damaged, cut short or followed by other bytes;
  /// kInternal for a failing disk.
  Result<std::size_t> read(std::span<std::byte> out);

  /// Size of a plain file; none for gzip.
  std::optional<std::uint64_t> plain_size() const;
  /// Bytes given out so far.
  std::uint64_t position() const;
  const std::filesystem::path& path() const;

 private:
  struct Impl;
  explicit ByteSource(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mh::cli
