#ifndef UMLD_BASE_UMID_H_
#define UMLD_BASE_UMID_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld {

// The name of a guest, as UML calls it: 1 to 64 of letters, digits, '-', '_', '.', beginning with a letter, a digit or
// '_'. It becomes a folder name, a hostname and a kernel argument, so nothing else is let in.
class Umid {
 public:
  static constexpr size_t kMaxLength = 64;

  // kInvalidArgument names the first offending character.
  static absl::StatusOr<Umid> Parse(absl::string_view text);
  // "guest-" and eight random lower-case letters and digits.
  static Umid Random();

  const std::string& str() const { return text_; }
  friend bool operator==(const Umid&, const Umid&) = default;

 private:
  explicit Umid(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

}  // namespace umld

#endif  // UMLD_BASE_UMID_H_
