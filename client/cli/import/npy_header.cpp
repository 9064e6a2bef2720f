// The strict reader of a .npy header's dictionary; see parse_npy_header() in array_file.h.
#include <algorithm>
#include <cctype>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/import/array_file.h"
#include "proto/base/utf8.h"

namespace mh::cli {
namespace {

Error bad(const std::string& what) { return fail(Errc::kInvalidArgument, what); }

/// Reads the few forms of a Python literal that NumPy writes.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  void skip_spaces() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n')) text_.remove_prefix(1);
  }
  bool take(std::string_view word) {
    skip_spaces();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  bool is_done() {
    skip_spaces();
    return text_.empty();
  }
  /// A quoted text without escapes.
  std::optional<std::string> take_text() {
    skip_spaces();
    if (text_.empty() || (text_[0] != '\'' && text_[0] != '"')) return std::nullopt;
    const std::size_t end = text_.find(text_[0], 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string value(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return value;
  }
  std::optional<std::uint64_t> take_number() {
    skip_spaces();
    std::uint64_t value = 0;
    std::size_t digits = 0;
    while (digits < text_.size() && std::isdigit(static_cast<unsigned char>(text_[digits]))) {
      if (digits == 18) return std::nullopt;
      value = value * 10 + static_cast<std::uint64_t>(text_[digits] - '0');
      ++digits;
    }
    if (digits == 0) return std::nullopt;
    text_.remove_prefix(digits);
    return value;
  }
  /// "(3, 4)", "(3,)", "()".
  std::optional<std::vector<std::uint64_t>> take_tuple() {
    if (!take("(")) return std::nullopt;
    std::vector<std::uint64_t> numbers;
    while (!take(")")) {
      const auto number = take_number();
      if (!number || numbers.size() > kSampleRankMax) return std::nullopt;
      numbers.push_back(*number);
      if (take(")")) break;
      if (!take(",")) return std::nullopt;
    }
    return numbers;
  }

 private:
  std::string_view text_;
};

/// Says how to turn an array of another type into one that fits.
std::string type_remedy(const std::string& kind) {
  if (kind == "f8" || kind == "f2") return "save it with .astype('float32')";
  if (kind == "b1") return "save it with .astype('uint8')";
  if (kind == "i1" || kind == "i2" || kind == "u2") return "save it with .astype('int32')";
  if (kind == "u4" || kind == "u8") return "save it with .astype('int64')";
  if (kind[0] == 'O') return "it holds Python objects; save an array of numbers";
  return "save an array of uint8, int32, int64 or float32";
}

Status read_descr(const std::string& descr, ArrayHeader& header) {
  const std::string kind = descr.size() == 3 ? descr.substr(1) : std::string("?");
  const bool order_known =
      descr.size() == 3 && std::string_view("<>|=").find(descr[0]) != std::string_view::npos;
  header.is_big_endian = descr.starts_with('>');
  if (order_known && kind == "u1") {
    header.sample.dtype = DataType::kU8;
    header.is_big_endian = false;
  } else if (order_known && kind == "i4") {
    header.sample.dtype = DataType::kI32;
  } else if (order_known && kind == "i8") {
    header.sample.dtype = DataType::kI64;
  } else if (order_known && kind == "f4") {
    header.sample.dtype = DataType::kF32;
  } else {
    const std::string remedy = type_remedy(descr == "|O" ? "O" : kind);
    return bad("its type is '" + plain_text(descr, 32) + "', allowed are u1, i4, i8 and f4; " +
               remedy);
  }
  return {};
}

Status read_shape(const std::vector<std::uint64_t>& shape, ArrayHeader& header) {
  if (shape.empty()) return bad("its shape is (), an array of samples is needed");
  header.sample_count = shape[0];
  for (std::size_t i = 1; i < shape.size(); ++i) {
    header.sample.shape.push_back(static_cast<std::int64_t>(shape[i]));
  }
  return {};
}

}  // namespace

Result<ArrayHeader> parse_npy_header(std::string_view text) {
  const Error malformed = bad("its NumPy header is malformed");
  Scanner scanner(text);
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::uint64_t>> shape;
  if (!scanner.take("{")) return malformed;
  while (!scanner.take("}")) {
    const auto key = scanner.take_text();
    if (!key || !scanner.take(":")) return malformed;
    if (*key == "descr" && !descr) {
      descr = scanner.take_text();
      if (!descr) return bad("its type is a record, an array of plain numbers is needed");
    } else if (*key == "fortran_order" && !fortran_order) {
      const bool is_true = scanner.take("True");
      if (!is_true && !scanner.take("False")) return malformed;
      fortran_order = is_true;
    } else if (*key == "shape" && !shape) {
      shape = scanner.take_tuple();
      if (!shape)
        return bad("its shape cannot be read, or has more than " +
                   std::to_string(kSampleRankMax + 1) + " dimensions");
    } else {
      return bad("its NumPy header has an unknown or repeated key '" + plain_text(*key, 32) + "'");
    }
    if (scanner.take("}")) break;
    if (!scanner.take(",")) return malformed;
  }
  if (!scanner.is_done() || !descr || !fortran_order || !shape) return malformed;
  if (*fortran_order && shape->size() > 1) {
    return bad("it is in Fortran order; save it with np.ascontiguousarray(array)");
  }
  ArrayHeader header;
  MH_TRY_VOID(read_descr(*descr, header));
  MH_TRY_VOID(read_shape(*shape, header));
  return header;
}

}  // namespace mh::cli
