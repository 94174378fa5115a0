#ifndef UMLD_UMLD_IMAGE_SERVICE_H_
#define UMLD_UMLD_IMAGE_SERVICE_H_

#include "umld/images.h"
#include "umld/v1/images.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of Images.
class ImageService final : public v1::Images::CallbackService {
 public:
  ImageService(Images* images, WorkerPool* pool) : images_(images), pool_(pool) {}

  grpc::ServerUnaryReactor* ListImages(grpc::CallbackServerContext*, const v1::ListImagesRequest*,
                                       v1::ListImagesResponse*) override;
  grpc::ServerUnaryReactor* GetImage(grpc::CallbackServerContext*, const v1::GetImageRequest*, v1::Image*) override;
  grpc::ServerUnaryReactor* BuildImage(grpc::CallbackServerContext*, const v1::BuildImageRequest*,
                                       v1::Operation*) override;
  grpc::ServerUnaryReactor* ImportImage(grpc::CallbackServerContext*, const v1::ImportImageRequest*,
                                        v1::Operation*) override;
  grpc::ServerReadReactor<v1::UploadImageRequest>* UploadImage(grpc::CallbackServerContext*, v1::Operation*) override;
  grpc::ServerUnaryReactor* TagImage(grpc::CallbackServerContext*, const v1::TagImageRequest*, v1::Image*) override;
  grpc::ServerUnaryReactor* DeleteImage(grpc::CallbackServerContext*, const v1::DeleteImageRequest*,
                                        v1::DeleteImageResponse*) override;
  grpc::ServerUnaryReactor* PruneImages(grpc::CallbackServerContext*, const v1::PruneImagesRequest*,
                                        v1::PruneImagesResponse*) override;
  grpc::ServerUnaryReactor* VerifyImage(grpc::CallbackServerContext*, const v1::VerifyImageRequest*,
                                        v1::Operation*) override;
  grpc::ServerUnaryReactor* ExportImage(grpc::CallbackServerContext*, const v1::ExportImageRequest*,
                                        v1::Operation*) override;
  grpc::ServerWriteReactor<v1::DownloadImageResponse>* DownloadImage(grpc::CallbackServerContext*,
                                                                     const v1::DownloadImageRequest*) override;

 private:
  Images* const images_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_IMAGE_SERVICE_H_
