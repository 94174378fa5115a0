#ifndef UMLD_VMCORE_CLAIM_LINE_H_
#define UMLD_VMCORE_CLAIM_LINE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace umld::vmcore {

// The talk with the init of a kernel that waits for a guest (guest/warm/init.c), over a serial line of the kernel's.
// What comes from there is not believed: it is words of at most a few hundred bytes. Thread: the loop's. Never blocks.
class ClaimLine {
 public:
  struct Callbacks {
    // The init waits. Once.
    std::function<void()> waiting;
    // What came of Claim: the guest's own init is about to run; or why it has not. Once. May destroy this object.
    std::function<void(absl::Status)> decided;
  };

  // kInternal: the host gives no socket.
  static absl::StatusOr<std::unique_ptr<ClaimLine>> Create(EventLoop* loop, Callbacks callbacks);
  ~ClaimLine();
  ClaimLine(const ClaimLine&) = delete;
  ClaimLine& operator=(const ClaimLine&) = delete;

  // The kernel's argument when it finds the other end as descriptor `fd`.
  static std::string KernelArgument(int fd);
  // For the kernel's process to inherit; -1 once it has been closed, as it is to be when that has happened.
  int kernel_end() const { return kernel_end_.get(); }
  void CloseKernelEnd() { kernel_end_.reset(); }

  // Tells the init which arguments the guest's kernel would have got, with fresh random bytes of the host's.
  // kInvalidArgument: they are too long, or more than one line. `decided` follows.
  absl::Status Claim(absl::string_view command_line);

 private:
  ClaimLine(EventLoop* loop, Callbacks callbacks, UniqueFd ours, UniqueFd kernels);
  void OnReadable();
  void OnWord(const std::string& line);

  EventLoop* loop_;
  Callbacks callbacks_;
  UniqueFd fd_, kernel_end_;
  std::string pending_;  // what has come of a line
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_CLAIM_LINE_H_
