#ifndef UMLD_KERNEL_FAST_KERNEL_FILES_H_
#define UMLD_KERNEL_FAST_KERNEL_FILES_H_

#include <vector>

#include "base/embedded_file.h"

namespace umld {

// kernel/fast/: what builds the fast kernel. "/build" is the program.
std::vector<EmbeddedFile> FastKernelFiles();

}  // namespace umld

#endif  // UMLD_KERNEL_FAST_KERNEL_FILES_H_
