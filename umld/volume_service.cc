#include "umld/volume_service.h"

#include <utility>

#include "base/status.h"
#include "umld/caller.h"
#include "umld/grpc_status.h"
#include "umld/operation_service.h"

namespace umld {
namespace {

absl::StatusOr<v1::Operation> Shown(const absl::StatusOr<OperationView>& view) {
  if (!view.ok()) return view.status();
  return ToProto(*view);
}

}  // namespace

grpc::ServerUnaryReactor* VolumeService::CreateVolume(grpc::CallbackServerContext* context,
                                                      const v1::CreateVolumeRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this] { return Shown(volumes_->Create(*request)); });
}

grpc::ServerUnaryReactor* VolumeService::GetVolume(grpc::CallbackServerContext* context,
                                                   const v1::GetVolumeRequest* request, v1::Volume* response) {
  return AnswerOnPool<v1::Volume>(context, pool_, response, [=, this] { return volumes_->Get(request->name()); });
}

grpc::ServerUnaryReactor* VolumeService::ListVolumes(grpc::CallbackServerContext* context,
                                                     const v1::ListVolumesRequest* request,
                                                     v1::ListVolumesResponse* response) {
  return AnswerOnPool<v1::ListVolumesResponse>(context, pool_, response,
                                               [=, this] { return volumes_->List(*request); });
}

grpc::ServerUnaryReactor* VolumeService::DeleteVolume(grpc::CallbackServerContext* context,
                                                      const v1::DeleteVolumeRequest* request,
                                                      v1::DeleteVolumeResponse* response) {
  return AnswerOnPool<v1::DeleteVolumeResponse>(context, pool_, response,
                                                [=, this]() -> absl::StatusOr<v1::DeleteVolumeResponse> {
                                                  RETURN_IF_ERROR(volumes_->Delete(request->name()));
                                                  return v1::DeleteVolumeResponse();
                                                });
}

grpc::ServerUnaryReactor* VolumeService::ResizeVolume(grpc::CallbackServerContext* context,
                                                      const v1::ResizeVolumeRequest* request,
                                                      v1::ResizeVolumeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::StatusOr<Caller> caller = CallerOf(*context);
  pool_->Submit([=, this, caller = std::move(caller)] {
    if (!caller.ok()) return Finish(reactor, response, absl::StatusOr<v1::ResizeVolumeResponse>(caller.status()));
    volumes_->Resize(*request, *caller, [=](absl::StatusOr<v1::ResizeVolumeResponse> result) {
      Finish(reactor, response, std::move(result));
    });
  });
  return reactor;
}

grpc::ServerUnaryReactor* VolumeService::ImportVolume(grpc::CallbackServerContext* context,
                                                      const v1::ImportVolumeRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    return Shown(volumes_->Import(*request, caller));
  });
}

grpc::ServerUnaryReactor* VolumeService::ExportVolume(grpc::CallbackServerContext* context,
                                                      const v1::ExportVolumeRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    return Shown(volumes_->Export(*request, caller));
  });
}

}  // namespace umld
