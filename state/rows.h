#ifndef UMLD_STATE_ROWS_H_
#define UMLD_STATE_ROWS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/credentials.h"

namespace umld::state {

// What the database holds, as plain structs. Times are nanoseconds since 1970, UTC; sizes are bytes.

struct DiskRow {
  uint32_t unit = 0;    // 0 to 15
  std::string path;     // absolute; the COW file when `backing` is set
  std::string backing;  // absolute, or empty
  std::string flags;    // of "rscdt"
  std::string serial;
  bool managed = false;                              // umld made `path` and removes it with the guest
  std::optional<Credentials> opener = std::nullopt;  // who has the permission to open it; nullopt: umld
  friend bool operator==(const DiskRow&, const DiskRow&) = default;
};

struct ConsoleRow {
  std::string device;   // "con0"
  std::string channel;  // UML's spelling of where it goes
  friend bool operator==(const ConsoleRow&, const ConsoleRow&) = default;
};

struct NicRow {
  std::string device;  // "eth0"
  std::string spec;    // UML's spelling
  std::string mac;
  friend bool operator==(const NicRow&, const NicRow&) = default;
};

// Why a guest's last kernel ended. `kind` is the API's umld.v1.GuestExit.Kind number.
struct ExitRow {
  int kind = 0;
  std::string reason;
  int exit_code = 0;
  int signal = 0;
  std::string last_lines;  // joined with \n
  std::string stop_stage;
  int64_t time_ns = 0;
  friend bool operator==(const ExitRow&, const ExitRow&) = default;
};

// How a guest names a kernel, and the name of the one that umld was started with, of which there is no row.
inline constexpr char kKernelPrefix[] = "kernels/";
inline constexpr char kSystemKernel[] = "kernels/system";

// A guest as it is wanted. Never says whether it runs.
struct GuestRow {
  uint64_t id = 0;  // never reused
  std::string name;
  std::string kernel;                                       // a path, "kernels/NAME", or empty: the default
  std::optional<Credentials> kernel_opener = std::nullopt;  // of a path, as a disk's
  uint64_t memory_bytes = 0;
  std::string image;         // the name it was made from, or empty; that may since lead to another image
  std::string image_digest;  // the image it needs; empty: none
  std::vector<std::string> kernel_args;
  std::string description;
  std::map<std::string, std::string> labels;
  uint64_t snapshot_id = 0;  // what its disks were as last, made or restored; 0: none
  uint64_t version = 1;      // counts changes of the configuration
  int64_t created_ns = 0;
  bool wanted_running = false;
  bool relaxed = false;  // its kernel is not confined
  bool trusted = false;
  bool keeps_memory = false;  // nothing is taken back while it is idle
  uint32_t cpu_percent = 0;   // limits; 0: the default
  uint64_t memory_max = 0;
  uint32_t pids_max = 0;
  uint64_t disk_bps = 0;
  uint32_t disk_iops = 0;
  std::vector<DiskRow> disks;  // by unit
  std::vector<ConsoleRow> consoles;
  std::vector<NicRow> nics;
  std::optional<ExitRow> last_exit;
  friend bool operator==(const GuestRow&, const GuestRow&) = default;
};

struct ImageRow {
  std::string digest;  // "sha256:HEX"; the name, of an image made by an older umld whose file has not been read yet
  std::string path;
  uint64_t size_bytes = 0;
  int64_t mtime_ns = 0;  // of the file; the COW files over it rely on the whole seconds
  std::string description;
  int64_t created_ns = 0;
  std::vector<std::string> names;  // in order
  friend bool operator==(const ImageRow&, const ImageRow&) = default;
};

// A kernel that was imported. Its parts are named by their SHA-256, in hexadecimal.
struct KernelRow {
  std::string name;
  std::string sha256;
  std::string symbols;  // or empty
  std::string modules;  // a file system with its modules, or empty
  std::string description;
  bool is_default = false;
  int64_t created_ns = 0;
  friend bool operator==(const KernelRow&, const KernelRow&) = default;
};

// A disk that belongs to no guest. Its size is its file's.
struct VolumeRow {
  std::string name;
  std::string description;
  int64_t created_ns = 0;
  friend bool operator==(const VolumeRow&, const VolumeRow&) = default;
};

// How many kernels of a class wait for a guest (umld/warm_pool.h).
struct PoolRow {
  std::string kernel;  // as in GuestRow
  uint64_t memory_bytes = 0;
  uint32_t warm = 0;
  friend bool operator==(const PoolRow&, const PoolRow&) = default;
};

// One disk in a snapshot: a file STATE/snapshots/ID/ubdX of its own, over the same backing file.
struct SnapshotDiskRow {
  uint32_t unit = 0;
  std::string path;     // of the guest's disk
  std::string backing;  // or empty
  uint64_t size_bytes = 0;
  uint64_t allocated_bytes = 0;  // of the copy, when it was made
  friend bool operator==(const SnapshotDiskRow&, const SnapshotDiskRow&) = default;
};

// The disks of a guest at one point in time.
struct SnapshotRow {
  uint64_t id = 0;  // follows from the operation which made it, so that its folder is known before it has a row
  uint64_t guest_id = 0;
  std::string name;  // unique within the guest
  std::string description;
  int64_t created_ns = 0;
  int64_t paused_ns = 0;               // how long the guest stood still; 0: it was not running
  uint64_t operation_id = 0;           // made it, and the snapshots of other guests in the same pause; 0: not known
  int64_t together_ns = 0;             // how long all running guests of the operation stood still at once
  bool synced = false;                 // the guest had written out what it had in memory
  uint64_t parent_id = 0;              // the guest's snapshot_id when it was made
  bool rotates = false;                // made with "keep the newest N", and removed by the next of these in time
  std::vector<std::string> left_out;   // the guest's disks that are not in it, with the reason: "ubdb: read-only"
  std::vector<SnapshotDiskRow> disks;  // by unit
  friend bool operator==(const SnapshotRow&, const SnapshotRow&) = default;
};

// One intent and its outcome. Committed before anything is done; `done` with the outcome.
struct OperationRow {
  uint64_t id = 0;  // 0 before it is inserted
  std::string verb;
  uint64_t guest_id = 0;  // 0: not about a guest
  std::string target;     // "guests/web1"
  std::string payload;    // what is needed to finish or undo it; the daemon's own format
  std::string request_id;
  bool done = false;
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string message, reason, subject, hint;  // of the error
  int64_t created_ns = 0;
  int64_t ended_ns = 0;
  friend bool operator==(const OperationRow&, const OperationRow&) = default;
};

struct EventRow {
  uint64_t sequence = 0;  // 0 before it is inserted
  int64_t time_ns = 0;
  std::string type;
  std::string subject;
  int guest_state = 0;  // the API's umld.v1.GuestState number
  std::string message;
  friend bool operator==(const EventRow&, const EventRow&) = default;
};

}  // namespace umld::state

#endif  // UMLD_STATE_ROWS_H_
