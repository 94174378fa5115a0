#ifndef UMLD_UMLD_TRANSFER_SERVICE_H_
#define UMLD_UMLD_TRANSFER_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "umld/cow_commits.h"
#include "umld/guest_export.h"
#include "umld/guest_import.h"
#include "umld/v1/transfer.grpc.pb.h"
#include "umld/volumes.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of what comes and goes as a stream, and of commits into backing files.
class TransferService final : public v1::Transfer::CallbackService {
 public:
  // All outlive it. `pool` does the work.
  TransferService(GuestExports* exports, GuestImports* imports, Volumes* volumes, CowCommits* commits, WorkerPool* pool)
      : exports_(exports), imports_(imports), volumes_(volumes), commits_(commits), pool_(pool) {}

  grpc::ServerWriteReactor<v1::ExportGuestResponse>* ExportGuest(grpc::CallbackServerContext*,
                                                                 const v1::ExportGuestRequest*) override;
  grpc::ServerReadReactor<v1::ImportGuestRequest>* ImportGuest(grpc::CallbackServerContext*,
                                                               v1::ImportGuestResponse*) override;
  grpc::ServerWriteReactor<v1::DownloadVolumeResponse>* DownloadVolume(grpc::CallbackServerContext*,
                                                                       const v1::DownloadVolumeRequest*) override;
  grpc::ServerUnaryReactor* CommitDiskFile(grpc::CallbackServerContext*, const v1::CommitDiskFileRequest*,
                                           v1::Operation*) override;

 private:
  GuestExports* const exports_;
  GuestImports* const imports_;
  Volumes* const volumes_;
  CowCommits* const commits_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_TRANSFER_SERVICE_H_
