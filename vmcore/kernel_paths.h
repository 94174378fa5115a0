#ifndef UMLD_VMCORE_KERNEL_PATHS_H_
#define UMLD_VMCORE_KERNEL_PATHS_H_

namespace umld::vmcore {

// What is in the guest's runtime directory, which is the working directory of vmcore and of the kernel. Relative, these
// paths mean the same to both, confined or not, and those of sockets are short.

// The kernel's own: confined, it is a tmpfs of the kernel's, and in the runtime directory a link, which leads there for
// vmcore alone. A kernel that was taken over may put whatever it likes here, symbolic links above all: as long as it
// runs vmcore makes and removes nothing below a folder of it, and follows no link in it.
inline constexpr char kKernelFolder[] = "kernel";
inline constexpr char kUmlDir[] = "kernel/uml";  // umid directories: pid file and mconsole socket
inline constexpr char kNotifySocket[] = "kernel/notify.sock";
inline constexpr char kUbdaPlaceholder[] =
    "kernel/ubda";                                        // what ubda is when none is given: a disk that can be removed
inline constexpr char kScratchDisk[] = "kernel/scratch";  // a disk for a moment

// vmcore's own, made new for every kernel, which sees it and cannot write there: the sockets that its mconsole answers
// to, and the links of disks with long paths.
inline constexpr char kShownFolder[] = "shown";

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_KERNEL_PATHS_H_
