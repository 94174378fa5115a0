#ifndef UMLD_UMLD_KERNEL_SERVICE_H_
#define UMLD_UMLD_KERNEL_SERVICE_H_

#include "umld/kernels.h"
#include "umld/v1/kernels.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of Kernels.
class KernelService final : public v1::Kernels::CallbackService {
 public:
  KernelService(Kernels* kernels, WorkerPool* pool) : kernels_(kernels), pool_(pool) {}
  grpc::ServerUnaryReactor* ListKernels(grpc::CallbackServerContext*, const v1::ListKernelsRequest*,
                                        v1::ListKernelsResponse*) override;
  grpc::ServerUnaryReactor* GetKernel(grpc::CallbackServerContext*, const v1::GetKernelRequest*, v1::Kernel*) override;
  grpc::ServerUnaryReactor* GetKernelConfig(grpc::CallbackServerContext*, const v1::GetKernelConfigRequest*,
                                            v1::KernelConfig*) override;
  grpc::ServerUnaryReactor* ImportKernel(grpc::CallbackServerContext*, const v1::ImportKernelRequest*,
                                         v1::Operation*) override;
  grpc::ServerUnaryReactor* BuildKernel(grpc::CallbackServerContext*, const v1::BuildKernelRequest*,
                                        v1::Operation*) override;
  grpc::ServerUnaryReactor* SetDefaultKernel(grpc::CallbackServerContext*, const v1::SetDefaultKernelRequest*,
                                             v1::Kernel*) override;
  grpc::ServerUnaryReactor* DeleteKernel(grpc::CallbackServerContext*, const v1::DeleteKernelRequest*,
                                         v1::DeleteKernelResponse*) override;

 private:
  Kernels* const kernels_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_KERNEL_SERVICE_H_
