// See sqlite_database.h.
#include "server/sqlite_database.h"

#include <sqlite3.h>

#include <cmath>
#include <limits>
#include <utility>

namespace mh::server {
namespace {

Error sqlite_error(sqlite3* connection, int code, std::string_view doing) {
  std::string message = "database: " + std::string(doing) + ": ";
  message += connection != nullptr ? sqlite3_errmsg(connection) : sqlite3_errstr(code);
  const int primary = code & 0xff;
  // Growing the WAL's index in shared memory has an error of its own for it.
  if (primary == SQLITE_FULL || code == SQLITE_IOERR_SHMSIZE) {
    return Error{Errc::kResourceExhausted, message + " (disk full)"};
  }
  if (primary == SQLITE_CONSTRAINT) return Error{Errc::kAlreadyExists, message};
  return Error{Errc::kInternal, message};
}

}  // namespace

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement::Statement(Statement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)) {}

Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(statement_, other.statement_);
  return *this;
}

Statement& Statement::bind(int index, std::int64_t value) {
  sqlite3_bind_int64(statement_, index, value);
  return *this;
}

Statement& Statement::bind(int index, std::uint64_t value) {
  return bind(index, static_cast<std::int64_t>(value));
}

Statement& Statement::bind(int index, double value) {
  sqlite3_bind_double(statement_, index, value);
  return *this;
}

Statement& Statement::bind(int index, std::string_view text) {
  sqlite3_bind_text64(statement_, index, text.data() == nullptr ? "" : text.data(), text.size(),
                      SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind(int index, std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    sqlite3_bind_zeroblob(statement_, index, 0);
  } else {
    sqlite3_bind_blob64(statement_, index, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
  }
  return *this;
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  sqlite3* connection = sqlite3_db_handle(statement_);
  if (code == SQLITE_DONE) {
    sqlite3_reset(statement_);
    return false;
  }
  Error error = sqlite_error(connection, code, sqlite3_sql(statement_));
  sqlite3_reset(statement_);
  return error;
}

Result<void> Statement::run() {
  for (;;) {
    MH_TRY(const bool more, step());
    if (!more) return {};
  }
}

void Statement::reset() { sqlite3_reset(statement_); }

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

double Statement::real(int column) const {
  if (is_null(column)) return std::numeric_limits<double>::quiet_NaN();
  return sqlite3_column_double(statement_, column);
}

std::string Statement::text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (text == nullptr) return {};
  return std::string(text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

std::span<const std::byte> Statement::bytes(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Database::~Database() { sqlite3_close_v2(connection_); }

Database::Database(Database&& other) noexcept
    : connection_(std::exchange(other.connection_, nullptr)) {}

Database& Database::operator=(Database&& other) noexcept {
  std::swap(connection_, other.connection_);
  return *this;
}

Result<Database> Database::open(const std::filesystem::path& file, Mode mode) {
  std::error_code ignored;
  if (mode != Mode::kCreate && !std::filesystem::exists(file, ignored)) {
    return fail(Errc::kNotFound, "no database at " + file.string());
  }
  int flags = SQLITE_OPEN_NOMUTEX;
  if (mode == Mode::kReadOnly) flags |= SQLITE_OPEN_READONLY;
  if (mode == Mode::kReadWrite) flags |= SQLITE_OPEN_READWRITE;
  if (mode == Mode::kCreate) flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  Database database;
  const int code = sqlite3_open_v2(file.c_str(), &database.connection_, flags, nullptr);
  if (code != SQLITE_OK) return sqlite_error(database.connection_, code, "open " + file.string());
  sqlite3_extended_result_codes(database.connection_, 1);
  sqlite3_busy_timeout(database.connection_, 10'000);
  std::string settings =
      "PRAGMA foreign_keys=ON; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864;"
      "PRAGMA cache_size=-32768; PRAGMA temp_store=MEMORY;";
  if (mode != Mode::kReadOnly) settings = "PRAGMA journal_mode=WAL;" + settings;
  MH_TRY_VOID(database.execute(settings));
  return database;
}

Result<void> Database::execute(const std::string& sql) {
  const int code = sqlite3_exec(connection_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return sqlite_error(connection_, code, sql.substr(0, 80));
  return {};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(connection_, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return sqlite_error(connection_, code, sql.substr(0, 120));
  return Statement(statement);
}

Result<void> Database::checkpoint_passive() {
  const int code =
      sqlite3_wal_checkpoint_v2(connection_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY) {
    return sqlite_error(connection_, code, "checkpoint");
  }
  return {};
}

std::uint64_t Database::last_insert_id() const {
  return static_cast<std::uint64_t>(sqlite3_last_insert_rowid(connection_));
}

}  // namespace mh::server
