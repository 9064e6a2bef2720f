// From the field lists of sqlite_fields.h to SQL text, bound parameters and rows. Damaged values (a
// digest that is not 32 bytes, a state without a name) are an error, never a wrong row.
// Used by sqlite_rows.cpp, sqlite_snapshot.cpp and sqlite_history.cpp only. No state, no threads.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "proto/base/clock.h"
#include "proto/base/ids.h"
#include "proto/base/result.h"
#include "proto/base/sha256.h"
#include "server/sqlite_database.h"
#include "server/sqlite_fields.h"

namespace mh::server {

// Gathers column names.
class FieldNames {
 public:
  template <class T>
  void key(const char* name, const T&) {
    add(keys_, name);
    add(all_, name);
  }
  template <class T>
  void once(const char* name, const T&) {
    add(all_, name);
  }
  template <class T>
  void field(const char* name, const T&) {
    add(all_, name);
    add(updates_, std::string(name) + "=excluded." + name);
  }

  // "name, name, ..." of the columns, and how many.
  const std::string& all() const { return all_; }
  int count() const { return count_; }
  const std::string& keys() const { return keys_; }
  // "name=excluded.name, ..." of those that may change.
  const std::string& updates() const { return updates_; }

 private:
  void add(std::string& list, const std::string& text) {
    if (&list == &all_) count_ += 1;
    list += list.empty() ? "" : ", ";
    list += text;
  }

  std::string all_;
  std::string keys_;
  std::string updates_;
  int count_ = 0;
};

template <class Row>
FieldNames field_names() {
  FieldNames names;
  const Row row{};
  each_field(row, names);
  return names;
}

// Inserts a row, or changes the one with the same key.
template <class Row>
std::string upsert_sql() {
  const FieldNames names = field_names<Row>();
  std::string values = "?1";
  for (int i = 2; i <= names.count(); ++i) values += ", ?" + std::to_string(i);
  return std::string("INSERT INTO ") + kTable<Row> + "(" + names.all() + ") VALUES(" + values +
         ") ON CONFLICT(" + names.keys() + ") DO UPDATE SET " + names.updates();
}

// Rows of a type; `tail` is WHERE, ORDER BY, LIMIT.
template <class Row>
std::string select_sql(const std::string& tail) {
  return "SELECT " + field_names<Row>().all() + " FROM " + kTable<Row> + " " + tail;
}

// Binds the fields of a row to the parameters of upsert_sql().
class FieldBinder {
 public:
  explicit FieldBinder(Statement& statement) : statement_(statement) {}

  template <class T>
  void key(const char*, const T& value) {
    put(value);
  }
  template <class T>
  void once(const char*, const T& value) {
    put(value);
  }
  template <class T>
  void field(const char*, const T& value) {
    put(value);
  }

 private:
  template <class T>
  void put(const T& value) {
    statement_.bind(++index_, stored(value));
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  static T stored(T value) { return value; }
  template <class T>
  requires std::is_enum_v<T>
  static std::uint64_t stored(T value) { return static_cast<std::uint64_t>(value); }
  template <class Tag>
  static std::uint64_t stored(StrongId<Tag> id) {
    return id.value();
  }
  static std::int64_t stored(TimePoint time) { return to_unix_ms(time); }
  static std::int64_t stored(std::chrono::milliseconds length) { return length.count(); }
  static std::string_view stored(const std::string& text) { return text; }
  static std::span<const std::byte> stored(const Digest& digest) {
    return std::as_bytes(std::span(digest.bytes));
  }

  Statement& statement_;
  int index_ = 0;
};

// Reads the fields of a row from the columns of select_sql().
class FieldReader {
 public:
  explicit FieldReader(const Statement& statement) : statement_(statement) {}

  template <class T>
  void key(const char* name, T& value) {
    field(name, value);
  }
  template <class T>
  void once(const char* name, T& value) {
    field(name, value);
  }
  template <class T>
  void field(const char* name, T& value) {
    if (!get(column_, value) && damaged_ == nullptr) damaged_ = name;
    column_ += 1;
  }
  // Name of the first column whose value cannot be; null: all is well.
  const char* damaged() const { return damaged_; }

 private:
  template <class T>
  requires std::is_integral_v<T>
  bool get(int column, T& value) const {
    const std::int64_t stored = statement_.integer(column);
    value = static_cast<T>(stored);
    return static_cast<std::int64_t>(value) == stored;
  }
  template <class T>
  requires std::is_enum_v<T>
  bool get(int column, T& value) const {
    const std::int64_t stored = statement_.integer(column);
    if (stored < 1 || stored > static_cast<std::int64_t>(last_of(T{}))) return false;
    value = static_cast<T>(stored);
    return true;
  }
  template <class Tag>
  bool get(int column, StrongId<Tag>& id) const {
    id = StrongId<Tag>(statement_.natural(column));
    return true;
  }
  bool get(int column, double& value) const {
    value = statement_.real(column);
    return true;
  }
  bool get(int column, TimePoint& time) const {
    time = from_unix_ms(statement_.integer(column));
    return true;
  }
  bool get(int column, std::chrono::milliseconds& length) const {
    length = std::chrono::milliseconds(statement_.integer(column));
    return true;
  }
  bool get(int column, std::string& text) const {
    text = statement_.text(column);
    return true;
  }
  bool get(int column, Digest& digest) const {
    const auto bytes = statement_.bytes(column);
    if (bytes.size() != digest.bytes.size()) return false;
    std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
    return true;
  }

  const Statement& statement_;
  int column_ = 0;
  const char* damaged_ = nullptr;
};

// The present row of a statement made of select_sql(). Errors: kDataLoss.
template <class Row>
Result<Row> read_row(const Statement& statement) {
  Row row{};
  FieldReader reader(statement);
  each_field(row, reader);
  if (reader.damaged() != nullptr) {
    return fail(Errc::kDataLoss, std::string("database: table ") + kTable<Row> +
                                     " has a damaged value in column " + reader.damaged() +
                                     ": restore the folder from a backup");
  }
  return row;
}

// All rows of a statement made of select_sql(). Errors: kDataLoss, kInternal.
template <class Row>
Result<std::vector<Row>> read_rows(Statement& statement) {
  std::vector<Row> rows;
  for (;;) {
    MH_TRY(const bool has_row, statement.step());
    if (!has_row) return rows;
    MH_TRY(Row row, read_row<Row>(statement));
    rows.push_back(std::move(row));
  }
}

}  // namespace mh::server
