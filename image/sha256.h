#ifndef UMLD_IMAGE_SHA256_H_
#define UMLD_IMAGE_SHA256_H_

#include <openssl/evp.h>

#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace umld::image {

// The sha256 of what was added. Thread: one.
class Sha256 {
 public:
  Sha256();
  void Add(absl::string_view bytes);
  // The 32 bytes; once.
  std::string Take();
  // As images and layers are named: "sha256:HEX"; once.
  std::string TakeName();

 private:
  struct End {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, End> context_;
};

}  // namespace umld::image

#endif  // UMLD_IMAGE_SHA256_H_
