#ifndef UMLD_UMLD_DEBIAN_IMAGE_H_
#define UMLD_UMLD_DEBIAN_IMAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "image/entry.h"

namespace umld {

struct DebianOptions {
  std::string suite = "bookworm";
  std::string mirror;                // empty: Debian's own
  std::vector<std::string> include;  // more packages
  uint64_t size_bytes = 0;           // as image::ImportOptions
};

// kInvalidArgument: a suite, mirror or package that cannot be one.
absl::Status CheckDebianOptions(const DebianOptions& options);

// Makes the root filesystem of the image "debian" in the empty file `output`: Debian by mmdebstrap, and the files of
// guest/debian/ on top: it boots under systemd to a login on con1 (root, no password), with sshd, its interfaces up by
// DHCP, and its own settings from a seed disk (docs/seed-disk.md). `work`: an empty folder for meanwhile, which the
// caller removes. Blocks for minutes. kFailedPrecondition: mmdebstrap is missing. kInternal: mmdebstrap's last words.
absl::Status BuildDebianImage(const DebianOptions& options, const std::string& work, const std::string& output,
                              const image::StepProgress& progress);

}  // namespace umld

#endif  // UMLD_UMLD_DEBIAN_IMAGE_H_
