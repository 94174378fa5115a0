#ifndef UMLD_UMLD_VOLUME_SERVICE_H_
#define UMLD_UMLD_VOLUME_SERVICE_H_

#include "umld/v1/volumes.grpc.pb.h"
#include "umld/volumes.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of Volumes.
class VolumeService final : public v1::Volumes::CallbackService {
 public:
  VolumeService(Volumes* volumes, WorkerPool* pool) : volumes_(volumes), pool_(pool) {}

  grpc::ServerUnaryReactor* CreateVolume(grpc::CallbackServerContext*, const v1::CreateVolumeRequest*,
                                         v1::Operation*) override;
  grpc::ServerUnaryReactor* GetVolume(grpc::CallbackServerContext*, const v1::GetVolumeRequest*, v1::Volume*) override;
  grpc::ServerUnaryReactor* ListVolumes(grpc::CallbackServerContext*, const v1::ListVolumesRequest*,
                                        v1::ListVolumesResponse*) override;
  grpc::ServerUnaryReactor* DeleteVolume(grpc::CallbackServerContext*, const v1::DeleteVolumeRequest*,
                                         v1::DeleteVolumeResponse*) override;
  grpc::ServerUnaryReactor* ResizeVolume(grpc::CallbackServerContext*, const v1::ResizeVolumeRequest*,
                                         v1::ResizeVolumeResponse*) override;
  grpc::ServerUnaryReactor* ImportVolume(grpc::CallbackServerContext*, const v1::ImportVolumeRequest*,
                                         v1::Operation*) override;
  grpc::ServerUnaryReactor* ExportVolume(grpc::CallbackServerContext*, const v1::ExportVolumeRequest*,
                                         v1::Operation*) override;

 private:
  Volumes* const volumes_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_VOLUME_SERVICE_H_
