#ifndef UMLD_UMLD_DAEMON_CONFIG_H_
#define UMLD_UMLD_DAEMON_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
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

  std::string GuestStateDir(uint64_t id) const { return absl::StrCat(state_dir, "/guests/", id); }
  std::string GuestRunDir(uint64_t id) const { return absl::StrCat(run_dir, "/guests/", id); }
  std::string ConsoleLog(uint64_t id, absl::string_view console) const {
    return absl::StrCat(GuestStateDir(id), "/", console, ".log");
  }

  // Fills what is empty with the defaults of this user: root has the system's folders, anybody else the XDG ones.
  // kNotFound: no vmcore beside this program nor installed.
  absl::Status FillDefaults();
};

}  // namespace umld

#endif  // UMLD_UMLD_DAEMON_CONFIG_H_
