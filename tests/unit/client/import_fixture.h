// Files and a folder for the tests of the import; included by import_test.cpp,
// import_refusals_test.cpp.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "client/cli/import/import.h"
#include "proto/base/bytes.h"

namespace mh::cli {

namespace fs = std::filesystem;

inline std::string big_endian(std::uint32_t number) {
  const std::uint32_t swapped = __builtin_bswap32(number);
  return {reinterpret_cast<const char*>(&swapped), 4};
}

/// An IDX file of `type` with these dimensions.
inline std::string idx(char type, std::initializer_list<std::uint32_t> sizes,
                       const std::string& body) {
  std::string file = {0, 0, type, static_cast<char>(sizes.size())};
  for (const std::uint32_t size : sizes) file += big_endian(size);
  return file + body;
}

inline std::string npy_with(const std::string& header, const std::string& body, char major = 1) {
  std::string file = "\x93NUMPY";
  file += major;
  file += '\0';
  const auto length = static_cast<std::uint32_t>(header.size());
  file.append(reinterpret_cast<const char*>(&length), major == 1 ? 2 : 4);
  return file + header + body;
}

inline std::string npy(const std::string& descr, const std::string& shape, const std::string& body,
                       char major = 1) {
  return npy_with(
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }  \n", body,
      major);
}

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline std::string gzip(const std::string& content) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(compressBound(content.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// Keeps chunks in memory.
class MemorySink : public ChunkSink {
 public:
  bool is_wanted(const Digest& digest) override { return !chunks.contains(digest); }
  Status put(const Digest& digest, std::span<const std::byte> bytes) override {
    EXPECT_EQ(sha256(bytes), digest);
    chunks[digest] = as_text(bytes);
    return {};
  }
  std::map<Digest, std::string> chunks;
};

class Import : public testing::Test {
 protected:
  Import() {
    std::string pattern = fs::temp_directory_path() / "mh-import-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Import() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }

  /// Options for two train files.
  ImportOptions files(const std::string& inputs, const std::string& targets) {
    ImportOptions options;
    options.files["train"] = {write("x", inputs), write("y", targets)};
    return options;
  }

  /// The error's text after the name of the file, "" when it is taken.
  std::string refusal(const ImportOptions& options) {
    const auto plan = plan_import(options);
    if (plan) return "";
    std::string text = plan.error().message;
    for (std::size_t at; (at = text.find(folder_.string() + "/")) != std::string::npos;) {
      text.erase(at, folder_.string().size() + 1);
    }
    return text;
  }
  std::string refusal(const std::string& inputs, const std::string& targets) {
    return refusal(files(inputs, targets));
  }
  /// What is said of an input file beside two good labels.
  std::string input_refusal(const std::string& inputs) { return refusal(inputs, kTwoLabels); }

  const std::string kTwoLabels = idx(8, {2}, {1, 0});
  const std::string kTwoImages = idx(8, {2, 1, 2}, {1, 2, 3, 4});
  fs::path folder_;
};

}  // namespace mh::cli
