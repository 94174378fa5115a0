#ifndef UMLD_UMLCTL_SCREEN_H_
#define UMLD_UMLCTL_SCREEN_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace umld::umlctl {

// What a key is when it is no character.
inline constexpr int kNoKey = -1, kKeyUp = 1001, kKeyDown = 1002, kKeyPageUp = 1003, kKeyPageDown = 1004,
                     kKeyHome = 1005, kKeyEnd = 1006, kKeyOther = 1007;
inline constexpr int kKeyEscape = 27, kKeyControlC = 3;

// The terminal of standard input and output, whole, in ncurses' hands; as it was before when this is gone. No key
// becomes a signal, so that every way out goes through the destructor.
// Thread: one object at a time, one thread.
class Screen {
 public:
  // Both are terminals. kFailedPrecondition: of a type that is not known.
  static absl::StatusOr<std::unique_ptr<Screen>> Open();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  size_t rows() const;
  size_t columns() const;
  // The terminal has this size now.
  void Resize(int rows, int columns);
  // Replaces all that is shown; line `heading` is set apart.
  void Show(const std::vector<std::string>& lines, size_t heading);
  // A key that has been pressed; kNoKey: none. Does not block.
  int ReadKey();

 private:
  explicit Screen(void* screen) : screen_(screen) {}
  void* const screen_;  // ncurses' SCREEN
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_SCREEN_H_
