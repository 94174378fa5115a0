#include "umld/image_service.h"

#include <utility>
#include <vector>

#include "base/status.h"
#include "umld/grpc_status.h"
#include "umld/operation_service.h"

namespace umld {
namespace {

absl::StatusOr<v1::Operation> Shown(const absl::StatusOr<OperationView>& view) {
  if (!view.ok()) return view.status();
  return ToProto(*view);
}

}  // namespace

grpc::ServerUnaryReactor* ImageService::ListImages(grpc::CallbackServerContext* context, const v1::ListImagesRequest*,
                                                   v1::ListImagesResponse* response) {
  return AnswerOnPool<v1::ListImagesResponse>(context, pool_, response,
                                              [this]() -> absl::StatusOr<v1::ListImagesResponse> {
                                                ASSIGN_OR_RETURN(std::vector<v1::Image> images, images_->List());
                                                v1::ListImagesResponse list;
                                                for (v1::Image& image : images) *list.add_images() = std::move(image);
                                                return list;
                                              });
}

grpc::ServerUnaryReactor* ImageService::GetImage(grpc::CallbackServerContext* context,
                                                 const v1::GetImageRequest* request, v1::Image* response) {
  return AnswerOnPool<v1::Image>(context, pool_, response, [=, this] { return images_->Get(request->name()); });
}

grpc::ServerUnaryReactor* ImageService::BuildImage(grpc::CallbackServerContext* context,
                                                   const v1::BuildImageRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this] { return Shown(images_->Build(*request)); });
}

grpc::ServerUnaryReactor* ImageService::TagImage(grpc::CallbackServerContext* context,
                                                 const v1::TagImageRequest* request, v1::Image* response) {
  return AnswerOnPool<v1::Image>(context, pool_, response, [=, this] { return images_->Tag(*request); });
}

grpc::ServerUnaryReactor* ImageService::DeleteImage(grpc::CallbackServerContext* context,
                                                    const v1::DeleteImageRequest* request,
                                                    v1::DeleteImageResponse* response) {
  return AnswerOnPool<v1::DeleteImageResponse>(context, pool_, response,
                                               [=, this]() -> absl::StatusOr<v1::DeleteImageResponse> {
                                                 RETURN_IF_ERROR(images_->Delete(request->name()));
                                                 return v1::DeleteImageResponse();
                                               });
}

grpc::ServerUnaryReactor* ImageService::PruneImages(grpc::CallbackServerContext* context, const v1::PruneImagesRequest*,
                                                    v1::PruneImagesResponse* response) {
  return AnswerOnPool<v1::PruneImagesResponse>(context, pool_, response, [this] { return images_->Prune(); });
}

grpc::ServerUnaryReactor* ImageService::VerifyImage(grpc::CallbackServerContext* context,
                                                    const v1::VerifyImageRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this] { return Shown(images_->Verify(*request)); });
}

}  // namespace umld
