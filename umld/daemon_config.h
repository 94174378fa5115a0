#ifndef UMLD_UMLD_DAEMON_CONFIG_H_
#define UMLD_UMLD_DAEMON_CONFIG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "vmcore/vmcore.pb.h"

namespace umld {

// Where one umld keeps things and what it starts guests with. All paths absolute, without a slash at the end.
struct DaemonConfig {
  std::string state_dir;     // what must survive the host: database, images, COW files, console logs
  std::string run_dir;       // what belongs to running processes: sockets, facts
  std::string socket_path;   // the API
  std::string socket_group;  // may use the API too; empty: only the user umld runs as
  std::string mconsole_dir;  // where uml_mconsole looks: DIR/UMID/mconsole; empty: no bridge
  std::string default_kernel;
  std::string vmcore_path;
  vmcore::v1::Isolation isolation = vmcore::v1::ISOLATION_AUTO;
  bool relaxed = false;                               // guests that say nothing of it are not confined
  bool build_kernel = false;                          // build the fast kernel, unless there is one of that name
  uint64_t disk_reserve_bytes = uint64_t{256} << 20;  // of the host's disks; guests that need it are paused
  uint64_t warm_memory_bytes =
      0;  // that kernels of the warm pool may have, by their guests' size; 0: a quarter of the host's
  absl::Duration reclaim_after = absl::Minutes(1);  // guests that are idle so long give memory back; 0: never
  uint32_t first_uid = 1879048192;  // of confined guests, when umld is root: of a range that systemd leaves to nobody

  std::string GuestStateDir(uint64_t id) const { return absl::StrCat(state_dir, "/guests/", id); }
  std::string GuestRunDir(uint64_t id) const { return absl::StrCat(run_dir, "/guests/", id); }
  std::string SnapshotDir(uint64_t id) const { return absl::StrCat(state_dir, "/snapshots/", id); }
  // The uid of a confined guest, which is no other guest's; 0 when umld can give none away.
  // kResourceExhausted: there are no more.
  absl::StatusOr<uint32_t> GuestUid(uint64_t id) const;
  std::string ConsoleLog(uint64_t id, absl::string_view console) const {
    return absl::StrCat(GuestStateDir(id), "/", console, ".log");
  }

  // Fills what is empty with the defaults of this user: root has the system's folders, anybody else the XDG ones.
  // kNotFound: no vmcore beside this program nor installed.
  absl::Status FillDefaults();
};

}  // namespace umld

#endif  // UMLD_UMLD_DAEMON_CONFIG_H_
