// Aligned tables and numbers with units, for people. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/utf8.h"

namespace mh::cli {

// Columns as wide as their widest cell; numbers to the right, words to the left. UTF-8 counts as
// one column a code point; control characters from a server are shown as '?'.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // Requires: as many cells as columns.
  void add_row(std::vector<std::string> cells);
  bool is_empty() const { return rows_.empty(); }
  // With a title line; every line ends with '\n'.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// 12345678 → "12,345,678".
std::string with_commas(std::uint64_t number);
// 1536 → "1.5 KiB".
std::string bytes_text(double bytes);
// 3725 s → "62 min 5 s", 7500 s → "2 h 5 min"; negative: "—".
std::string duration_text(double seconds);
// Milliseconds since 1970 → "2026-11-24 15:04:05" (UTC); 0: "—".
std::string time_text(std::int64_t unix_ms);
// Fixed number of decimals.
std::string decimal(double number, int digits);
// Three digits: "3.2e-07"; "0" for zero.
std::string scientific(double number);
// {1, 28, 28} → "1×28×28"; empty: "scalar".
template <class Shape>
std::string shape_text(const Shape& shape) {
  std::string text;
  for (const auto size : shape) text += (text.empty() ? "" : "×") + std::to_string(size);
  return text.empty() ? "scalar" : text;
}

}  // namespace mh::cli
