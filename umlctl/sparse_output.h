#ifndef UMLD_UMLCTL_SPARSE_OUTPUT_H_
#define UMLD_UMLCTL_SPARSE_OUTPUT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace umld::umlctl {

// All of `data`, to a file or a pipe. Blocks.
absl::Status WriteAll(int fd, absl::string_view data);

// Puts a file together on stdout from pieces in order: into a pipe, holes are zeros; into a file they stay holes.
class SparseOutput {
 public:
  SparseOutput();
  // `size`: of the whole, or 0 where that is not said.
  absl::Status Take(uint64_t size, uint64_t offset, absl::string_view data);
  // After the last piece.
  absl::Status End();

 private:
  absl::Status SkipTo(uint64_t offset);

  bool holes_ = false;
  uint64_t at_ = 0, size_ = 0;
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_SPARSE_OUTPUT_H_
