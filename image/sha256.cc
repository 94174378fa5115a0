#include "image/sha256.h"

#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace umld::image {
namespace {

// Fails only without memory, or in a build of the library without sha256.
void Check(bool ok) {
  if (!ok) std::abort();
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  Check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

void Sha256::Add(absl::string_view bytes) { Check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1); }

std::string Sha256::Take() {
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned int length = 0;
  Check(EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), &length) == 1);
  digest.resize(length);
  return digest;
}

std::string Sha256::TakeName() { return absl::StrCat("sha256:", absl::BytesToHexString(Take())); }

}  // namespace umld::image
