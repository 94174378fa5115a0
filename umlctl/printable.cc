#include "umlctl/printable.h"

#include <cstddef>

namespace umld::umlctl {
namespace {

constexpr unsigned char kEscape = 0x1b;
// Longer than any real CSI sequence; what goes on beyond it is text that tries to hide.
constexpr size_t kMaxSequence = 32;

// 0: not the first byte of a character.
size_t Utf8Length(unsigned char first) {
  if (first >= 0xc2 && first <= 0xdf) return 2;
  if (first >= 0xe0 && first <= 0xef) return 3;
  if (first >= 0xf0 && first <= 0xf4) return 4;
  return 0;
}

// Whether `second` may follow `first`: refuses overlong forms, surrogates and what is above U+10FFFF.
bool Utf8SecondByteFits(unsigned char first, unsigned char second) {
  if (second < 0x80 || second > 0xbf) return false;
  switch (first) {
    case 0xe0:
      return second >= 0xa0;
    case 0xed:
      return second <= 0x9f;
    case 0xf0:
      return second >= 0x90;
    case 0xf4:
      return second <= 0x8f;
    default:
      return true;
  }
}

void PutCaret(unsigned char control, std::string& out) {
  out += '^';
  out += static_cast<char>(control ^ 0x40);
}

}  // namespace

void PrintableStream::FlushHeld(std::string& out) {
  std::string held = std::move(held_);
  held_.clear();
  if (held.empty()) return;
  const auto first = static_cast<unsigned char>(held[0]);
  if (first == kEscape || first == '\r') {
    PutCaret(first, out);
    out.append(held, 1, std::string::npos);
  } else {
    out += '?';
  }
}

void PrintableStream::Put(unsigned char byte, std::string& out) {
  if (!held_.empty()) {
    const auto first = static_cast<unsigned char>(held_[0]);
    if (first == '\r') {
      // Terminals send \r\r\n too.
      if (byte == '\r') return;
      if (byte == '\n') {
        held_.clear();
      } else {
        FlushHeld(out);
      }
    } else if (first == kEscape) {
      const bool begins = held_.size() == 1 && byte == '[';
      const bool inside = held_.size() > 1 && byte >= 0x20 && byte <= 0x3f;
      const bool ends = held_.size() > 1 && byte >= 0x40 && byte <= 0x7e;
      if (ends) {
        held_.clear();
        return;
      }
      if ((begins || inside) && held_.size() < kMaxSequence) {
        held_ += static_cast<char>(byte);
        return;
      }
      FlushHeld(out);
    } else {
      const bool fits = held_.size() == 1 ? Utf8SecondByteFits(first, byte) : byte >= 0x80 && byte <= 0xbf;
      if (!fits) {
        FlushHeld(out);
      } else {
        held_ += static_cast<char>(byte);
        if (held_.size() < Utf8Length(first)) return;
        // U+0080 to U+009F are controls (U+009B is CSI to some terminals).
        if (first == 0xc2 && byte < 0xa0) {
          PutCaret(byte ^ 0x80, out);
        } else {
          out += held_;
        }
        held_.clear();
        return;
      }
    }
  }
  if (byte == kEscape || byte == '\r' || Utf8Length(byte) != 0) {
    held_ = static_cast<char>(byte);
  } else if (byte == '\n' || byte == '\t' || (byte >= 0x20 && byte < 0x7f)) {
    out += static_cast<char>(byte);
  } else if (byte < 0x20 || byte == 0x7f) {
    PutCaret(byte, out);
  } else {
    out += '?';
  }
}

std::string PrintableStream::Feed(absl::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (char c : bytes) Put(static_cast<unsigned char>(c), out);
  return out;
}

std::string PrintableStream::Finish() {
  std::string out;
  FlushHeld(out);
  return out;
}

std::string Printable(absl::string_view text) {
  PrintableStream stream;
  std::string out = stream.Feed(text);
  out += stream.Finish();
  return out;
}

std::string PrintableLine(absl::string_view text) {
  std::string out = Printable(text);
  for (char& c : out) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  return out;
}

}  // namespace umld::umlctl
