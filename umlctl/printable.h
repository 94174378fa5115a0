#ifndef UMLD_UMLCTL_PRINTABLE_H_
#define UMLD_UMLCTL_PRINTABLE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace umld::umlctl {

// Makes bytes that a guest chose safe to show on a terminal. Newline, tab and valid UTF-8 pass; colour and cursor
// sequences (CSI) and the carriage return before a newline are dropped; every other control character, C1 included, is
// shown as ^X, and a byte that is not UTF-8 as '?'.
// Thread: any one; a stream in pieces gives the same as in one.
class PrintableStream {
 public:
  std::string Feed(absl::string_view bytes);
  // What was held back because it might have been the start of a sequence.
  std::string Finish();

 private:
  void Put(unsigned char byte, std::string& out);
  void FlushHeld(std::string& out);

  // Bytes of an unfinished sequence: ESC [ ..., a UTF-8 character, or '\r'.
  std::string held_;
};

// The same for a whole text.
std::string Printable(absl::string_view text);

// The same on one line: newlines and tabs become spaces.
std::string PrintableLine(absl::string_view text);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_PRINTABLE_H_
