#ifndef UMLD_UMLCTL_IMAGE_TRANSFER_H_
#define UMLD_UMLCTL_IMAGE_TRANSFER_H_

#include "umlctl/session.h"

namespace umld::umlctl {

// `image import` and `image export`, below the verb `image`.
void AddImageTransfer(CLI::App* image, Session& session);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_IMAGE_TRANSFER_H_
