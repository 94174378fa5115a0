#include "devices/console/console_history.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/console/printable.h"

namespace umld::devices {

void ConsoleHistory::Append(absl::string_view bytes) {
  if (bytes.size() > capacity_) {
    // What would be overwritten at once is never stored. The blocks hold nothing that stays.
    end_ += bytes.size() - capacity_;
    begin_ = end_;
    bytes.remove_prefix(bytes.size() - capacity_);
    blocks_.clear();
  }
  while (!bytes.empty()) {
    size_t in_block = end_ % kBlockBytes;
    if (in_block == 0 || blocks_.empty()) blocks_.push_back(TakeBlock());
    size_t n = std::min(bytes.size(), kBlockBytes - in_block);
    std::memcpy(blocks_.back().get() + in_block, bytes.data(), n);
    bytes.remove_prefix(n);
    end_ += n;
    if (end_ - begin_ > capacity_) begin_ = end_ - capacity_;
    DropOldBlocks();
  }
}

ConsoleHistory::Block ConsoleHistory::TakeBlock() {
  if (spare_) return std::move(spare_);
  return Block(new char[kBlockBytes]);
}

void ConsoleHistory::DropOldBlocks() {
  uint64_t first = blocks_.empty() ? 0 : (end_ - 1) / kBlockBytes - (blocks_.size() - 1);
  while (!blocks_.empty() && first < begin_ / kBlockBytes) {
    spare_ = std::move(blocks_.front());
    blocks_.pop_front();
    ++first;
  }
}

ConsoleHistory::Chunk ConsoleHistory::Read(uint64_t offset, size_t max) const {
  Chunk chunk;
  chunk.offset = std::clamp(offset, begin_, end_);
  chunk.lost = chunk.offset > offset ? chunk.offset - offset : 0;
  if (chunk.offset == end_) return chunk;
  size_t block = chunk.offset / kBlockBytes - begin_ / kBlockBytes;
  size_t in_block = chunk.offset % kBlockBytes;
  size_t n = std::min<uint64_t>({max, end_ - chunk.offset, kBlockBytes - in_block});
  chunk.bytes = absl::string_view(blocks_[block].get() + in_block, n);
  return chunk;
}

std::vector<std::string> ConsoleHistory::LastLines(size_t n) const {
  // Looking further back than this for n lines would be looking at a screen program, not at lines.
  constexpr uint64_t kLookBack = 64 * 1024;
  std::string text;
  uint64_t at = end_ > kLookBack ? end_ - kLookBack : 0;
  while (true) {
    Chunk chunk = Read(at, kBlockBytes);
    if (chunk.bytes.empty()) break;
    text.append(chunk.bytes.data(), chunk.bytes.size());
    at = chunk.offset + chunk.bytes.size();
  }
  return LastPrintableLines(text, n);
}

}  // namespace umld::devices
