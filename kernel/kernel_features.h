#ifndef UMLD_KERNEL_KERNEL_FEATURES_H_
#define UMLD_KERNEL_KERNEL_FEATURES_H_

#include <string>
#include <vector>

#include "kernel/kernel_reader.h"

namespace umld::kernel {

// What a kernel can do, as its configuration says. All false and empty when it has none.
struct KernelFeatures {
  bool config_known = false;
  bool ubd = false;
  bool mconsole = false;
  std::vector<std::string> network;   // "tuntap", "daemon", ..., "vector"
  std::vector<std::string> consoles;  // "fd", "null", "port", "pty", "tty", "xterm"
  bool serial_lines = false;
  bool virtio = false;
  bool smp = false;
  bool hostfs = false;
  bool modules = false;
  bool dev_mem = false;
  bool initrd = false;
  std::string process_mode;  // "ptrace", "ptrace or seccomp", "tt"; empty: not known
};

KernelFeatures FeaturesOf(const KernelText& text);

// Whether it is known to read a COW file right of whose pages only some sectors are written: the kernels of
// kernel/fast/build have a patch for that (kernel/fast/patches) and say who made them. False: not known.
bool ReadsCowRight(const KernelText& text);

// What its owner should know, a sentence each: first what makes the kernel's process easier to take over from inside,
// and what that is worth to a guest, then what umld will miss.
std::vector<std::string> WarningsOf(const KernelText& text, const KernelFeatures& features);

}  // namespace umld::kernel

#endif  // UMLD_KERNEL_KERNEL_FEATURES_H_
