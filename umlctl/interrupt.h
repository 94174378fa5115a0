#ifndef UMLD_UMLCTL_INTERRUPT_H_
#define UMLD_UMLCTL_INTERRUPT_H_

namespace umld::umlctl {

// While it lives, Ctrl-C says that what was asked of the daemon goes on, and ends the program with 130.
// Thread: one object at a time.
class InterruptNotice {
 public:
  InterruptNotice();
  InterruptNotice(const InterruptNotice&) = delete;
  InterruptNotice& operator=(const InterruptNotice&) = delete;
  ~InterruptNotice();
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_INTERRUPT_H_
