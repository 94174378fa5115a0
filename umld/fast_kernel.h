#ifndef UMLD_UMLD_FAST_KERNEL_H_
#define UMLD_UMLD_FAST_KERNEL_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace umld {

// The build of the fast kernel, from kernel/fast/ and Debian's linux-source. `work`: a folder of ours, where it has
// room.
class FastKernelBuild {
 public:
  // Writes kernel/fast/ into the empty folder `work`, which the caller removes. `source`: linux-source-VERSION.tar.xz;
  // empty: the newest below /usr/src.
  static absl::StatusOr<FastKernelBuild> Prepare(const std::string& work, const std::string& source);

  // What the result depends on: two builds with the same key are the same file. kFailedPrecondition
  // KERNEL_BUILD_IMPOSSIBLE: the source or a compiler is missing; the hint says what to install. Blocks for a second.
  const std::string& key() const { return key_; }

  // Returns the kernel's path in `work`. `progress` is called now and then with a percentage; an error from it ends the
  // build and is returned. Blocks for minutes, at low priority. kFailedPrecondition KERNEL_BUILD_FAILED, with what was
  // said; kResourceExhausted: the disk is full.
  absl::StatusOr<std::string> Run(const std::function<absl::Status(int percent)>& progress) const;

 private:
  FastKernelBuild(std::string work, std::string source, std::string key)
      : work_(std::move(work)), source_(std::move(source)), key_(std::move(key)) {}

  std::string work_, source_, key_;
};

}  // namespace umld

#endif  // UMLD_UMLD_FAST_KERNEL_H_
