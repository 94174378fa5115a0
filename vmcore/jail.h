#ifndef UMLD_VMCORE_JAIL_H_
#define UMLD_VMCORE_JAIL_H_

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/credentials.h"
#include "base/unique_fd.h"
#include "devices/disk/disk_inspect.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// The confinement of one guest's kernel: what it is given of the host, by the steps in EnterNamespaces and
// DropPrivileges, which are lists to be read from top to bottom.
//
// The kernel sees a root of its own, a small tmpfs that holds its binary and libraries, kKernelFolder (kernel_paths.h),
// its memory's tmpfs, and its disks at the paths that they have on the host: opened here, once, and what was opened is
// what it gets. With umld as root it runs under a uid of its own, which owns nothing: through the mounts of its disks
// the files' owner appears as that uid (an idmapped mount), so that no file of the host changes hands. Thread: the
// loop's. Blocks on the file systems of what it shows, not on the guest.
class Jail {
 public:
  struct Options {
    uid_t uid = 0;  // the guest's, and its gid; 0: stay who we are, in a user namespace
    std::string name;
    uint64_t memory_bytes = 0;
  };
  enum class Access { kReadOnly, kReadWrite };
  // A file that was looked at before it is shown: with whose permissions, and what was found.
  struct Checked {
    std::optional<Credentials> opener;
    devices::FileId id;
  };

  // Once per vmcore; the working directory is the guest's runtime directory, where kKernelFolder is not made yet. As an
  // ordinary user: takes this process into a user and a mount namespace of its own. As root it stays in the host's, so
  // that disks are found on what is mounted meanwhile, and nothing that is unmounted stays in use.
  // kPermissionDenied: this host refuses.
  static absl::StatusOr<std::unique_ptr<Jail>> Create(const Options& options);
  Jail(const Jail&) = delete;
  Jail& operator=(const Jail&) = delete;

  // A kernel is about to be started: kKernelFolder is new, empty, of bounded size and the guest's; nothing is shown,
  // and Show collects what the kernel will see from its first moment. kPermissionDenied: this host refuses.
  absl::Status Prepare(uint64_t memory_bytes);

  // Shows a file or block device of the host to the kernel, under the same path, for as long as `key` (a disk's name)
  // is not hidden: at its start, or at once when it runs. One that was `checked` is opened by the same user, and is
  // that file or nothing. Errors name the file; kFailedPrecondition, NO_IDMAP: its file system cannot map owners;
  // kAborted, FILE_REPLACED: it is another file than was checked.
  absl::Status Show(const std::string& key, const std::string& path, Access access,
                    const std::optional<Checked>& checked = std::nullopt);
  // The kernel's processes make no file longer than the longest that was allowed since Prepare, nor than its memory:
  // for those that start and those that run. Blocks for as long as it takes to look at those. kUnavailable FILE_LIMIT:
  // one could not be told; nothing is allowed that was not.
  absl::Status AllowFileSize(uint64_t bytes);
  // Takes away what was shown for `key` and for no other. The kernel keeps what it has open. Nothing shown: fine.
  void Hide(const std::string& key);
  // Makes a file of ours in kKernelFolder the guest's.
  absl::Status Give(const std::string& path) const;

  // The kernel's namespaces are those of this process (pid 1 in them).
  absl::Status KernelStarted(pid_t init);
  void KernelGone();

  // The rest runs in freshly forked children, with plain system calls and plain strings; the name of the step that
  // failed, with errno, or nullptr.
  // The clone flags of the process that calls EnterNamespaces.
  static uint64_t Namespaces();
  // Whether this host gives them: tries it with a child. kPermissionDenied: it does not.
  static absl::Status CheckNamespaces();
  // `error_number` of a clone with them, for people.
  static absl::Status NoNamespaces(int error_number);
  const char* EnterNamespaces() const;
  // Of the namespaces' init, before the kernel is there. From then on nothing of it can be opened in /proc, not even by
  // an ordinary user's vmcore: KernelStarted comes first.
  const char* ForbidTracing() const;
  // Of the same, which stays: all it still has to do is to end the kernel.
  const char* DropInitPrivileges() const;
  // Of the kernel's process, right before its exec.
  const char* DropPrivileges() const;

  v1::Isolation isolation() const {
    return options_.uid != 0 ? v1::ISOLATION_PID_NAMESPACE : v1::ISOLATION_USER_NAMESPACE;
  }
  // What is in force, for people.
  void AddFacts(v1::Facts* facts) const;

 private:
  struct Shown {
    std::string path;
    UniqueFd tree;  // the mount, until the kernel has it; none for a device that is made as a node
    bool is_folder = false;
    dev_t device = 0;  // of a block device, which gets a node of its own
    mode_t mode = 0;
    devices::FileId id;
    timespec changed = {};  // its mtime, which COW files over it remember
    std::vector<std::string> keys;
  };

  explicit Jail(const Options& options) : options_(options) {}
  absl::StatusOr<Shown> Open(const std::string& path, Access access, const std::optional<Checked>& checked);
  // A user namespace that maps the file's owner to the guest, as mount_setattr wants it.
  absl::StatusOr<int> OwnerMap(uid_t uid, gid_t gid);
  // Of the processes that run. In a process of its own, which takes the guest's uid.
  [[noreturn]] void RaiseFileLimits(uint64_t bytes) const;
  // In the current mount namespace, below the current root or working directory.
  bool Place(const Shown& file) const;
  // Runs in the kernel's mount namespace, and comes back.
  template <typename Action>
  absl::Status Inside(const Action& action);

  Options options_;
  std::vector<Shown> shown_;
  std::map<std::pair<uid_t, gid_t>, UniqueFd> owner_maps_;
  UniqueFd home_, root_, run_dir_;  // the mount namespace we are in, its root as we see it, and working directory
  UniqueFd kernel_folder_;          // the mount that is kKernelFolder
  UniqueFd kernel_mounts_;          // the kernel's mount namespace, while it runs
  pid_t init_ = 0;                  // while it runs
  uint64_t file_bytes_ = 0;
  bool landlock_ = false;
  bool counts_processes_ = false;  // a limit of processes is this guest's alone
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_JAIL_H_
