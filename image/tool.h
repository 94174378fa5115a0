#ifndef UMLD_IMAGE_TOOL_H_
#define UMLD_IMAGE_TOOL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::image {

// A program of the host that does a part of the work.
struct Tool {
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // empty: PATH and LC_ALL=C
  std::vector<std::pair<int, int>> fds;  // {the program's number, ours}; from 3 on
  int fine = 0;                          // the exit code that is as good as 0
  uint64_t memory_bytes = 0;             // that it may write to, beyond files; 0: any
};

// The program's path: the sbin folders are not in everybody's PATH. kFailedPrecondition TOOL_MISSING names the package.
absl::StatusOr<std::string> FindTool(const std::string& name, const std::string& package);

// Runs it to its end. `look`, which may be null, is called about five times a second with what it has said since the
// last call; an error from it ends the program and is returned. Returns the end (at most 64 KiB) of what it has said.
// kInternal TOOL_FAILED, with its last words; kResourceExhausted when those are about a full disk. Blocks.
absl::StatusOr<std::string> RunTool(const Tool& tool, const std::function<absl::Status(absl::string_view said)>& look);

}  // namespace umld::image

#endif  // UMLD_IMAGE_TOOL_H_
