#ifndef UMLD_STATE_DATABASE_H_
#define UMLD_STATE_DATABASE_H_

#include <sqlite3.h>

#include <concepts>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::state {

// Bytes that are not text, to be bound to a BLOB column.
struct Blob {
  absl::string_view bytes;
};

class Database;

// One prepared statement on loan from its Database, which keeps it compiled for the next caller. Going out of scope
// resets it. Not longer-lived than the Database; same thread rule.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement();

  // Binds ?1, ?2, ... to integers, text or Blob, which are copied. A failure shows at the next Step.
  template <typename... Args>
  Statement& Bind(const Args&... args) {
    int index = 0;
    (BindOne(++index, args), ...);
    return *this;
  }

  // True: a row is ready. False: no more rows. May block on the disk and on another process's lock.
  absl::StatusOr<bool> Step();

  // For statements without rows: binds, steps once and resets, so that it can be run again.
  template <typename... Args>
  absl::Status Run(const Args&... args) {
    return Bind(args...).Finish();
  }

  // Columns of the current row, from 0. NULL is 0 or empty.
  int64_t Int(int column) const;
  uint64_t Uint(int column) const { return static_cast<uint64_t>(Int(column)); }
  bool Bool(int column) const { return Int(column) != 0; }
  std::string Text(int column) const;  // or the bytes of a BLOB

 private:
  friend class Database;
  Statement(Database* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}

  void BindOne(int index, absl::string_view text);
  void BindOne(int index, Blob blob);
  template <std::integral T>
  void BindOne(int index, T value) {
    BindInt(index, static_cast<int64_t>(value));
  }
  void BindInt(int index, int64_t value);
  void Note(int code);
  absl::Status Finish();

  Database* database_;
  sqlite3_stmt* statement_;  // owned by database_; null once moved from
  int bind_error_ = SQLITE_OK;
};

// One SQLite connection and the statements compiled on it.
// Thread: one at a time; the owner locks. Blocks on the disk, and up to five seconds on another process's lock.
// Errors name the file and carry a reason: DISK_FULL, READ_ONLY_FILESYSTEM, PERMISSION_DENIED, CORRUPT_DATABASE,
// DATABASE_BUSY, CONSTRAINT_FAILED, DATABASE_ERROR.
class Database {
 public:
  enum class Mode {
    kReadWrite,  // the file exists; writing may still be refused at the first write
    kReadOnly,   // reads through the WAL if there is one
    kImmutable,  // takes no lock, makes no file beside it; only when there is no WAL, no journal and no writer
  };
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, Mode mode);

  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  // Runs one or more statements and drops their rows.
  absl::Status Execute(const std::string& sql);
  // `sql` is a literal: the compiled statement is kept by its text until the Database goes.
  absl::StatusOr<Statement> Prepare(const char* sql);
  // The first column of the first row; kInternal when there is none.
  absl::StatusOr<int64_t> QueryInt(const char* sql);
  absl::StatusOr<std::string> QueryText(const char* sql);

  // kPermissionDenied or kFailedPrecondition READ_ONLY_FILESYSTEM when the host gave only read access to the file.
  absl::Status CheckWritable() const;

  uint64_t LastInsertId() const;
  // Rows changed by the last statement that was run.
  int64_t Changes() const;
  bool InTransaction() const;
  const std::string& path() const { return path_; }
  // Of the last failed call: SQLite's extended result code.
  int last_code() const { return last_code_; }

 private:
  friend class Statement;
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };

  Database(std::string path, sqlite3* handle) : path_(std::move(path)), handle_(handle) {}
  absl::Status Error(int code);

  const std::string path_;
  sqlite3* const handle_;
  int last_code_ = SQLITE_OK;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Finalizer>, std::less<>> statements_;
};

// An open transaction; rolled back when it goes out of scope without Commit.
class ScopedTransaction {
 public:
  enum class Kind { kRead, kWrite };
  // kWrite takes the writer's lock at once, so that no later statement fails for want of it.
  static absl::StatusOr<ScopedTransaction> Begin(Database& database, Kind kind);

  ScopedTransaction(ScopedTransaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  ScopedTransaction& operator=(ScopedTransaction&&) = delete;
  ScopedTransaction(const ScopedTransaction&) = delete;
  ScopedTransaction& operator=(const ScopedTransaction&) = delete;
  ~ScopedTransaction();

  // Durable when it returns OK; rolled back when it does not.
  absl::Status Commit();

 private:
  explicit ScopedTransaction(Database& database) : database_(&database) {}

  Database* database_;  // null once done or moved from
};

}  // namespace umld::state

#endif  // UMLD_STATE_DATABASE_H_
