#ifndef UMLD_VMCORE_MCONSOLE_WIRE_H_
#define UMLD_VMCORE_MCONSOLE_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace umld::vmcore {

// The datagrams of UML's management console (arch/um/drivers/mconsole.h), in the host's byte order. All of it is pure,
// and takes whatever bytes a guest's kernel sends.

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

// One kernel's answer to one command. An `error` other than 0 is still an answer.
struct MconsoleAnswer {
  int error = 0;  // 0, 1 or -errno, of the first fragment
  // All fragments together, without the NULs that end them; what is no text in ASCII is '?'. At most
  // kMaxMconsoleAnswer.
  std::string text;
};
inline constexpr size_t kMaxMconsoleAnswer = size_t{1} << 20;

// Puts one answer together. Fragments come in their order; what is too short to be one is passed over.
class MconsoleAnswerReader {
 public:
  // True: that was the last one, and no more are to come.
  bool Take(absl::string_view datagram);
  // No fragment has come yet.
  bool empty() const { return empty_; }
  const MconsoleAnswer& answer() const { return answer_; }

 private:
  bool empty_ = true;
  MconsoleAnswer answer_;
};

struct MconsoleNotification {
  MconsoleNotifyType type = MconsoleNotifyType::kSocket;
  absl::string_view data;  // part of the datagram
};
// nullopt: no kernel's notification.
std::optional<MconsoleNotification> ParseMconsoleNotification(absl::string_view datagram);
// The datagram that announces a kernel's mconsole at `path`.
std::string MconsoleAnnouncement(const std::string& path);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_MCONSOLE_WIRE_H_
