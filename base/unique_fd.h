#ifndef UMLD_BASE_UNIQUE_FD_H_
#define UMLD_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace umld {

// Owns one file descriptor and closes it. Everything that opens one in this project hands it over as a UniqueFd.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  bool ok() const { return fd_ >= 0; }
  // For system calls; the UniqueFd stays the owner.
  int get() const { return fd_; }
  // Gives ownership away.
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace umld

#endif  // UMLD_BASE_UNIQUE_FD_H_
