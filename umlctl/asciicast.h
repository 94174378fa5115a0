#ifndef UMLD_UMLCTL_ASCIICAST_H_
#define UMLD_UMLCTL_ASCIICAST_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace umld::umlctl {

// A recording of a terminal session in asciicast v2, which asciinema plays: a header, then a line for each event. Every
// event is in the file when its call returns, so a recorder that is killed leaves a recording.
// Thread: one at a time. Blocks on the disk's cache.
class Asciicast {
 public:
  struct Options {
    std::string path;
    std::string title;
    uint16_t rows = 24, columns = 80;
    // Bytes; a file is closed before it would exceed this. 0: no limit.
    uint64_t max_bytes = 0;
    // Closed files that are kept, PATH.1 the youngest. 0: none, and nothing is recorded past the limit.
    uint32_t keep = 0;
  };
  // kAlreadyExists: there is a file. kInvalidArgument: the limit is too small for anything. Otherwise as ErrnoError.
  static absl::StatusOr<Asciicast> Create(Options options, absl::Time now);

  // What was printed, or typed. Bytes may come in any pieces: a character that is cut waits for its rest, and what is
  // no UTF-8 becomes U+FFFD.
  absl::Status Output(absl::string_view bytes, absl::Time now) { return Add('o', bytes, &cut_output_, now); }
  absl::Status Input(absl::string_view bytes, absl::Time now) { return Add('i', bytes, &cut_input_, now); }
  // A word of the recorder's own; players skip it or show it as a bookmark.
  absl::Status Marker(absl::string_view text, absl::Time now);

  // The limit was reached, and there is no further file: nothing is recorded any more.
  bool full() const { return full_; }

 private:
  explicit Asciicast(Options options) : options_(std::move(options)) {}

  absl::Status Begin(absl::Time now);
  absl::Status Rotate(absl::Time now);
  absl::Status Add(char kind, absl::string_view bytes, std::string* cut, absl::Time now);
  absl::Status Write(char kind, const std::string& text, absl::Time now);

  Options options_;
  UniqueFd fd_;
  absl::Time begin_;
  uint64_t size_ = 0;
  bool full_ = false;
  std::string cut_output_, cut_input_;  // the first bytes of a character
};

// The length of the longest end of `bytes` that is the beginning of a UTF-8 character, and no whole one: 0 to 3. Pure.
size_t CutCharacter(absl::string_view bytes);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_ASCIICAST_H_
