#ifndef UMLD_UMLD_OPERATION_SERVICE_H_
#define UMLD_UMLD_OPERATION_SERVICE_H_

#include "umld/operations.h"
#include "umld/v1/services.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

v1::Operation ToProto(const OperationView& operation);

// The gRPC edge of Operations.
class OperationService final : public v1::Operations::CallbackService {
 public:
  OperationService(Operations* operations, WorkerPool* pool) : operations_(operations), pool_(pool) {}

  grpc::ServerUnaryReactor* GetOperation(grpc::CallbackServerContext*, const v1::GetOperationRequest*,
                                         v1::Operation*) override;
  grpc::ServerUnaryReactor* ListOperations(grpc::CallbackServerContext*, const v1::ListOperationsRequest*,
                                           v1::ListOperationsResponse*) override;
  grpc::ServerUnaryReactor* WaitOperation(grpc::CallbackServerContext*, const v1::WaitOperationRequest*,
                                          v1::Operation*) override;
  grpc::ServerUnaryReactor* CancelOperation(grpc::CallbackServerContext*, const v1::CancelOperationRequest*,
                                            v1::Operation*) override;

 private:
  Operations* const operations_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_OPERATION_SERVICE_H_
