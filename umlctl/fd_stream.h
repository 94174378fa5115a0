#ifndef UMLD_UMLCTL_FD_STREAM_H_
#define UMLD_UMLCTL_FD_STREAM_H_

#include <array>
#include <streambuf>

namespace umld::umlctl {

// A buffer for std::ostream over a file descriptor, which it does not own, that remembers why a write failed: a reader
// that has gone (EPIPE) is no error, a full disk is one. Thread: one.
class FdStreamBuf : public std::streambuf {
 public:
  explicit FdStreamBuf(int fd);

  // errno of the first write that failed; 0: none has.
  int error() const { return error_; }

 protected:
  int_type overflow(int_type c) override;
  int sync() override;

 private:
  int fd_;
  int error_ = 0;
  std::array<char, 8192> buffer_;
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_FD_STREAM_H_
