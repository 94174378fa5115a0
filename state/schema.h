#ifndef UMLD_STATE_SCHEMA_H_
#define UMLD_STATE_SCHEMA_H_

#include "absl/status/status.h"
#include "state/database.h"

namespace umld::state {

// The version this program reads and writes, as kept in `PRAGMA user_version`. 0 is an empty file.
int SchemaVersion();

// Reads the whole database and writes nothing.
// kFailedPrecondition NEWER_DATABASE: made by a newer umld. FOREIGN_DATABASE: made by another program.
// kDataLoss CORRUPT_DATABASE: its structure is damaged.
absl::Status CheckDatabase(Database& database);

// Applies, in order and each in one transaction, the migrations from the file's version up to `version`, which is
// SchemaVersion() except in tests. Refuses as CheckDatabase does, but for damage. Blocks on the disk.
absl::Status MigrateTo(Database& database, int version);

}  // namespace umld::state

#endif  // UMLD_STATE_SCHEMA_H_
