#ifndef UMLD_VMCORE_SYSCALL_LIST_H_
#define UMLD_VMCORE_SYSCALL_LIST_H_

#include <cstdint>
#include <optional>
#include <vector>

namespace umld::vmcore {

// What a strict guest's kernel process, its helpers and its stubs may ask of the host: every system call that is not
// named here ends the guest. Data alone; seccomp_filter.h makes the filter of it.
struct CallRule {
  enum class If : uint8_t {
    kAlways,
    kEquals,   // the argument, as an int, is one of `values`
    kNoBits,   // it has none of the bits of values[0]
    kAllBits,  // it has all of them
    kNull,     // it is a null pointer
  };
  const char* name;
  If condition = If::kAlways;
  unsigned argument = 0;  // counted from 0
  std::vector<uint32_t> values = {};
  int error = 0;                      // not 0: the call is not allowed, but fails with this, and the guest goes on
  bool by_vmcore = false;             // the call is not allowed, but vmcore answers it, and the guest goes on
  std::optional<uint32_t> next = {};  // with kEquals: and the argument after it is this
};

// Calls that are allowed for the same reason.
struct CallGroup {
  const char* name;
  const char* reason;
  std::vector<CallRule> rules;
};

// All of them. A call may have several rules: each says what becomes of what it names.
const std::vector<CallGroup>& SyscallList();

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_SYSCALL_LIST_H_
