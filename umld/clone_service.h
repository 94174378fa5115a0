#ifndef UMLD_UMLD_CLONE_SERVICE_H_
#define UMLD_UMLD_CLONE_SERVICE_H_

#include "umld/clones.h"
#include "umld/v1/clones.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of Clones.
class CloneService final : public v1::Clones::CallbackService {
 public:
  CloneService(Clones* clones, WorkerPool* pool) : clones_(clones), pool_(pool) {}

  grpc::ServerUnaryReactor* CloneGuest(grpc::CallbackServerContext*, const v1::CloneGuestRequest*,
                                       v1::Operation*) override;
  grpc::ServerUnaryReactor* GetCloneReport(grpc::CallbackServerContext*, const v1::GetCloneReportRequest*,
                                           v1::CloneReport*) override;

 private:
  Clones* const clones_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_CLONE_SERVICE_H_
