#include "umld/kernel_service.h"

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "umld/caller.h"
#include "umld/grpc_status.h"
#include "umld/operation_service.h"

namespace umld {

using Context = grpc::CallbackServerContext;
using Reactor = grpc::ServerUnaryReactor;

Reactor* KernelService::ListKernels(Context* context, const v1::ListKernelsRequest*,
                                    v1::ListKernelsResponse* response) {
  return AnswerOnPool<v1::ListKernelsResponse>(context, pool_, response,
                                               [this]() -> absl::StatusOr<v1::ListKernelsResponse> {
                                                 ASSIGN_OR_RETURN(std::vector<v1::Kernel> kernels, kernels_->List());
                                                 v1::ListKernelsResponse list;
                                                 for (v1::Kernel& kernel : kernels) {
                                                   *list.add_kernels() = std::move(kernel);
                                                 }
                                                 return list;
                                               });
}

Reactor* KernelService::GetKernel(Context* context, const v1::GetKernelRequest* request, v1::Kernel* response) {
  return AnswerOnPool<v1::Kernel>(context, pool_, response, [=, this] { return kernels_->Get(request->name()); });
}

Reactor* KernelService::GetKernelConfig(Context* context, const v1::GetKernelConfigRequest* request,
                                        v1::KernelConfig* response) {
  return AnswerOnPool<v1::KernelConfig>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::KernelConfig> {
    v1::KernelConfig config;
    ASSIGN_OR_RETURN(*config.mutable_text(), kernels_->Config(request->name()));
    return config;
  });
}

Reactor* KernelService::ImportKernel(Context* context, const v1::ImportKernelRequest* request,
                                     v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    ASSIGN_OR_RETURN(OperationView view, kernels_->Import(*request, caller));
    return ToProto(view);
  });
}

Reactor* KernelService::BuildKernel(Context* context, const v1::BuildKernelRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    ASSIGN_OR_RETURN(OperationView view, kernels_->Build(*request, caller));
    return ToProto(view);
  });
}

Reactor* KernelService::SetDefaultKernel(Context* context, const v1::SetDefaultKernelRequest* request,
                                         v1::Kernel* response) {
  return AnswerOnPool<v1::Kernel>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Kernel> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    return kernels_->SetDefault(request->name(), caller);
  });
}

Reactor* KernelService::DeleteKernel(Context* context, const v1::DeleteKernelRequest* request,
                                     v1::DeleteKernelResponse* response) {
  return AnswerOnPool<v1::DeleteKernelResponse>(context, pool_, response,
                                                [=, this]() -> absl::StatusOr<v1::DeleteKernelResponse> {
                                                  ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
                                                  RETURN_IF_ERROR(kernels_->Delete(request->name(), caller));
                                                  return v1::DeleteKernelResponse();
                                                });
}

}  // namespace umld
