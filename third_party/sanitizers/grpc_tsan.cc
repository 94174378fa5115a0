// For --config=tsan alone. gRPC is the system's and built without the sanitizer, which does not see that whoever asked
// for something comes before the callback that says that it is done. These two say so: without them every callback
// would be a race with whatever was written before it was asked for, and with a suppression of all that is called from
// gRPC, no race of a callback would ever be seen.
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <grpcpp/support/callback_common.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>

extern "C" grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t nops, void* tag,
                                                 void* reserved) {
  static auto* const next =
      reinterpret_cast<decltype(&grpc_call_start_batch)>(dlsym(RTLD_NEXT, "grpc_call_start_batch"));
  if (next == nullptr) std::abort();
  __tsan_release(tag);
  return next(call, ops, nops, tag, reserved);
}

// In the place of CallbackWithSuccessTag::StaticRun, which every program has from gRPC's headers, as a weak symbol.
extern "C" void CallbackDone(grpc_completion_queue_functor* tag, int ok) asm(
    "_ZN4grpc8internal22CallbackWithSuccessTag9StaticRunEP29grpc_completion_queue_functori");

void CallbackDone(grpc_completion_queue_functor* tag, int ok) {
  __tsan_acquire(tag);
  static_cast<grpc::internal::CallbackWithSuccessTag*>(tag)->force_run(ok != 0);
}
