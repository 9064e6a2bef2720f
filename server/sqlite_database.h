// RAII over the SQLite C interface: a connection and its prepared statements. Errors come back as
// Result; nothing here knows the schema (server/sqlite_store does).
// Threads: a Database and its statements belong to one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace mh::server {

// A prepared statement. Bind parameters (from 1), then step() until it returns false, or run().
class Statement {
 public:
  Statement() = default;
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&& other) noexcept;

  // Text and bytes are copied. A NaN is stored as NULL (and read back as NaN by real()).
  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, std::uint64_t value);
  Statement& bind(int index, int value) { return bind(index, std::int64_t{value}); }
  Statement& bind(int index, unsigned value) { return bind(index, std::uint64_t{value}); }
  Statement& bind(int index, bool value) { return bind(index, std::int64_t{value ? 1 : 0}); }
  Statement& bind(int index, double value);
  Statement& bind(int index, std::string_view text);
  Statement& bind(int index, const std::string& text) {
    return bind(index, std::string_view(text));
  }
  Statement& bind(int index, const char* text) { return bind(index, std::string_view(text)); }
  Statement& bind(int index, std::span<const std::byte> bytes);

  // Moves to the next row; false at the end (the statement is then reset, ready for new values).
  Result<bool> step();
  // Runs to the end, ignoring rows, and resets. The statement is reset after an error, too.
  Result<void> run();
  void reset();

  // Columns of the present row, from 0. Valid until the next step().
  std::int64_t integer(int column) const;
  std::uint64_t natural(int column) const { return static_cast<std::uint64_t>(integer(column)); }
  double real(int column) const;
  std::string text(int column) const;
  std::span<const std::byte> bytes(int column) const;
  bool is_null(int column) const;

 private:
  sqlite3_stmt* statement_ = nullptr;
};

// One connection.
class Database {
 public:
  enum class Mode { kCreate, kReadWrite, kReadOnly };

  Database() = default;
  ~Database();
  Database(Database&& other) noexcept;
  Database& operator=(Database&& other) noexcept;

  // Opens the file with the settings every connection has: WAL, synchronous=FULL, foreign keys on,
  // 10 s busy time-out, a journal bounded at 64 MiB.
  // Errors: kNotFound (no file, unless kCreate), kInternal (SQLite's message).
  static Result<Database> open(const std::filesystem::path& file, Mode mode);

  // Runs one or several statements without parameters.
  Result<void> execute(const std::string& sql);
  Result<Statement> prepare(std::string_view sql);
  // Copies what can be copied from the WAL into the file without waiting for anyone.
  Result<void> checkpoint_passive();
  std::uint64_t last_insert_id() const;
  // For server/sqlite_whole, which copies connections.
  sqlite3* handle() const { return connection_; }

 private:
  sqlite3* connection_ = nullptr;
};

}  // namespace mh::server
