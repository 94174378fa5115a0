#ifndef UMLD_VMCORE_JAIL_CONTROLS_H_
#define UMLD_VMCORE_JAIL_CONTROLS_H_

namespace umld::vmcore {

// Whether a control of the jail is left out. Never, but in the program that tests/jail_test runs: each control is
// removed in turn there, and what it had prevented must then be possible, or its test would prove nothing.
bool IsRemoved(const char* control);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_JAIL_CONTROLS_H_
