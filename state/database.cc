#include "state/database.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::state {
namespace {

constexpr int kBusyTimeoutMs = 5000;

std::string ParentFolder(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status DiskFull(const std::string& path) {
  return MakeError(absl::StatusCode::kResourceExhausted, absl::StrCat(path, ": no space left for the database"),
                   {"DISK_FULL", path, "free space on that filesystem; nothing that was committed is lost"});
}

absl::Status Corrupt(const std::string& path, absl::string_view text) {
  return MakeError(absl::StatusCode::kDataLoss, absl::StrCat(path, ": the database is damaged: ", text),
                   {"CORRUPT_DATABASE", path, "keep a copy of the file, then restore it from a backup"});
}

// SQLite says only "read-only" or "cannot open"; the host says why.
absl::Status NotWritable(const std::string& path) {
  const std::string folder = ParentFolder(path);
  // The WAL and its index are made beside the file, so the folder counts too.
  for (const std::string& item : {path, folder}) {
    if (::access(item.c_str(), item == folder ? W_OK | X_OK : W_OK) == 0) continue;
    if (errno == EACCES || errno == EPERM) {
      return MakeError(absl::StatusCode::kPermissionDenied, absl::StrCat(path, ": ", item, " may not be written"),
                       {"PERMISSION_DENIED", path, absl::StrCat("check the owner and mode of ", item)});
    }
    if (errno == EROFS) break;
    return ErrnoError(errno, absl::StrCat("open ", item));
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, ": the database is read-only"),
                   {"READ_ONLY_FILESYSTEM", path, "remount the filesystem writable, or use another state directory"});
}

absl::Status CannotOpen(const std::string& path, int error_number, absl::string_view text) {
  switch (error_number) {
    case EACCES:
    case EPERM:
    case EROFS:
      return NotWritable(path);
    case ENOSPC:
    case EDQUOT:
      return DiskFull(path);
    case 0:
      return MakeError(absl::StatusCode::kInternal, absl::StrCat("open ", path, ": ", text),
                       {"DATABASE_ERROR", path, "check that the path is a regular file in a writable folder"});
    default:
      return ErrnoError(error_number, absl::StrCat("open ", path));
  }
}

absl::Status InputOutput(const std::string& path, int error_number, absl::string_view text) {
  // SQLite reports only ENOSPC as full; a quota or a size limit is the same to the user.
  if (error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG) return DiskFull(path);
  const char* reason = error_number == 0 ? "" : std::strerror(error_number);
  return MakeError(absl::StatusCode::kInternal, absl::StrCat(path, ": ", text, *reason == '\0' ? "" : ": ", reason),
                   {"DATABASE_ERROR", path, "check the kernel's log for errors of that disk"});
}

absl::Status Constraint(const std::string& path, int code, absl::string_view text) {
  absl::StatusCode kind = absl::StatusCode::kInvalidArgument;
  if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY) kind = absl::StatusCode::kAlreadyExists;
  if (code == SQLITE_CONSTRAINT_FOREIGNKEY) kind = absl::StatusCode::kFailedPrecondition;
  return MakeError(kind, absl::StrCat(path, ": ", text), {"CONSTRAINT_FAILED", path, ""});
}

absl::Status ErrorFromCode(const std::string& path, int code, int error_number, absl::string_view text) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return DiskFull(path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return NotWritable(path);
    case SQLITE_CANTOPEN:
      return CannotOpen(path, error_number, text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Corrupt(path, text);
    case SQLITE_CONSTRAINT:
      return Constraint(path, code, text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return MakeError(absl::StatusCode::kUnavailable, absl::StrCat(path, ": another process holds the database"),
                       {"DATABASE_BUSY", path, "find it with fuser(1); only one umld may use a state directory"});
    case SQLITE_IOERR:
      return InputOutput(path, error_number, text);
    case SQLITE_NOMEM:
      return MakeError(absl::StatusCode::kResourceExhausted, absl::StrCat(path, ": out of memory"),
                       {"OUT_OF_MEMORY", path, "free memory on the host, or raise the limit of umld"});
    case SQLITE_TOOBIG:
      return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(path, ": value too big for a row"),
                       {"VALUE_TOO_BIG", path, "shorten the text or the list"});
    default:
      return MakeError(absl::StatusCode::kInternal, absl::StrCat(path, ": ", text), {"DATABASE_ERROR", path, ""});
  }
}

// sqlite3_system_errno() stays 0 when the write that fails is a COMMIT's, so the files themselves are asked as well:
// the WAL (or journal) first, for that is where a commit writes.
int SystemErrno(sqlite3* handle) {
  if (const int number = sqlite3_system_errno(handle); number != 0) return number;
  int number = 0;
  sqlite3_file* log = nullptr;
  sqlite3_file_control(handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  if (log != nullptr && log->pMethods != nullptr) log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &number);
  if (number == 0) sqlite3_file_control(handle, "main", SQLITE_FCNTL_LAST_ERRNO, &number);
  return number;
}

// A path may hold the characters that mean something in a URI.
std::string ImmutableUri(const std::string& path) {
  std::string uri = absl::StrCat("file:", path.front() == '/' ? "//" : "");
  for (const char c : path) {
    switch (c) {
      case '%':
        uri += "%25";
        break;
      case '?':
        uri += "%3f";
        break;
      case '#':
        uri += "%23";
        break;
      default:
        uri += c;
    }
  }
  return uri + "?immutable=1";
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      bind_error_(other.bind_error_) {}

Statement::~Statement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Statement::Note(int code) {
  if (bind_error_ == SQLITE_OK) bind_error_ = code;
}

void Statement::BindOne(int index, absl::string_view text) {
  // An empty string_view may have no address, which SQLite would take for NULL.
  const char* data = text.empty() ? "" : text.data();
  Note(sqlite3_bind_text64(statement_, index, data, text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}

void Statement::BindOne(int index, Blob blob) {
  const char* data = blob.bytes.empty() ? "" : blob.bytes.data();
  Note(sqlite3_bind_blob64(statement_, index, data, blob.bytes.size(), SQLITE_TRANSIENT));
}

void Statement::BindInt(int index, int64_t value) { Note(sqlite3_bind_int64(statement_, index, value)); }

absl::StatusOr<bool> Statement::Step() {
  if (bind_error_ != SQLITE_OK) return database_->Error(bind_error_);
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return database_->Error(code);
}

absl::Status Statement::Finish() {
  absl::Status result = Step().status();
  sqlite3_reset(statement_);
  return result;
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Statement::Text(int column) const {
  // The pointer first: asking for it is what decides the length.
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  if (data == nullptr || size <= 0) return "";
  return std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode) {
  if (path.empty() || path.front() == ':') {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", path, "\" is not a path of a database"),
                     {"INVALID_PATH", path, "give an absolute path"});
  }
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  flags |= mode == Mode::kReadWrite ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
  if (mode == Mode::kImmutable) flags |= SQLITE_OPEN_URI;
  const std::string name = mode == Mode::kImmutable ? ImmutableUri(path) : path;
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &handle, flags, nullptr);
  // A connection that failed to open must be closed all the same.
  std::unique_ptr<Database> database(new Database(path, handle));
  if (code != SQLITE_OK) return database->Error(code);
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  // Only whoever may write is to move the WAL into the file.
  if (mode != Mode::kReadWrite) sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  return database;
}

Database::~Database() {
  // Statements must be finalized before the connection, or it stays open.
  statements_.clear();
  sqlite3_close(handle_);
}

absl::Status Database::Error(int code) {
  last_code_ = code;
  if (handle_ == nullptr) return ErrorFromCode(path_, code, 0, sqlite3_errstr(code));
  const std::string text = sqlite3_errmsg(handle_);  // before anything else is asked of the connection
  return ErrorFromCode(path_, code, SystemErrno(handle_), text);
}

absl::Status Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

absl::StatusOr<Statement> Database::Prepare(const char* sql) {
  auto found = statements_.find(sql);
  if (found == statements_.end()) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) return Error(code);
    found = statements_.emplace(sql, statement).first;
  }
  if (sqlite3_stmt_busy(found->second.get()) != 0) {
    return MakeError(absl::StatusCode::kInternal, absl::StrCat(path_, ": statement in use: ", sql),
                     {"DATABASE_ERROR", path_, ""});
  }
  return Statement(this, found->second.get());
}

absl::StatusOr<int64_t> Database::QueryInt(const char* sql) {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return absl::InternalError(absl::StrCat(path_, ": no row from ", sql));
  return statement.Int(0);
}

absl::StatusOr<std::string> Database::QueryText(const char* sql) {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return absl::InternalError(absl::StrCat(path_, ": no row from ", sql));
  return statement.Text(0);
}

absl::Status Database::CheckWritable() const {
  // SQLite falls back to a read-only file by itself and would say so only at the first write.
  return sqlite3_db_readonly(handle_, "main") == 1 ? NotWritable(path_) : absl::OkStatus();
}

uint64_t Database::LastInsertId() const { return static_cast<uint64_t>(sqlite3_last_insert_rowid(handle_)); }

int64_t Database::Changes() const { return sqlite3_changes64(handle_); }

bool Database::InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }

absl::StatusOr<ScopedTransaction> ScopedTransaction::Begin(Database& database, Kind kind) {
  // A rollback that failed on the disk leaves its transaction open; it must not be taken for part of this one.
  if (database.InTransaction()) RETURN_IF_ERROR(database.Execute("ROLLBACK"));
  RETURN_IF_ERROR(database.Execute(kind == Kind::kWrite ? "BEGIN IMMEDIATE" : "BEGIN"));
  return ScopedTransaction(database);
}

ScopedTransaction::~ScopedTransaction() {
  // SQLite may have rolled back by itself, as it does when the disk is full.
  if (database_ != nullptr && database_->InTransaction()) database_->Execute("ROLLBACK").IgnoreError();
}

absl::Status ScopedTransaction::Commit() {
  // Without this, COMMIT after SQLite's own rollback would say "no transaction is active" and hide what was lost.
  if (!database_->InTransaction()) {
    return MakeError(absl::StatusCode::kAborted, absl::StrCat(database_->path(), ": the transaction was rolled back"),
                     {"TRANSACTION_LOST", database_->path(), "try again"});
  }
  RETURN_IF_ERROR(database_->Execute("COMMIT"));
  database_ = nullptr;
  return absl::OkStatus();
}

}  // namespace umld::state
