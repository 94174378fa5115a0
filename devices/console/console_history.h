#ifndef UMLD_DEVICES_CONSOLE_CONSOLE_HISTORY_H_
#define UMLD_DEVICES_CONSOLE_CONSOLE_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace umld::devices {

// The last bytes that a console printed, each known by its offset since the console began.
// Takes memory only as bytes arrive: at most `capacity` and two blocks of 4 KiB. Thread: its owner's. Never blocks.
class ConsoleHistory {
 public:
  // Bytes. At least 1.
  explicit ConsoleHistory(size_t capacity) : capacity_(capacity) {}

  void Append(absl::string_view bytes);

  // The oldest byte still held, and the one that will come next.
  uint64_t begin_offset() const { return begin_; }
  uint64_t end_offset() const { return end_; }

  struct Chunk {
    uint64_t offset = 0;      // of the first byte; more than what was asked for when that is gone
    uint64_t lost = 0;        // bytes between what was asked for and `offset`
    absl::string_view bytes;  // valid until the next Append; empty: nothing there yet
  };
  // From `offset` on, at most `max` bytes and seldom more than 4 KiB: call again with offset + bytes.size() for the
  // rest. An offset past the end is the end.
  Chunk Read(uint64_t offset, size_t max) const;

  // The last `n` lines fit to be shown anywhere: no escape sequences, no control characters, valid UTF-8, no empty
  // lines, each at most 512 bytes. For messages; not for replay.
  std::vector<std::string> LastLines(size_t n) const;

 private:
  static constexpr size_t kBlockBytes = 4096;
  using Block = std::unique_ptr<char[]>;

  Block TakeBlock();
  void DropOldBlocks();

  size_t capacity_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  // blocks_[0] holds the offsets from begin_ rounded down to kBlockBytes.
  std::deque<Block> blocks_;
  Block spare_;  // the last one dropped, to be used next
};

}  // namespace umld::devices

#endif  // UMLD_DEVICES_CONSOLE_CONSOLE_HISTORY_H_
