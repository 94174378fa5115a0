// For --config=tsan alone. gRPC is the system's and built without the sanitizer, which sees nothing of the order in
// which it calls us. These say it: whoever asked for something comes before the callback that says that it is done, and
// whatever was done in a call comes before its OnCancel and OnDone. With a suppression of all that is called from gRPC
// instead, no race of a callback of ours would ever be seen.
#include <dlfcn.h>
#include <fcntl.h>
#include <grpc/grpc.h>
#include <grpc/grpc_posix.h>
#include <grpcpp/support/callback_common.h>
#include <grpcpp/support/server_callback.h>
#include <sanitizer/tsan_interface.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

extern char tsan_library_unlocks;  // absl_mutex_tsan.cc

extern "C" grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t nops, void* tag,
                                                 void* reserved) {
  static auto* const next =
      reinterpret_cast<decltype(&grpc_call_start_batch)>(dlsym(RTLD_NEXT, "grpc_call_start_batch"));
  if (next == nullptr) std::abort();
  __tsan_release(tag);
  return next(call, ops, nops, tag, reserved);
}

// A client that waits for its calls: their results are made by gRPC's threads, in strings that the program's own code
// allocates.
extern "C" grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag, gpr_timespec deadline,
                                                  void* reserved) {
  static auto* const next =
      reinterpret_cast<decltype(&grpc_completion_queue_pluck)>(dlsym(RTLD_NEXT, "grpc_completion_queue_pluck"));
  if (next == nullptr) std::abort();
  const grpc_event event = next(queue, tag, deadline, reserved);
  __tsan_acquire(&tsan_library_unlocks);
  return event;
}

// A connection is gRPC's from here on, and closed by it, which the sanitizer does not see: it would take the file that
// has its number next for it. A copy by fcntl is one that it does not know of.
extern "C" void grpc_server_add_channel_from_fd(grpc_server* server, int fd, grpc_server_credentials* credentials) {
  static auto* const next =
      reinterpret_cast<decltype(&grpc_server_add_channel_from_fd)>(dlsym(RTLD_NEXT, "grpc_server_add_channel_from_fd"));
  if (next == nullptr) std::abort();
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return next(server, fd, credentials);
  close(fd);
  next(server, copy, credentials);
}

// In the place of CallbackWithSuccessTag::StaticRun, which every program has from gRPC's headers, as a weak symbol.
extern "C" void CallbackDone(grpc_completion_queue_functor* tag, int ok) asm(
    "_ZN4grpc8internal22CallbackWithSuccessTag9StaticRunEP29grpc_completion_queue_functori");

void CallbackDone(grpc_completion_queue_functor* tag, int ok) {
  __tsan_acquire(tag);
  static_cast<grpc::internal::CallbackWithSuccessTag*>(tag)->force_run(ok != 0);
}

namespace grpc {
namespace internal {

// As the library's, but for the threads, which there are gRPC's own. Some of those that count down are in the library.
void ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  (void)callbacks_outstanding_.load(std::memory_order_acquire);
  if (inline_ondone) return CallOnDone();
  std::thread([this] { CallOnDone(); }).detach();
}

void ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  (void)on_cancel_conditions_remaining_.load(std::memory_order_acquire);
  if (reactor->InternalInlineable()) return reactor->OnCancel();
  Ref();
  std::thread([this, reactor] {
    reactor->OnCancel();
    MaybeDone();
  }).detach();
}

}  // namespace internal
}  // namespace grpc
