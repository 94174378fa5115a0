#ifndef UMLD_KERNEL_KERNEL_READER_H_
#define UMLD_KERNEL_KERNEL_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace umld::kernel {

// What a UML kernel's file says of itself. Strings are printable ASCII of bounded length.
struct KernelText {
  std::string version;   // "6.1.176", as `uname -r` and the folder of its modules say; empty: it has no banner
  std::string banner;    // "Linux version 6.1.176 (...) #1 ..."
  std::string build_id;  // in hexadecimal; empty: it has none
  // "CONFIG_64BIT=y" and "# CONFIG_SMP is not set", in the order of `--showconfig`, which prints the same strings: they
  // are compiled into every UML kernel (arch/um/kernel/config.c). Empty: it has none.
  std::vector<std::string> config;
  // It has UML's seccomp mode, which the argument seccomp= turns on.
  bool has_seccomp_mode = false;
};

// Reads a kernel without running it: all of this lies in its file as plain strings. `name` is for errors.
// Blocks on the disk: it reads the whole file, 10 MB in 10 ms. kInvalidArgument NOT_A_UML_KERNEL, also for a file that
// is made to take for ever.
absl::StatusOr<KernelText> ReadKernel(int fd, const std::string& name);

// The build id of a file with debug symbols, in hexadecimal. kInvalidArgument NO_SYMBOLS: it has none, or no build id.
absl::StatusOr<std::string> ReadSymbols(int fd, const std::string& name);

}  // namespace umld::kernel

#endif  // UMLD_KERNEL_KERNEL_READER_H_
