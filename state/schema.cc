#include "state/schema.h"

#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::state {
namespace {

// "UMLd": marks the file as ours. It is part of the first migration below, as a decimal.
constexpr int kApplicationId = 0x554d4c64;

// kMigrations[n] leads from version n to n + 1. A migration that was released is never edited: a change of the schema
// is one more entry at the end.
constexpr const char* kMigrations[] = {
    // 1: what is wanted, and its history.
    R"sql(
      PRAGMA application_id = 1431129188;
      CREATE TABLE images (
        name       TEXT PRIMARY KEY NOT NULL,
        path       TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        created_ns INTEGER NOT NULL
      ) STRICT;
      CREATE TABLE guests (
        id             INTEGER PRIMARY KEY AUTOINCREMENT,
        name           TEXT NOT NULL UNIQUE,
        kernel         TEXT NOT NULL,
        memory_bytes   INTEGER NOT NULL,
        image          TEXT REFERENCES images (name),
        kernel_args    TEXT NOT NULL,
        version        INTEGER NOT NULL,
        created_ns     INTEGER NOT NULL,
        wanted_running INTEGER NOT NULL
      ) STRICT;
      CREATE INDEX guests_by_image ON guests (image);
      CREATE TABLE disks (
        guest_id INTEGER NOT NULL REFERENCES guests (id) ON DELETE CASCADE,
        unit     INTEGER NOT NULL CHECK (unit BETWEEN 0 AND 15),
        path     TEXT NOT NULL,
        backing  TEXT NOT NULL,
        flags    TEXT NOT NULL,
        serial   TEXT NOT NULL,
        managed  INTEGER NOT NULL,
        PRIMARY KEY (guest_id, unit)
      ) STRICT;
      CREATE TABLE consoles (
        guest_id INTEGER NOT NULL REFERENCES guests (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        device   TEXT NOT NULL,
        channel  TEXT NOT NULL,
        PRIMARY KEY (guest_id, device)
      ) STRICT;
      CREATE TABLE nics (
        guest_id INTEGER NOT NULL REFERENCES guests (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        device   TEXT NOT NULL,
        spec     TEXT NOT NULL,
        mac      TEXT NOT NULL,
        PRIMARY KEY (guest_id, device)
      ) STRICT;
      CREATE TABLE exits (
        guest_id   INTEGER PRIMARY KEY NOT NULL REFERENCES guests (id) ON DELETE CASCADE,
        kind       INTEGER NOT NULL,
        reason     TEXT NOT NULL,
        exit_code  INTEGER NOT NULL,
        signal     INTEGER NOT NULL,
        last_lines TEXT NOT NULL,
        stop_stage TEXT NOT NULL,
        time_ns    INTEGER NOT NULL
      ) STRICT;
      CREATE TABLE operations (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        verb       TEXT NOT NULL,
        guest_id   INTEGER NOT NULL,
        target     TEXT NOT NULL,
        payload    BLOB NOT NULL,
        done       INTEGER NOT NULL,
        code       INTEGER NOT NULL,
        message    TEXT NOT NULL,
        reason     TEXT NOT NULL,
        subject    TEXT NOT NULL,
        hint       TEXT NOT NULL,
        created_ns INTEGER NOT NULL,
        ended_ns   INTEGER NOT NULL
      ) STRICT;
      CREATE TABLE events (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        time_ns  INTEGER NOT NULL,
        type     TEXT NOT NULL,
        subject  TEXT NOT NULL,
        message  TEXT NOT NULL
      ) STRICT;
    )sql",
    // 2: retries found by their request, descriptions, the state a guest had at an event.
    R"sql(
      ALTER TABLE guests ADD COLUMN description TEXT NOT NULL DEFAULT '';
      ALTER TABLE images ADD COLUMN description TEXT NOT NULL DEFAULT '';
      ALTER TABLE events ADD COLUMN guest_state INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE operations ADD COLUMN request_id TEXT;
      CREATE UNIQUE INDEX operations_by_request_id ON operations (request_id) WHERE request_id IS NOT NULL;
      CREATE INDEX operations_unfinished ON operations (id) WHERE done = 0;
    )sql",
    // 3: guests that are not confined.
    R"sql(
      ALTER TABLE guests ADD COLUMN relaxed INTEGER NOT NULL DEFAULT 0;
    )sql",
    // 4: what a guest may use of the host.
    R"sql(
      ALTER TABLE guests ADD COLUMN cpu_percent INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE guests ADD COLUMN memory_max INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE guests ADD COLUMN pids_max INTEGER NOT NULL DEFAULT 0;
    )sql",
    // 5: kernels, and whom guests are run for. A guest's kernel is a path, 'kernels/NAME', or '' for the default; those
    // that are there keep their path, because nobody knows any more whether it was asked for.
    R"sql(
      CREATE TABLE kernels (
        name        TEXT PRIMARY KEY NOT NULL,
        sha256      TEXT NOT NULL,
        symbols     TEXT NOT NULL,
        modules     TEXT NOT NULL,
        description TEXT NOT NULL,
        is_default  INTEGER NOT NULL DEFAULT 0,
        created_ns  INTEGER NOT NULL
      ) STRICT;
      CREATE UNIQUE INDEX kernels_default ON kernels (is_default) WHERE is_default <> 0;
      CREATE INDEX guests_by_kernel ON guests (kernel);
      ALTER TABLE guests ADD COLUMN trusted INTEGER NOT NULL DEFAULT 0;
      UPDATE guests SET trusted = relaxed;
    )sql",
    // 6: whose permissions hold for a disk's files ('': umld's own), and what a guest's disks may take of the host's.
    R"sql(
      ALTER TABLE disks ADD COLUMN opener TEXT NOT NULL DEFAULT '';
      ALTER TABLE guests ADD COLUMN disk_bps INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE guests ADD COLUMN disk_iops INTEGER NOT NULL DEFAULT 0;
    )sql",
    // 7: images by the digest of their content, and names that lead to them. An image of before has its name for a
    // digest until umld has read its file.
    R"sql(
      ALTER TABLE images RENAME COLUMN name TO digest;
      ALTER TABLE images ADD COLUMN mtime_ns INTEGER NOT NULL DEFAULT 0;
      CREATE TABLE image_names (
        name   TEXT PRIMARY KEY NOT NULL,
        digest TEXT NOT NULL REFERENCES images (digest)
      ) STRICT;
      CREATE INDEX image_names_by_digest ON image_names (digest);
      INSERT INTO image_names SELECT digest, digest FROM images;
      ALTER TABLE guests RENAME COLUMN image TO image_digest;
      ALTER TABLE guests ADD COLUMN image TEXT NOT NULL DEFAULT '';
      UPDATE guests SET image = image_digest WHERE image_digest IS NOT NULL;
    )sql",
    // 8: volumes.
    R"sql(
      CREATE TABLE volumes (
        name        TEXT PRIMARY KEY NOT NULL,
        description TEXT NOT NULL,
        created_ns  INTEGER NOT NULL
      ) STRICT;
    )sql",
    // 9: snapshots of guests' disks. A guest that has some stays.
    R"sql(
      CREATE TABLE snapshots (
        id          INTEGER PRIMARY KEY NOT NULL,
        guest_id    INTEGER NOT NULL REFERENCES guests (id),
        name        TEXT NOT NULL,
        description TEXT NOT NULL,
        created_ns  INTEGER NOT NULL,
        paused_ns   INTEGER NOT NULL,
        synced      INTEGER NOT NULL,
        UNIQUE (guest_id, name)
      ) STRICT;
      CREATE TABLE snapshot_disks (
        snapshot_id     INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
        unit            INTEGER NOT NULL CHECK (unit BETWEEN 0 AND 15),
        path            TEXT NOT NULL,
        backing         TEXT NOT NULL,
        size_bytes      INTEGER NOT NULL,
        allocated_bytes INTEGER NOT NULL,
        PRIMARY KEY (snapshot_id, unit)
      ) STRICT;
      CREATE INDEX snapshot_disks_by_backing ON snapshot_disks (backing);
    )sql",
    // 10: labels; from which snapshot to which. Both lists are JSON; 0 is no snapshot.
    R"sql(
      ALTER TABLE guests ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
      ALTER TABLE guests ADD COLUMN snapshot_id INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE snapshots ADD COLUMN parent_id INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE snapshots ADD COLUMN rotates INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE snapshots ADD COLUMN left_out TEXT NOT NULL DEFAULT '[]';
    )sql",
    // 11: snapshots of several guests in one pause.
    R"sql(
      ALTER TABLE snapshots ADD COLUMN operation_id INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE snapshots ADD COLUMN together_ns INTEGER NOT NULL DEFAULT 0;
    )sql",
    // 12: the warm pool.
    R"sql(
      CREATE TABLE pools (
        kernel       TEXT NOT NULL,
        memory_bytes INTEGER NOT NULL,
        warm         INTEGER NOT NULL,
        PRIMARY KEY (kernel, memory_bytes)
      ) STRICT;
    )sql",
    // 13: whether memory is taken back of an idle guest.
    R"sql(
      ALTER TABLE guests ADD COLUMN keeps_memory INTEGER NOT NULL DEFAULT 0;
    )sql",
    // 14: whose permissions hold for a kernel that is a path. Who named those that are there, nobody knows any more.
    R"sql(
      ALTER TABLE guests ADD COLUMN kernel_opener TEXT NOT NULL DEFAULT '';
    )sql",
};

absl::Status CheckOrigin(Database& database, int64_t version) {
  if (version > SchemaVersion()) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(database.path(), ": the database has version ", version,
                                  ", this umld knows versions up to ", SchemaVersion()),
                     {"NEWER_DATABASE", database.path(),
                      "run the newer umld that wrote it, or restore the backup made before that upgrade"});
  }
  ASSIGN_OR_RETURN(const int64_t application, database.QueryInt("PRAGMA application_id"));
  ASSIGN_OR_RETURN(const int64_t tables, database.QueryInt("SELECT COUNT(*) FROM sqlite_schema"));
  const bool is_new = version == 0 && tables == 0;
  if (is_new || (version > 0 && application == kApplicationId)) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(database.path(), ": a database of another program"),
                   {"FOREIGN_DATABASE", database.path(), "use another state directory"});
}

// One transaction, which also holds the new version number: a crash leaves either version whole.
absl::Status ApplyNext(Database& database, int version) {
  ASSIGN_OR_RETURN(ScopedTransaction transaction, ScopedTransaction::Begin(database, ScopedTransaction::Kind::kWrite));
  // Read again under the lock: another process may have been faster.
  ASSIGN_OR_RETURN(const int64_t current, database.QueryInt("PRAGMA user_version"));
  RETURN_IF_ERROR(CheckOrigin(database, current));
  if (current >= version) return absl::OkStatus();
  RETURN_IF_ERROR(database.Execute(kMigrations[current]));
  RETURN_IF_ERROR(database.Execute(absl::StrCat("PRAGMA user_version = ", current + 1)));
  return transaction.Commit();
}

}  // namespace

int SchemaVersion() { return static_cast<int>(std::size(kMigrations)); }

absl::Status CheckDatabase(Database& database) {
  ASSIGN_OR_RETURN(const int64_t version, database.QueryInt("PRAGMA user_version"));
  RETURN_IF_ERROR(CheckOrigin(database, version));
  ASSIGN_OR_RETURN(const std::string verdict, database.QueryText("PRAGMA quick_check(1)"));
  if (verdict == "ok") return absl::OkStatus();
  // The last line names the place; the ones before are headings.
  const std::string place = verdict.substr(verdict.rfind('\n') + 1);
  return MakeError(absl::StatusCode::kDataLoss, absl::StrCat(database.path(), ": the database is damaged: ", place),
                   {"CORRUPT_DATABASE", database.path(), "keep a copy of the file, then restore it from a backup"});
}

absl::Status MigrateTo(Database& database, int version) {
  while (true) {
    ASSIGN_OR_RETURN(const int64_t current, database.QueryInt("PRAGMA user_version"));
    RETURN_IF_ERROR(CheckOrigin(database, current));
    if (current >= version) return absl::OkStatus();
    RETURN_IF_ERROR(Annotate(ApplyNext(database, version), absl::StrCat("migration to version ", current + 1)));
  }
}

}  // namespace umld::state
