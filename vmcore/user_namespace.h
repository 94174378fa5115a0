#ifndef UMLD_VMCORE_USER_NAMESPACE_H_
#define UMLD_VMCORE_USER_NAMESPACE_H_

#include <string>

namespace umld::vmcore {

// Writes to a file of the host's kernel that is there (in /proc, or of a control group), in one write. False: errno
// says why.
bool WriteKernelFile(const std::string& path, const std::string& text);

// Takes this process, which is single-threaded, into a user namespace in which it is who it was, and where it has every
// capability. Once: true also when that has been done before. False: errno says why this host refuses.
bool EnterUserNamespace();

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_USER_NAMESPACE_H_
