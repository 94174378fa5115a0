#ifndef UMLD_VMCORE_MCONSOLE_WIRE_H_
#define UMLD_VMCORE_MCONSOLE_WIRE_H_

#include <cstddef>
#include <cstdint>

namespace umld::vmcore {

// The datagrams of UML's management console (arch/um/drivers/mconsole.h), in the host's byte order.

inline constexpr uint32_t kMconsoleMagic = 0xcafebabe;
inline constexpr uint32_t kMconsoleVersion = 2;
inline constexpr size_t kMconsoleDataBytes = 512;
inline constexpr size_t kMaxMconsoleCommand = kMconsoleDataBytes - 1;

// Followed by `length` bytes of text; not one byte less, or the kernel reads what the request before left behind.
struct MconsoleRequestHeader {
  uint32_t magic;
  uint32_t version;
  uint32_t length;
};

// Followed by `length` bytes of text, the last one a NUL. `error` is 0, 1 or -errno, and meant in the first fragment
// alone. A fragment with `more` == 0 is the last.
struct MconsoleReplyHeader {
  int32_t error;
  uint32_t more;
  uint32_t length;
};

struct MconsoleNotifyHeader {
  uint32_t magic;
  uint32_t version;
  uint32_t type;
  uint32_t length;
};

enum class MconsoleNotifyType : uint32_t { kSocket = 0, kPanic = 1, kHang = 2, kUser = 3 };

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_MCONSOLE_WIRE_H_
